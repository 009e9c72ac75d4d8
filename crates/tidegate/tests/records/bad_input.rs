//! Bad input: dead letters with reason, bytes and coordinates, or a clear stop.

use serde_json::{Value, json};

use crate::support::{Bench, Outgoing, Pipeline, Rows, compressed};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

/// (payload, expected reason; none for a row)
fn inputs() -> Vec<(Vec<u8>, Option<&'static str>)> {
    let good = |id: &str| (format!("{{\"id\": \"{id}\"}}").into_bytes(), None);
    let bad = |payload: &[u8], reason| (payload.to_vec(), Some(reason));
    vec![
        good("first"),
        bad(b"{\"id\": \"x\", \"tiny\": 1", "Malformed"),
        bad(b"not json", "Malformed"),
        bad(b"", "Malformed"),
        bad(b"[{\"id\": \"x\"}]", "Malformed"),
        bad(b"{\"id\": \"x\"} {\"id\": \"y\"}", "Malformed"),
        bad(b"{\"id\": \"x\", \"id\": \"y\"}", "Malformed"),
        bad(b"{\"id\": \"x\", \"real\": NaN}", "Malformed"),
        bad(b"\0\0\0\0", "Malformed"),
        good("second"),
        bad(b"{\"id\": \"caf\xe9\"}", "InvalidEncoding"),
        bad(b"\xff\xfe{\0\"\0i\0d\0", "InvalidEncoding"),
        bad(&[b"{\"id\": \"", "y".repeat(3_000).as_bytes(), b"\"}"].concat(), "TooLarge"),
        bad(b"{\"id\": \"x\", \"other\": [[[[[[[[[[1]]]]]]]]]]}", "TooDeep"),
        bad(b"{\"id\": 5}", "WrongType"),
        bad(b"{\"id\": \"x\", \"tiny\": \"1\"}", "WrongType"),
        bad(b"{\"id\": \"x\", \"real\": true}", "WrongType"),
        bad(b"{\"id\": \"x\", \"place\": [1]}", "WrongType"),
        bad(b"{\"id\": \"x\", \"at\": \"yesterday\"}", "WrongType"),
        bad(b"{\"id\": \"x\", \"place\": {\"lat\": {}}}", "WrongType"),
        bad(b"{\"id\": \"x\", \"tiny\": 300}", "OutOfRange"),
        bad(b"{\"id\": \"x\", \"tiny\": 1.5}", "OutOfRange"),
        bad(b"{\"id\": \"x\", \"real\": 1e999}", "OutOfRange"),
        bad(b"{\"id\": \"x\", \"money\": 123456.78}", "OutOfRange"),
        bad(b"{}", "MissingField"),
        bad(b"{\"id\": null}", "MissingField"),
        good("last"),
    ]
}

