//! Columns: every type value by value, evolution, partitioning, undeclared fields.

use serde_json::{Value, json};

use crate::support::{Bench, Outgoing, Rows};

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn every_type_is_read_back_value_by_value() {
    let mut bench = Bench::start("types").await;
    let columns = [
        ("s", "string"),
        ("l", "long"),
        ("i", "integer"),
        ("h", "short"),
        ("y", "byte"),
        ("f", "float"),
        ("d", "double"),
        ("m", "decimal(38,4)"),
        ("b", "boolean"),
        ("x", "binary"),
        ("day", "date"),
        ("at", "timestamp"),
        ("local", "timestamp_ntz"),
        ("place", "struct<lat: double, tags: list<string>, inner: struct<a: long>>"),
        ("list", "list<struct<sku: string, n: integer>>"),
        ("map", "map<string, list<decimal(6,2)>>"),
    ];
    let pipeline = bench.pipeline("types").await.columns(&columns);
    let full = r#"{"s": "grüße 東京 🌊 \u0000\n\"", "l": -9223372036854775808, "i": 2147483647,
        "h": -32768, "y": 127, "f": 0.5, "d": 1.7976931348623157e308,
        "m": -1234567890123456789012345678901234.5678, "b": true, "x": "AP8Q",
        "day": "0001-01-01", "at": "2026-02-28T23:59:59.123456+01:30",
        "local": "9999-12-31T23:59:59.999999",
        "place": {"lat": -0.25, "tags": ["a", "", null], "inner": {"a": 1}},
        "list": [{"sku": "k", "n": 1}, {"n": 2}, null], "map": {"k": [1.5, null], "": []}}"#;
    let holes = r#"{"s": "", "place": {"inner": null}, "list": [], "map": {}}"#;
    let messages: Vec<_> =
        [full, holes, "{}"].iter().map(|text| Outgoing::new("types.x", *text)).collect();
    bench.broker.publish(&messages).await.unwrap();
    bench.catch_up(&pipeline).await.expect(0);

    let seen = Rows::of(&pipeline.table).await.unwrap();
    assert!(seen.dead.is_empty(), "{:?}", seen.dead);
    let declared = |row: usize| -> Value {
        let row = seen.rows[row].iter().filter(|(name, _)| !name.starts_with("_tg_"));
        Value::Object(row.map(|(name, value)| (name.clone(), value.clone())).collect())
    };
    let expected = json!({
        "s": "grüße 東京 🌊 \u{0}\n\"", "l": i64::MIN, "i": i32::MAX, "h": -32768, "y": 127,
        "f": 0.5, "d": f64::MAX, "m": "-1234567890123456789012345678901234.5678", "b": true,
        "x": "0x00ff10", "day": "0001-01-01", "at": "2026-02-28T22:29:59.123456+00:00",
        "local": "9999-12-31T23:59:59.999999",
        "place": {"lat": -0.25, "tags": ["a", "", null], "inner": {"a": 1}},
        "list": [{"sku": "k", "n": 1}, {"sku": null, "n": 2}, null],
        "map": [["k", ["1.50", null]], ["", []]],
    });
    assert_eq!(declared(0), expected);
    let mut empty: Value = expected;
    empty.as_object_mut().unwrap().values_mut().for_each(|value| *value = Value::Null);
    assert_eq!(declared(2), empty);
    empty["s"] = json!("");
    empty["place"] = json!({"lat": null, "tags": null, "inner": null});
    (empty["list"], empty["map"]) = (json!([]), json!([]));
    assert_eq!(declared(1), empty);
    bench.verify(&pipeline).await.expect(0);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn columns_and_members_are_added_and_nothing_else_changes() {
    let mut bench = Bench::start("evolution").await;
    let old = bench.pipeline("wider").await;
    let old = old.columns(&[("id", "string"), ("place", "struct<lat: double>"), ("gone", "long")]);
    let text = r#"{"id": "ID", "place": {"lat": 1, "lon": 2}, "gone": 3, "city": "Ulm"}"#;
    let record = |id| text.replace("ID", id);
    bench.publish("wider.x", &[("a", &record("a"))]).await;
    bench.catch_up(&old).await.expect(0);

    let wider =
        [("id", "string"), ("place", "struct<lat: double, lon: double>"), ("city", "string")];
    let new = old.clone().columns(&wider);
    bench.publish("wider.x", &[("b", &record("b"))]).await;
    let frozen = new.clone().set("schema.evolution", json!("Frozen"));
    bench.catch_up(&frozen).await.expect(65).says("SchemaChangeRefused").says("place.lon, city");
    bench.catch_up(&new).await.expect(0);

    // A column's type never changes, whatever evolution says.
    let retyped = new.clone().columns(&[("id", "long")]);
    bench.publish("wider.x", &[("c", &record("c"))]).await;
    bench.catch_up(&retyped).await.expect(65).says("TableMismatch").says("column id is ");
    let moved =
        new.clone().set("sink.partitionBy", json!([{"field": "city", "transform": "Identity"}]));
    bench.catch_up(&moved).await.expect(65).says("TableMismatch").says("partitioned by");
    // Once frozen the wider schema fits, and with it the old one: its columns are there.
    bench.catch_up(&frozen).await.expect(0);

    let seen = Rows::of(&new.table).await.unwrap();
    assert_eq!(seen.texts("id"), ["a", "b", "c"]);
    assert_eq!(
        seen.column("place"),
        [
            json!({"lat": 1.0, "lon": null}),
            json!({"lat": 1.0, "lon": 2.0}),
            json!({"lat": 1.0, "lon": 2.0})
        ]
    );
    assert_eq!(seen.column("city"), [json!(null), json!("Ulm"), json!("Ulm")]);
    assert_eq!(seen.column("gone"), [json!(3), json!(null), json!(null)]);
    bench.verify(&new).await.expect(0);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn rows_lie_in_the_partitions_of_their_values_however_odd() {
    let mut bench = Bench::start("partitions").await;
    let columns =
        [("id", "string"), ("at", "timestamp"), ("day", "date"), ("kind", "string"), ("n", "long")];
    let pipeline = bench.pipeline("odd").await.columns(&columns).set(
        "sink.partitionBy",
        json!([
            {"field": "at", "transform": "Hour"},
            {"field": "day", "transform": "Month"},
            {"field": "at", "transform": "Day"},
            {"field": "id", "transform": "Bucket", "buckets": 4},
            {"field": "kind", "transform": "Identity"},
            {"field": "n", "transform": "Identity"},
        ]),
    );
    let long = "l".repeat(150);
    let kinds = [
        "plain",
        "a/b=c%20?#&+: ;'\"\\",
        "../..",
        ".",
        " ",
        "grüße 東京 🌊",
        "__HIVE_DEFAULT_PARTITION__",
        "line\nbreak\u{7f}",
        &long,
        "%2F",
    ];
    let mut records: Vec<Value> = kinds
        .iter()
        .enumerate()
        .map(|(n, kind)| {
            json!({"id": format!("e{n}"), "at": format!("2026-01-0{}T23:30:00-01:00", n % 3 + 1),
                   "day": "2024-02-29", "kind": kind, "n": n})
        })
        .collect();
    records.push(json!({"id": "nulls"}));
    records.push(json!({"id": "empty", "at": "1969-12-31T23:59:59.999999Z", "kind": "", "n": -1}));
    let too_long = json!({"id": "too long", "kind": "l".repeat(400)});
    let messages: Vec<_> = records
        .iter()
        .chain([&too_long])
        .map(|record| Outgoing::new("odd.x", record.to_string()))
        .collect();
    bench.broker.publish(&messages).await.unwrap();
    bench.catch_up(&pipeline).await.expect(0);

    let seen = Rows::of(&pipeline.table).await.unwrap();
    // Text that no folder's name can hold is set aside.
    assert_eq!(seen.dead_texts("reason"), ["OutOfRange"]);
    assert_eq!(seen.rows.len(), records.len());
    for (row, record) in seen.rows.iter().zip(&records) {
        for name in ["id", "n"] {
            assert_eq!(row[name], record[name], "{record}");
        }
        // Delta cannot tell empty text from null in a partition column.
        let kind = record["kind"].as_str().filter(|kind| !kind.is_empty());
        assert_eq!(row["kind"].as_str(), kind, "{record}");
        let bucket = row["id_bucket"].as_i64().unwrap();
        assert!((0..4).contains(&bucket));
    }
    let first = &seen.rows[0];
    assert_eq!(first["at"], "2026-01-02T00:30:00.000000+00:00");
    assert_eq!((&first["at_day"], &first["day_month"]), (&json!("2026-01-02"), &json!("2024-02")));
    assert_eq!(first["at_hour"], "2026-01-02-00");
    let [nulls, empty] = &seen.rows[kinds.len()..] else { panic!("two more rows") };
    for name in ["at", "at_hour", "at_day", "day", "day_month", "kind", "n"] {
        assert!(nulls[name].is_null(), "{name}");
    }
    assert_eq!(
        (&empty["at_day"], &empty["at_hour"]),
        (&json!("1969-12-31"), &json!("1969-12-31-23"))
    );
    bench.verify(&pipeline).await.expect(0);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn undeclared_fields_are_dropped_kept_or_refused_by_policy() {
    let mut bench = Bench::start("unknown").await;
    let ignore = bench.pipeline("ignore").await;
    let policy = |name: &str, policy: &str| {
        ignore.clone().renamed(name).set("schema.unknownFields", json!(policy))
    };
    let (capture, refuse) = (policy("capture", "Capture"), policy("refuse", "DeadLetter"));
    let texts = [
        r#"{"id": "plain"}"#,
        r#"{"id": "more", "note": "ü\"", "deep": {"a": [1, 2.50, null]}, "big": 123456789012345678901}"#,
    ];
    bench.publish(&ignore.subject("x"), &[("1", texts[0]), ("2", texts[1])]).await;
    bench.catch_up(&ignore).await.expect(0).says("3 undeclared fields were dropped");
    bench.catch_up(&capture).await.expect(0);
    bench.catch_up(&refuse).await.expect(0);

    assert_eq!(Rows::of(&ignore.table).await.unwrap().texts("id"), ["plain", "more"]);
    let seen = Rows::of(&capture.table).await.unwrap();
    let extra = seen.texts("_tg_extra");
    assert_eq!(extra[0], "null");
    for part in ["\"note\"", "123456789012345678901", "2.50", "\"deep\""] {
        assert!(extra[1].contains(part), "{part} is not in {}", extra[1]);
    }
    assert_eq!(serde_json::from_str::<Value>(&extra[1]).unwrap()["note"], "ü\"");
    let seen = Rows::of(&refuse.table).await.unwrap();
    assert_eq!(
        (seen.texts("id"), seen.dead_texts("reason")),
        (vec!["plain".into()], vec!["UnknownField".into()])
    );
    for pipeline in [&ignore, &capture, &refuse] {
        bench.verify(pipeline).await.expect(0);
    }
}
