//! Records with structure: nested values, paths, required and undeclared fields.

mod common;

use common::{decoder, one, options};
use serde_json::{Value, json};
use tidegate_decode::{DecodeOptions, Decoder, Filter};
use tidegate_types::Reason::{MissingField, OutOfRange, UnknownField, WrongType};
use tidegate_types::UnknownFields;

#[test]
fn decoder_and_filter_move_between_threads() {
    fn moves<T: Send>() {}
    fn is_shared<T: Sync>() {}
    moves::<Decoder>();
    moves::<Filter>();
    is_shared::<Filter>();
}

#[test]
fn nested_values_are_read_and_their_faults_have_a_path() {
    let schema = "geo: struct<lat: double, tags: list<string>>; hits: list<struct<n: long>>; m: map<string, list<long>>";
    let mut decoder = decoder(schema);
    let payload = r#" { "m" : {"a": [1, null], "b": null, "c": []} , "geo": {"tags": ["x", "y"], "alt": 3},
        "hits": [{"n": 1}, {}, null, {"n": null}] } "#;
    assert_eq!(
        one(&mut decoder, payload).expect("good"),
        json!({
            "geo": {"lat": null, "tags": ["x", "y"]},
            "hits": [{"n": 1}, {"n": null}, null, {"n": null}],
            "m": {"a": [1, null], "b": null, "c": []},
        })
    );
    for (payload, says) in [
        (r#"{"geo":{"lat":"x"}}"#, r#"geo.lat: expected double, found text "x" at byte 14"#),
        (r#"{"geo":{"tags":["a",3]}}"#, "geo.tags[1]: expected string, found number 3 at byte 20"),
        (r#"{"hits":[{},{"n":{}}]}"#, "hits[1].n: expected long, found object at byte 17"),
        (r#"{"m":{"k":[true]}}"#, "m.k[0]: expected long, found boolean at byte 11"),
        (r#"{"geo":[]}"#, "geo: expected struct, found list at byte 7"),
    ] {
        let (reason, detail) = one(&mut decoder, payload).expect_err(payload);
        assert_eq!((reason, detail.as_str()), (WrongType, says));
    }
}

#[test]
fn map_keys_are_read_as_their_type() {
    let mut decoder = decoder("m: map<integer, string>; d: map<date, long>; b: map<boolean, long>");
    let payload = r#"{"m":{"1":"a","-2":"b"},"d":{"1970-01-02":5},"b":{"true":1}}"#;
    let row = one(&mut decoder, payload).expect("good");
    assert_eq!(row, json!({"m": {"1": "a", "-2": "b"}, "d": {"1": 5}, "b": {"true": 1}}));
    assert_eq!(one(&mut decoder, r#"{"m":{"x":"a"}}"#).expect_err("no number").0, WrongType);
    assert_eq!(
        one(&mut decoder, r#"{"m":{"3000000000":"a"}}"#).expect_err("too large").0,
        OutOfRange
    );
}

#[test]
fn required_fields_are_missed() {
    let mut decoder = decoder("id: string required; at: long required from $.meta.at; x: long");
    one(&mut decoder, r#"{"id":"a","meta":{"at":1}}"#).expect("all there");
    for (payload, says) in [
        (r#"{"meta":{"at":1}}"#, "id: required, but missing"),
        (r#"{"id":null,"meta":{"at":1}}"#, "id: required, but null at byte 6"),
        (r#"{"id":"a"}"#, "meta.at: required, but missing"),
        (r#"{"id":"a","meta":null}"#, "meta.at: required, but missing"),
        (r#"{"id":"a","meta":{"at": null}}"#, "meta.at: required, but null at byte 24"),
    ] {
        let (reason, detail) = one(&mut decoder, payload).expect_err(payload);
        assert_eq!((reason, detail.as_str()), (MissingField, says));
    }
}

#[test]
fn a_name_that_is_nearly_the_declared_one_is_no_other_field() {
    let schema = "id: long; t: string; s: struct<B: long, c: long>; at: long from $.meta.at; l: list<struct<x: long>>";
    let refusing = DecodeOptions { refuse_near_names: true, ..options(schema) };
    let mut refusing = Decoder::new(refusing).expect("good options");
    for (payload, says) in [
        (r#"{"ID":1,"t":"a"}"#, r#"the record calls it "ID", which is declared as "id""#),
        (r#"{"id":1," T ":"a"}"#, r#"the record calls it " T ", which is declared as "t""#),
        (r#"{"\u0049D":1}"#, r#"calls it "ID", which is declared as "id""#),
        (
            r#"{"id":1,"s":{"b":1,"c":2}}"#,
            r#"s: the record calls it "b", which is declared as "B""#,
        ),
        (r#"{"meta":{"At":1}}"#, r#"meta: the record calls it "At", which is declared as "at""#),
        (r#"{"l":[{"x":1},{"X":1}]}"#, r#"l[1]: the record calls it "X""#),
    ] {
        let (reason, detail) = one(&mut refusing, payload).expect_err(payload);
        assert!(reason == MissingField && detail.contains(says), "{payload}: {detail}");
        one(&mut decoder(schema), payload).expect("an undeclared field elsewhere");
    }
    for payload in [
        r#"{"id":1,"ID":2,"t":"a"}"#,
        r#"{"u":1,"s":{"d":{"B":1}},"meta":{}}"#,
        r#"{"s":null,"l":[]}"#,
        "{}",
    ] {
        one(&mut refusing, payload).expect(payload);
    }
}

#[test]
fn columns_are_taken_from_their_paths() {
    let schema = "lat: double from $.pos.lat; lon: double from $.pos.lon; pos: struct<lat: double>; raw: string from $.t; t: timestamp; deep: long from $.a.b.c";
    let mut decoder = decoder(schema);
    let payload =
        r#"{"a":{"b":{"c":7,"d":8}},"pos":{"lon":2.5,"lat":1.5},"t":"1970-01-01T00:00:00Z"}"#;
    let row = one(&mut decoder, payload).expect("good");
    assert_eq!(
        row,
        json!({"lat": 1.5, "lon": 2.5, "pos": {"lat": 1.5}, "raw": "1970-01-01T00:00:00Z", "t": 0, "deep": 7})
    );
    let empty = one(&mut decoder, r#"{"pos":null,"a":{"b":null}}"#).expect("nulls on the way");
    assert_eq!(
        empty,
        json!({"lat": null, "lon": null, "pos": null, "raw": null, "t": null, "deep": null})
    );
    let (reason, detail) = one(&mut decoder, r#"{"a":{"b":3}}"#).expect_err("no object");
    assert_eq!(reason, WrongType);
    assert!(detail.starts_with("a.b: expected an object"), "{detail}");
}

#[test]
fn unknown_fields_are_counted_captured_or_refused() {
    let with = |unknown_fields| {
        Decoder::new(DecodeOptions { unknown_fields, ..options("v: long; s: struct<a: long>") })
            .expect("good options")
    };
    let payload = r#"{"x": {"y": [1, "}"]} ,"v":1,"\u007a":"q","s":{"b":2}}"#;

    let mut ignore = with(UnknownFields::Ignore);
    let decoded = ignore.decode(&[common::message(payload), common::message("{\"u\":1,")]);
    assert_eq!(
        decoded.unknown_fields, 3,
        "those of the good record, members of structs among them"
    );

    let mut capture = with(UnknownFields::Capture);
    let row = one(&mut capture, payload).expect("good");
    let extra: Value =
        serde_json::from_str(row["_tg_extra"].as_str().expect("text")).expect("json");
    assert_eq!(extra, json!({"x": {"y": [1, "}"]}, "z": "q"}));
    assert_eq!(one(&mut capture, r#"{"v":1}"#).expect("good")["_tg_extra"], Value::Null);

    let mut refuse = with(UnknownFields::DeadLetter);
    one(&mut refuse, r#"{"v":1,"s":{"a":1}}"#).expect("nothing unknown");
    let (reason, detail) = one(&mut refuse, r#"{"v":1,"x":2}"#).expect_err("x");
    assert_eq!((reason, detail.contains("\"x\"")), (UnknownField, true));
    let (reason, detail) = one(&mut refuse, r#"{"s":{"b":2}}"#).expect_err("s.b");
    assert_eq!((reason, detail.starts_with("s: ")), (UnknownField, true), "{detail}");
}
