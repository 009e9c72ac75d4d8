//! Filter expressions.

mod common;

use arrow::array::RecordBatch;
use common::{decoder, message};
use tidegate_decode::{Filter, FilterError, Verdict};

const SCHEMA: &str = "id: string; n: long; f: double; ok: boolean; ts: timestamp; d: date; \
     geo: struct<lat: double, tags: list<string>>; m: map<string, long>; price: decimal(8,2)";

fn batch() -> RecordBatch {
    let rows = [
        r#"{"id":"web","n":5,"f":1.5,"ok":true,"ts":"2026-06-01T12:00:00Z","d":"2026-06-01",
            "geo":{"lat":52.5,"tags":["a","b"]},"m":{"k":1},"price":9.99}"#,
        r#"{"id":"app","n":-1,"f":0.5,"ok":false,"ts":"2025-06-01T12:00:00Z","d":"2025-06-01",
            "geo":{"lat":1.0,"tags":[]},"m":{},"price":0.5}"#,
        "{}",
    ];
    decoder(SCHEMA).decode(&rows.map(message)).batch
}

fn compile(expression: &str) -> Result<Filter, FilterError> {
    Filter::compile(expression, &batch().schema())
}

fn verdicts(expression: &str) -> String {
    let filter = compile(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
    let letter = |verdict: &Verdict| match verdict {
        Verdict::Keep => 'K',
        Verdict::Drop => 'D',
        Verdict::Failed(_) => 'F',
    };
    filter.evaluate(&batch()).iter().map(letter).collect()
}

#[test]
fn rows_are_kept_dropped_or_failed() {
    for (expression, expected) in [
        ("record.id == 'web'", "KDD"),
        ("record['id'] != 'web'", "DKK"),
        ("record.n > 0", "KDF"),
        ("record.n != null && record.n > 0", "KDD"),
        ("record.f > 1.0 || record.ok == true", "KDF"),
        ("record.ts > timestamp('2026-01-01T00:00:00Z')", "KDF"),
        ("record.geo != null && record.geo.lat > 50.0", "KDD"),
        ("record.geo != null && record.geo.tags.exists(t, t == 'b')", "KDD"),
        ("record.m != null && 'k' in record.m", "KDD"),
        ("record.price != null && record.price > 1.0", "KDD"),
        ("record.id in ['web', 'app']", "KKD"),
        ("record.id != null && record.id.startsWith('w')", "KDD"),
        ("record.id != null && record.id.matches('^a.p$')", "DKD"),
        ("record.d == timestamp('2026-06-01T00:00:00Z')", "KDD"),
        ("true", "KKK"),
    ] {
        assert_eq!(verdicts(expression), expected, "{expression}");
    }
}

#[test]
fn mistakes_are_found_before_the_first_row() {
    for (expression, says) in [
        (
            "record.idd == 'web'",
            "column \"idd\" at character 8, which does not exist; did you mean id?",
        ),
        ("record['nn'] == 1", "column \"nn\""),
        ("n > 3", "did you mean record.n?"),
        ("recrd.n > 3", "did you mean record?"),
        ("record.id.startWith('x')", "did you mean startsWith?"),
        ("record.id ==", "line 1, column"),
        ("", "not CEL"),
        ("record.id", "yields string"),
        ("record.id > 5", "declared types"),
        ("record.n", "yields int"),
    ] {
        let error = compile(expression).map(|_| ()).expect_err(expression).to_string();
        assert!(error.contains(says), "{expression}: {error}");
    }
}

#[test]
fn hostile_expressions_are_refused_without_harm() {
    let deep = format!("{}true{}", "(".repeat(2_000), ")".repeat(2_000));
    let _ = compile(&deep);
    let chain = format!("record.n > 0{}", " + 1".repeat(1_000));
    assert!(matches!(compile(&chain), Err(FilterError::TooDeep { .. })));
    let lists = format!("{}{} == []", "[".repeat(2_000), "]".repeat(2_000));
    assert!(compile(&lists).is_err());
    let long = format!("'{}' == record.id", "x".repeat(5_000));
    assert!(matches!(compile(&long), Err(FilterError::TooLong { .. })));
}

#[test]
fn a_failure_says_why_in_few_words() {
    let verdicts = compile("record.n > 0").expect("good").evaluate(&batch());
    let Verdict::Failed(why) = &verdicts[2] else { panic!("a null has no order") };
    assert!(!why.is_empty() && why.len() <= 256);
}
