//! Which bytes are a row, and why the others are not.

mod common;

use common::{decoder, lossless, one, options};
use serde_json::{Value, json};
use tidegate_decode::{DecodeOptions, DecodeSetupError, Decoder};
use tidegate_types::{ByteSize, Reason};

/// The value of the one column `v`.
fn value(decoder: &mut Decoder, json: &str) -> Result<Value, Reason> {
    let record = format!("{{\"v\":{json}}}");
    one(decoder, record).map(|row| row["v"].clone()).map_err(|(reason, _)| reason)
}

fn check(type_name: &str, cases: &[(&str, Result<Value, Reason>)]) {
    let mut decoder = decoder(&format!("v: {type_name}"));
    for (json, expected) in cases {
        assert_eq!(value(&mut decoder, json), *expected, "{json} as {type_name}");
    }
}

use Reason::{InvalidEncoding, Malformed, OutOfRange, TooDeep, TooLarge, WrongType};

#[test]
fn what_is_no_json_object_is_malformed() {
    let mut decoder = decoder("v: long");
    for (payload, says) in [
        (&b""[..], "empty"),
        (b" ", "found the end"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b"[]", "not an object"),
        (b"null", "not an object"),
        (b"3", "not an object"),
        (b"{} x", "expected the end"),
        (b"{}{}", "expected the end"),
        (b"{", "expected a key"),
        (b"{\"v\":1", "found the end"),
        (b"{\"v\":1,}", "expected a key"),
        (b"{\"v\" 1}", "expected ':'"),
        (b"{v:1}", "expected a key"),
        (b"{'v':1}", "expected a key"),
        (b"{\"v\":NaN}", "expected a value"),
        (b"{\"v\":Infinity}", "expected a value"),
        (b"{\"v\":-Infinity}", "expected a digit"),
        (b"{\"v\":nul}", "expected a value"),
        (b"{\"v\":tru}", "expected a value"),
        (b"{\"v\":01}", "leading zero"),
        (b"{\"v\":1-2}", "expected ','"),
        (b"{\"v\":1.}", "expected a digit"),
        (b"{\"v\":+1}", "expected a value"),
        (b"{\"v\":\"abc}", "does not end"),
        (b"{\"w\":\"\x01\"}", "control character"),
        (b"{\"w\":\"\\ud800\"}", "surrogate"),
        (b"{\"w\":\"\\q\"}", "escape"),
        (b"{\"w\":[1,]}", "expected a value"),
        (b"{\"w\":{\"a\":1,}}", "expected a key"),
        (b"{\"w\":[1}", "expected ',' or ']'"),
        (b"{\"v\":1 /* no */}", "expected ','"),
    ] {
        let (reason, detail) = one(&mut decoder, payload).expect_err("bad");
        let shown = String::from_utf8_lossy(payload);
        assert_eq!(reason, Malformed, "{shown}: {detail}");
        assert!(detail.contains(says), "{shown}: {detail}");
    }
}

#[test]
fn a_key_that_stands_twice_is_malformed_wherever_it_stands() {
    let mut decoder =
        decoder("v: long; s: struct<a: long>; m: map<string, long>; n: map<long, long>");
    for payload in [
        r#"{"v":1,"v":1}"#,
        r#"{"v":1,"\u0076":1}"#,
        r#"{"x":1,"x":1}"#,
        r#"{"x":1,"\u0078":1}"#,
        r#"{"x":{"a":[{"b":1,"b":2}]}}"#,
        r#"{"s":{"a":1,"a":1}}"#,
        r#"{"s":{"b":1,"b":1}}"#,
        r#"{"m":{"a":1,"a":2}}"#,
        r#"{"m":{"a":1,"\u0061":2}}"#,
        r#"{"n":{"1":1,"1.0":2}}"#,
    ] {
        let (reason, detail) = one(&mut decoder, payload).expect_err(payload);
        assert_eq!(reason, Malformed, "{payload}");
        assert!(detail.contains("twice"), "{payload}: {detail}");
    }
    for payload in [
        r#"{"x":{"a":1},"y":{"a":1},"s":{"a":1,"x":2}}"#,
        r#"{"x":[{"a":1},{"a":1}],"m":{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1}}"#,
    ] {
        one(&mut decoder, payload).expect("the same key in different objects");
    }
    let many: Vec<_> = (0..2_000).map(|n| format!("\"k{n}\":{n}")).collect();
    one(&mut decoder, format!("{{{}}}", many.join(","))).expect("two thousand keys");
    let twice = format!("{{{},\"k7\":0}}", many.join(","));
    assert_eq!(one(&mut decoder, twice).expect_err("k7 twice").0, Malformed);
}

#[test]
fn bytes_that_are_no_utf8_are_an_invalid_encoding() {
    let mut decoder = decoder("v: string");
    for payload in
        [&b"{\"v\":\"\xff\"}"[..], b"\xff\xfe{\0}\0", b"{\"w\":\"\xed\xa0\x80\"}", b"{\"v\":\"\xc3"]
    {
        assert_eq!(one(&mut decoder, payload).expect_err("bad").0, InvalidEncoding);
    }
    let row = one(&mut decoder, "{\"v\":\"grün 😀 \\u00e9\\n\"}").expect("good");
    assert_eq!(row, json!({"v": "grün 😀 é\n"}));
}