fn strict(pipeline: Pipeline) -> Pipeline {
    pipeline
        .set(
            "schema.fields",
            json!([
                {"name": "id", "type": "string", "required": true},
                {"name": "tiny", "type": "byte"},
                {"name": "real", "type": "double"},
                {"name": "money", "type": "decimal(6,2)"},
                {"name": "at", "type": "timestamp"},
                {"name": "place", "type": "struct<lat: double>"},
            ]),
        )
        .set("decode.limits", json!({"maxBytes": "2Ki", "maxDepth": 8}))
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn every_kind_of_bad_input_is_a_dead_letter_with_reason_bytes_and_coordinates() {
    let mut bench = Bench::start("bad").await;
    let pipeline = strict(bench.pipeline("bad").await);
    let messages: Vec<_> = inputs()
        .into_iter()
        .enumerate()
        .map(|(n, (payload, _))| {
            Outgoing::new(&format!("bad.s{n}"), payload).header("Event-Id", &format!("e{n}"))
        })
        .collect();
    let sequences = bench.broker.publish(&messages).await.unwrap();
    bench.catch_up(&pipeline).await.expect(0);

    let seen = Rows::of(&pipeline.table).await.unwrap();
    assert_eq!(seen.texts("id"), ["first", "second", "last"]);
    let expected: Vec<Value> = inputs()
        .into_iter()
        .zip(sequences)
        .enumerate()
        .filter_map(|(n, ((payload, reason), sequence))| {
            Some(json!([
                reason?,
                hex(&payload),
                sequence,
                0,
                0,
                format!("bad.s{n}"),
                hex(format!("e{n}").as_bytes())
            ]))
        })
        .collect();
    let found: Vec<Value> = seen
        .dead
        .iter()
        .map(|d| {
            json!([
                d["reason"],
                d["payload"],
                d["_tg_seq"],
                d["_tg_part"],
                d["_tg_idx"],
                d["subject"],
                d["id"]
            ])
        })
        .collect();
    assert_eq!(found, expected);
    assert!(seen.dead.iter().all(|d| d["detail"].as_str().is_some_and(|text| !text.is_empty())));
    bench.verify(&pipeline).await.expect(0);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn bombs_and_broken_archives_are_dead_letters_and_their_neighbours_rows() {
    let mut bench = Bench::start("bombs").await;
    for (codec, name) in [("gzip", "Gzip"), ("zstd", "Zstd")] {
        let pipeline = bench.pipeline(codec).await.set("decode.compression", json!(name));
        let good = compressed(codec, b"{\"id\": \"good\"}").await.unwrap();
        let bomb = compressed(codec, &vec![b' '; 96 << 20]).await.unwrap();
        assert!(bomb.len() < 1 << 20, "the broker would refuse it");
        let payloads = [
            good.clone(),
            bomb,
            good[..good.len() - 4].to_vec(),
            b"{\"id\": \"x\"}".to_vec(),
            good,
        ];
        let subject = pipeline.subject("x");
        let messages: Vec<_> =
            payloads.into_iter().map(|payload| Outgoing::new(&subject, payload)).collect();
        bench.broker.publish(&messages).await.unwrap();
        bench.catch_up(&pipeline).await.expect(0);
        let seen = Rows::of(&pipeline.table).await.unwrap();
        assert_eq!(seen.texts("id"), ["good", "good"], "{codec}");
        assert_eq!(seen.dead_texts("reason"), ["TooLarge", "Malformed", "Malformed"], "{codec}");
    }
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn halt_commits_what_is_before_the_bad_record_names_it_and_goes_on_once_it_may() {
    let mut bench = Bench::start("halt").await;
    let pipeline = bench.pipeline("halt").await.set("decode.onError", json!("Halt"));
    let subject = pipeline.subject("x");
    let sequences = bench
        .publish(
            &subject,
            &[
                ("a", "{\"id\": \"a\"}"),
                ("b", "{\"id\": \"b\"}"),
                ("c", "{\"id\": \"c\", \"n\": \"7\"}"),
                ("d", "{\"id\": \"d\"}"),
            ],
        )
        .await;
    let named = format!("message {} of partition 0 is bad (WrongType", sequences[2]);
    for _ in 0..2 {
        // The second time everything before the record is there already.
        bench.catch_up(&pipeline).await.expect(65).says(&named);
        let seen = Rows::of(&pipeline.table).await.unwrap();
        assert_eq!(seen.texts("id"), ["a", "b"]);
        assert!(seen.dead.is_empty(), "{:?}", seen.dead);
        bench.verify(&pipeline).await.expect(0);
    }
    let corrected = pipeline.set("decode.coercion", json!("Lossless"));
    bench.catch_up(&corrected).await.expect(0);
    let seen = Rows::of(&corrected.table).await.unwrap();
    assert_eq!(seen.texts("id"), ["a", "b", "c", "d"]);
    assert_eq!(seen.column("n")[2], 7);
    bench.verify(&corrected).await.expect(0);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn an_open_breaker_stops_without_committing_and_a_mended_schema_goes_on() {
    let mut bench = Bench::start("breaker").await;
    let breaker = json!({"breaker": {"maxPercent": 10, "over": "1h"}});
    let pipeline = bench.pipeline("breaker").await.set("deadLetter", breaker);
    let subject = pipeline.subject("x");
    let ids: Vec<String> = (0..350).map(|n| format!("e{n}")).collect();
    let texts: Vec<String> = (0..350)
        .map(|n| {
            // Every third one of the later 300 has its number as text.
            let quote = if n >= 50 && n % 3 == 0 { "\"" } else { "" };
            format!("{{\"id\": \"e{n}\", \"n\": {quote}{n}{quote}}}")
        })
        .collect();
    let records: Vec<_> =
        ids.iter().map(String::as_str).zip(texts.iter().map(String::as_str)).collect();
    bench.publish(&subject, &records[..50]).await;
    bench.catch_up(&pipeline).await.expect(0);
    bench.publish(&subject, &records[50..]).await;
    for _ in 0..2 {
        bench.catch_up(&pipeline).await.expect(65).says("BreakerOpen").says("deadLetter.breaker");
        let seen = Rows::of(&pipeline.table).await.unwrap();
        assert_eq!((seen.rows.len(), seen.dead.len()), (50, 0), "the open batch was committed");
    }
    let mended = pipeline.set("decode.coercion", json!("Lossless"));
    bench.catch_up(&mended).await.expect(0);
    let seen = Rows::of(&mended.table).await.unwrap();
    assert_eq!((seen.texts("id"), seen.dead.len()), (ids, 0));
    bench.verify(&mended).await.expect(0);
}