#[test]
fn integers_are_whole_numbers_in_range_however_they_are_spelt() {
    check(
        "long",
        &[
            ("0", Ok(json!(0))),
            ("-0", Ok(json!(0))),
            ("9223372036854775807", Ok(json!(i64::MAX))),
            ("-9223372036854775808", Ok(json!(i64::MIN))),
            ("9223372036854775808", Err(OutOfRange)),
            ("1.0", Ok(json!(1))),
            ("1e3", Ok(json!(1000))),
            ("1.5", Err(OutOfRange)),
            ("1e400", Err(OutOfRange)),
            ("\"1\"", Err(WrongType)),
            ("true", Err(WrongType)),
            ("{}", Err(WrongType)),
            ("[]", Err(WrongType)),
            ("null", Ok(Value::Null)),
        ],
    );
    check("integer", &[("2147483647", Ok(json!(i32::MAX))), ("2147483648", Err(OutOfRange))]);
    check("short", &[("-32768", Ok(json!(i16::MIN))), ("-32769", Err(OutOfRange))]);
    check("byte", &[("127", Ok(json!(127))), ("128", Err(OutOfRange)), ("1.27e2", Ok(json!(127)))]);
}

#[test]
fn floats_are_rounded_but_never_infinite() {
    check(
        "double",
        &[
            ("0.1", Ok(json!(0.1))),
            ("-1e-400", Ok(json!(-0.0))),
            ("1.7976931348623157e308", Ok(json!(f64::MAX))),
            ("1e309", Err(OutOfRange)),
            ("12345678901234567890", Ok(json!(12_345_678_901_234_567_890_f64))),
            ("3", Ok(json!(3.0))),
            ("\"3\"", Err(WrongType)),
        ],
    );
    check(
        "float",
        &[
            ("0.1", Ok(json!(0.1_f32))),
            ("16777217", Ok(json!(16_777_216_f32))),
            ("3.5e38", Err(OutOfRange)),
            ("1.00000017881393432617187499", Ok(json!(1.000_000_1_f32))),
        ],
    );
}

#[test]
fn decimals_are_exact_or_refused() {
    check(
        "decimal(5,2)",
        &[
            ("1", Ok(json!("100"))),
            ("-1.50", Ok(json!("-150"))),
            ("1.500000", Ok(json!("150"))),
            ("999.99", Ok(json!("99999"))),
            ("1000", Err(OutOfRange)),
            ("1.005", Err(OutOfRange)),
            ("1e2", Ok(json!("10000"))),
            ("\"1.5\"", Err(WrongType)),
        ],
    );
    let nines = "9".repeat(38);
    check(
        "decimal(38,0)",
        &[
            (&nines, Ok(json!(nines.clone()))),
            (&format!("{nines}0"), Err(OutOfRange)),
            ("1e38", Err(OutOfRange)),
        ],
    );
}

#[test]
fn text_of_the_other_types_is_checked() {
    check(
        "boolean",
        &[("true", Ok(json!(true))), ("\"true\"", Err(WrongType)), ("1", Err(WrongType))],
    );
    check(
        "binary",
        &[
            ("\"AQI=\"", Ok(json!([1, 2]))),
            ("\"\\u0041QI=\"", Ok(json!([1, 2]))),
            ("\"\"", Ok(json!([]))),
            ("\"AQI\"", Err(WrongType)),
            ("1", Err(WrongType)),
        ],
    );
    check(
        "date",
        &[
            ("\"1970-01-11\"", Ok(json!(10))),
            ("\"2026-02-30\"", Err(WrongType)),
            ("10", Err(WrongType)),
        ],
    );
    check(
        "timestamp",
        &[
            ("\"1970-01-01T00:00:00.0000019Z\"", Ok(json!(1))),
            ("\"1970-01-01T09:00:00\\u002b09:00\"", Ok(json!(0))),
            ("\"1970-01-01T00:00:00\"", Err(WrongType)),
            ("1000", Err(WrongType)),
        ],
    );
    check(
        "timestamp_ntz",
        &[
            ("\"1970-01-01T00:00:01\"", Ok(json!(1_000_000))),
            ("\"1970-01-01T00:00:01Z\"", Err(WrongType)),
        ],
    );
    check("string", &[("\"a\"", Ok(json!("a"))), ("1", Err(WrongType)), ("{}", Err(WrongType))]);
}

#[test]
fn lossless_coercion_takes_neighbours_and_loses_nothing() {
    for (type_name, json, expected) in [
        ("long", "\"12\"", Ok(json!(12))),
        ("long", "\"1\\u0032\"", Ok(json!(12))),
        ("long", "\"12 \"", Err(WrongType)),
        ("long", "\"\"", Err(WrongType)),
        ("long", "\"012\"", Err(WrongType)),
        ("long", "\"1.5\"", Err(OutOfRange)),
        ("byte", "\"128\"", Err(OutOfRange)),
        ("double", "\"1.5\"", Ok(json!(1.5))),
        ("double", "\"NaN\"", Err(WrongType)),
        ("decimal(5,2)", "\"1.25\"", Ok(json!("125"))),
        ("boolean", "\"true\"", Ok(json!(true))),
        ("boolean", "\"True\"", Err(WrongType)),
        ("boolean", "1", Err(WrongType)),
        ("string", "1.50", Ok(json!("1.50"))),
        ("string", "true", Err(WrongType)),
        ("timestamp", "1500", Ok(json!(1_500_000))),
        ("timestamp", "1.5", Err(OutOfRange)),
        ("timestamp", "\"1500\"", Err(WrongType)),
        ("timestamp", "99999999999999999", Err(OutOfRange)),
        ("timestamp_ntz", "1500", Err(WrongType)),
        ("date", "1", Err(WrongType)),
        ("list<long>", "\"1\"", Err(WrongType)),
    ] {
        let mut decoder = lossless(&format!("v: {type_name}"));
        assert_eq!(value(&mut decoder, json), expected, "{json} as {type_name}");
    }
}

#[test]
fn nesting_is_limited_and_never_exhausts_the_stack() {
    let shallow = DecodeOptions { max_depth: 3, ..options("l: list<list<long>>") };
    let mut decoder = Decoder::new(shallow).expect("good options");
    one(&mut decoder, r#"{"l":[[1]],"x":[[1]]}"#).expect("three levels");
    assert_eq!(one(&mut decoder, r#"{"x":[[[1]]]}"#).expect_err("four").0, TooDeep);
    assert_eq!(one(&mut decoder, r#"{"x":[{"a":{}}]}"#).expect_err("four").0, TooDeep);
    let flat = DecodeOptions { max_depth: 2, ..options("l: list<list<long>>") };
    let mut decoder = Decoder::new(flat).expect("good options");
    assert_eq!(one(&mut decoder, r#"{"l":[[1]]}"#).expect_err("three").0, TooDeep);

    let brackets = "[".repeat(1_000_000);
    let braces = "{\"a\":".repeat(200_000);
    let mut unlimited = Decoder::new(DecodeOptions { max_depth: u32::MAX, ..options("v: long") })
        .expect("good options");
    for bomb in [&brackets, &format!("{{\"x\":{brackets}"), &format!("{{\"x\":{braces}")] {
        assert_eq!(one(&mut unlimited, bomb).expect_err("no end").0, Malformed);
        assert!(one(&mut decoder, bomb).is_err());
    }
}

#[test]
fn size_is_limited() {
    let small = DecodeOptions { max_bytes: ByteSize(20), ..options("v: string") };
    let mut decoder = Decoder::new(small).expect("good options");
    one(&mut decoder, r#"{"v":"123456789012"}"#).expect("twenty bytes");
    assert_eq!(one(&mut decoder, r#"{"v":"1234567890123"}"#).expect_err("more").0, TooLarge);
}

#[test]
fn a_small_message_cannot_grow_without_bound() {
    let wide: Vec<_> = (0..400).map(|n| format!("m{n}: decimal(38,0)")).collect();
    let mut decoder = decoder(&format!("l: list<struct<{}>>", wide.join(", ")));
    let bomb = format!("{{\"l\":[{}{{}}]}}", "{},".repeat(300_000));
    assert_eq!(one(&mut decoder, bomb).expect_err("48 GB of nulls").0, TooLarge);
    one(&mut decoder, "{\"l\":[{},{}]}").expect("a few are fine");
}

#[test]
fn a_call_stops_before_it_takes_too_much() {
    let text = "x".repeat(1 << 20);
    let large = DecodeOptions { max_bytes: ByteSize::mib(2), ..options("v: string") };
    let mut decoder = Decoder::new(large).expect("good options");
    let messages = vec![common::message(format!("{{\"v\":\"{text}\"}}")); 300];
    let first = decoder.decode(&messages);
    assert_eq!((first.consumed, first.batch.num_rows()), (255, 255));
    let rest = decoder.decode(&messages[first.consumed..]);
    assert_eq!((rest.consumed, rest.bad.len()), (45, 0));
}

#[test]
fn options_that_cannot_be_honoured_are_refused() {
    for (text, says) in [
        ("a: long; A: string", "no schema"),
        ("_tg_seq: long", "no schema"),
        ("a: long from a.b", "no place"),
        ("a: long from $.", "no place"),
        ("a: long from $.a..b", "no place"),
    ] {
        let error = Decoder::new(options(text)).map(|_| ()).expect_err(text);
        assert!(error.to_string().contains(says), "{text}: {error}");
    }
    let many: Vec<_> = (0..513).map(|n| format!("c{n}: long")).collect();
    let error = Decoder::new(options(&many.join(";"))).map(|_| ()).expect_err("513 fields");
    assert!(matches!(error, DecodeSetupError::TooManyFields { .. }));
    let huge = DecodeOptions { max_bytes: ByteSize::mib(257), ..options("a: long") };
    assert!(matches!(Decoder::new(huge), Err(DecodeSetupError::MaxBytes { .. })));
}
