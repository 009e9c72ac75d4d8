//! What holds for every record: `serde_json` is the oracle.

mod common;

use common::{message, one, options, outcomes};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use tidegate_decode::{DecodeOptions, Decoder, arrow_schema};
use tidegate_types::{Coercion, Field, FieldType, Reason, StructField, UnknownFields};

/// A type and values of it, as they are sent and as they are expected in the row.
fn any_type() -> BoxedStrategy<FieldType> {
    let plain = prop_oneof![
        Just(FieldType::String),
        Just(FieldType::Long),
        Just(FieldType::Integer),
        Just(FieldType::Byte),
        Just(FieldType::Double),
        Just(FieldType::Float),
        Just(FieldType::Boolean),
        Just(FieldType::Binary),
        Just(FieldType::Date),
        Just(FieldType::Timestamp),
        Just(FieldType::TimestampNtz),
        (1_u8..=38).prop_flat_map(|precision| {
            (0..=precision).prop_map(move |scale| FieldType::Decimal { precision, scale })
        }),
    ];
    plain
        .prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                inner.clone().prop_map(|element| FieldType::List(Box::new(element))),
                inner.clone().prop_map(|value| {
                    FieldType::Map(Box::new(FieldType::String), Box::new(value))
                }),
                prop::collection::vec(inner, 1..4).prop_map(|types| {
                    let member = |(n, data_type)| StructField { name: format!("m{n}"), data_type };
                    FieldType::Struct(types.into_iter().enumerate().map(member).collect())
                }),
            ]
        })
        .boxed()
}

/// What is sent (none: the member is left out) and what the row holds.
type Pair = (Option<Value>, Value);

fn pair(field_type: &FieldType) -> BoxedStrategy<Pair> {
    let there = present(field_type).prop_map(|(sent, held)| (Some(sent), held));
    prop_oneof![
        8 => there,
        1 => Just((Some(Value::Null), Value::Null)),
        1 => Just((None, Value::Null)),
    ]
    .boxed()
}

fn present(field_type: &FieldType) -> BoxedStrategy<(Value, Value)> {
    let same = |value: Value| (value.clone(), value);
    match field_type {
        FieldType::String => any::<String>().prop_map(move |v| same(json!(v))).boxed(),
        FieldType::Long => any::<i64>().prop_map(move |v| same(json!(v))).boxed(),
        FieldType::Integer => any::<i32>().prop_map(move |v| same(json!(v))).boxed(),
        FieldType::Short => any::<i16>().prop_map(move |v| same(json!(v))).boxed(),
        FieldType::Byte => any::<i8>().prop_map(move |v| same(json!(v))).boxed(),
        FieldType::Double => proptest::num::f64::NORMAL.prop_map(move |v| same(json!(v))).boxed(),
        FieldType::Float => proptest::num::f32::NORMAL.prop_map(move |v| same(json!(v))).boxed(),
        FieldType::Boolean => any::<bool>().prop_map(move |v| same(json!(v))).boxed(),
        FieldType::Binary => any::<Vec<u8>>().prop_map(|v| (json!(base64(&v)), json!(v))).boxed(),
        FieldType::Decimal { precision, scale } => decimal(*precision, *scale),
        FieldType::Date | FieldType::Timestamp | FieldType::TimestampNtz => {
            time(field_type.clone())
        }
        FieldType::List(element) => prop::collection::vec(pair(element), 0..4)
            .prop_map(|pairs| pairs.into_iter().map(|(sent, held)| (json!(sent), held)).unzip())
            .prop_map(|(sent, held): (Vec<Value>, Vec<Value>)| (json!(sent), json!(held)))
            .boxed(),
        FieldType::Map(_, value) => prop::collection::btree_map(any::<String>(), pair(value), 0..4)
            .prop_map(|pairs| {
                let sent = pairs.iter().map(|(key, (sent, _))| (key.clone(), json!(sent)));
                let held = pairs.iter().map(|(key, (_, held))| (key.clone(), held.clone()));
                (Value::Object(sent.collect()), Value::Object(held.collect()))
            })
            .boxed(),
        FieldType::Struct(members) => {
            let names: Vec<_> = members.iter().map(|member| member.name.clone()).collect();
            let values: Vec<_> = members.iter().map(|member| pair(&member.data_type)).collect();
            values.prop_map(move |values| object(&names, values)).boxed()
        }
    }
}

fn object(names: &[String], values: Vec<Pair>) -> (Value, Value) {
    let (mut sent, mut held) = (Map::new(), Map::new());
    for (name, (sent_value, held_value)) in names.iter().zip(values) {
        sent.extend(sent_value.map(|value| (name.clone(), value)));
        held.insert(name.clone(), held_value);
    }
    (Value::Object(sent), Value::Object(held))
}

/// The value is sent as a raw number, behind a mark that [`print`] takes off.
fn decimal(precision: u8, scale: u8) -> BoxedStrategy<(Value, Value)> {
    let limit = 10_i128.pow(precision.into()) - 1;
    (-limit..=limit)
        .prop_map(move |unscaled| {
            let digits =
                format!("{:0width$}", unscaled.unsigned_abs(), width = usize::from(scale) + 1);
            let (whole, fraction) = digits.split_at(digits.len() - usize::from(scale));
            let point = if scale == 0 { "" } else { "." };
            let sign = if unscaled < 0 { "-" } else { "" };
            (json!(format!("#{sign}{whole}{point}{fraction}")), json!(unscaled.to_string()))
        })
        .boxed()
}

fn time(field_type: FieldType) -> BoxedStrategy<(Value, Value)> {
    // Years 1 to 9999: the library that prints them writes earlier ones with a sign.
    (-62_135_596_800_000_000_i64..=253_402_300_799_000_000)
        .prop_map(move |micros| {
            let text = jiff::Timestamp::from_microsecond(micros).expect("in range").to_string();
            match field_type {
                FieldType::Date => (json!(text[..10]), json!(micros.div_euclid(86_400_000_000))),
                FieldType::Timestamp => (json!(text), json!(micros)),
                _ => (json!(text.trim_end_matches('Z')), json!(micros)),
            }
        })
        .boxed()
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |chunk: &[u8]| {
        let bits =
            (0..3).fold(0_usize, |bits, n| bits << 8 | usize::from(*chunk.get(n).unwrap_or(&0)));
        (0..4)
            .map(|n| if n > chunk.len() { '=' } else { LETTERS[bits >> (18 - 6 * n) & 63].into() })
            .collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

/// Fields, the record that is sent, and the row that is expected.
fn any_record() -> impl Strategy<Value = (Vec<Field>, Value, Value)> {
    prop::collection::vec(any_type(), 1..6).prop_flat_map(|types| {
        let names: Vec<_> = (0..types.len()).map(|n| format!("field \"{n}\"")).collect();
        let values: Vec<_> = types.iter().map(pair).collect();
        values.prop_map(move |values| {
            let fields = names.iter().zip(&types).map(|(name, data_type)| Field {
                name: name.clone(),
                data_type: data_type.clone(),
                required: false,
                from: None,
            });
            let (sent, held) = object(&names, values);
            (fields.collect(), sent, held)
        })
    })
}

/// Spells a value with members in any order, spaces anywhere and letters escaped at whim.
fn print(value: &Value, whim: &mut u64, out: &mut String) {
    space(whim, out);
    match value {
        Value::String(text) if text.starts_with('#') && is_number(&text[1..]) => {
            out.push_str(&text[1..])
        }
        Value::String(text) => print_text(text, whim, out),
        Value::Array(elements) => {
            out.push('[');
            for (index, element) in elements.iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                print(element, whim, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|_| next(whim));
            out.push('{');
            for (index, (name, member)) in members.into_iter().enumerate() {
                out.push_str(if index == 0 { "" } else { "," });
                space(whim, out);
                print_text(name, whim, out);
                space(whim, out);
                out.push(':');
                print(member, whim, out);
            }
            out.push('}');
        }
        plain => out.push_str(&plain.to_string()),
    }
    space(whim, out);
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'-')
        && !text.is_empty()
}

fn print_text(text: &str, whim: &mut u64, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        let escape =
            matches!(character, '"' | '\\' | '\0'..='\u{1f}') || next(whim).is_multiple_of(7);
        if escape {
            character
                .encode_utf16(&mut [0; 2])
                .iter()
                .for_each(|u| out.push_str(&format!("\\u{u:04x}")));
        } else {
            out.push(character);
        }
    }
    out.push('"');
}

fn space(whim: &mut u64, out: &mut String) {
    out.push_str(["", "", "", " ", "\n\t"][next(whim) as usize % 5]);
}

fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

fn printed(value: &Value, mut whim: u64) -> String {
    let mut text = String::new();
    print(value, &mut whim, &mut text);
    text
}

fn decoder(fields: &[Field], unknown_fields: UnknownFields) -> Decoder {
    let options = DecodeOptions {
        fields: fields.to_vec(),
        unknown_fields,
        coercion: Coercion::None,
        ..options("v: long")
    };
    Decoder::new(options).expect("good options")
}

/// A text is a number's text only by chance; such text must not be sent as a number.
fn has_marked_text(value: &Value, held: &Value) -> bool {
    match (value, held) {
        (Value::String(sent), held) => sent.starts_with('#') && held.as_str() == Some(sent),
        (Value::Array(a), Value::Array(b)) => a.iter().zip(b).any(|(a, b)| has_marked_text(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.iter().any(|(name, a)| b.get(name).is_some_and(|b| has_marked_text(a, b)))
        }
        _ => false,
    }
}

/// Changes a few bytes.
fn mutated(text: &str, mut whim: u64) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=next(&mut whim) % 3 {
        let at = next(&mut whim) as usize % (bytes.len() + 1);
        let byte = b"{}[]\",:\\0e.-x u\xff\0"[next(&mut whim) as usize % 17];
        match next(&mut whim) % 4 {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, byte),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            _ if at < bytes.len() => bytes[at] = byte,
            _ => bytes.push(byte),
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sent_is_what_the_row_holds((fields, sent, held) in any_record(), whims: [u64; 3]) {
        prop_assume!(!has_marked_text(&sent, &held));
        let mut decoder = decoder(&fields, UnknownFields::DeadLetter);
        let messages = whims.map(|whim| message(printed(&sent, whim)));
        let decoded = decoder.decode(&messages);
        prop_assert_eq!(decoded.batch.schema(), arrow_schema(&fields).expect("good names"));
        for outcome in outcomes(&decoded, messages.len()) {
            prop_assert_eq!(outcome, Ok(held.clone()));
        }
    }

    #[test]
    fn undeclared_fields_are_captured_as_they_were_sent((fields, sent, _) in any_record(), whim: u64) {
        let mut decoder = decoder(&[], UnknownFields::Capture);
        let text = printed(&sent, whim);
        let expected: Value = serde_json::from_str(&text).expect("it is JSON");
        let row = one(&mut decoder, &text).expect("any object is a row");
        if expected == json!({}) {
            prop_assert_eq!(&row["_tg_extra"], &Value::Null);
        } else {
            let extra: Value = serde_json::from_str(row["_tg_extra"].as_str().expect("text")).expect("JSON");
            prop_assert_eq!(extra, expected);
        }
        prop_assert!(!fields.is_empty());
    }

    #[test]
    fn s7_a_verdict_depends_on_the_message_alone(
        (fields, sent, held) in any_record(),
        whims in prop::collection::vec(any::<u64>(), 1..12),
    ) {
        prop_assume!(!has_marked_text(&sent, &held));
        let payload = |whim: &u64| match whim % 3 {
            0 => printed(&sent, *whim).into_bytes(),
            _ => mutated(&printed(&sent, *whim), *whim),
        };
        let payloads: Vec<_> = whims.iter().map(payload).collect();
        let messages: Vec<_> = payloads.iter().map(message).collect();
        let together = outcomes(&decoder(&fields, UnknownFields::Ignore).decode(&messages), messages.len());
        for ((payload, whim), outcome) in payloads.iter().zip(&whims).zip(together) {
            let alone = one(&mut decoder(&fields, UnknownFields::Ignore), payload);
            prop_assert_eq!(&alone, &outcome, "alone and among others");
            if whim % 3 == 0 {
                prop_assert_eq!(outcome, Ok(held.clone()), "a bad neighbour changes nothing");
            }
        }
    }

    #[test]
    fn what_another_parser_calls_malformed_is_no_row((fields, sent, _) in any_record(), whims: [u64; 4]) {
        let mut decoder = decoder(&fields, UnknownFields::Ignore);
        for whim in whims {
            let payload = mutated(&printed(&sent, whim), whim);
            let grammar = serde_json::from_slice::<serde::de::IgnoredAny>(&payload);
            match one(&mut decoder, &payload) {
                Ok(_) => prop_assert!(grammar.is_ok(), "{}", String::from_utf8_lossy(&payload)),
                Err((Reason::Malformed, detail)) => {
                    let ours_alone = ["twice", "not an object"].iter().any(|word| detail.contains(word));
                    let other = serde_json::from_slice::<Value>(&payload);
                    prop_assert!(ours_alone || other.is_err(), "{} {}", detail, String::from_utf8_lossy(&payload));
                }
                Err(_) => {}
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic(payloads in prop::collection::vec(any::<Vec<u8>>(), 1..8), capture: bool) {
        let unknown = if capture { UnknownFields::Capture } else { UnknownFields::Ignore };
        let fields = common::fields("a: long; b: struct<c: list<map<string, double>>>; d: binary");
        let messages: Vec<_> = payloads.iter().map(message).collect();
        outcomes(&decoder(&fields, unknown).decode(&messages), messages.len());
    }

    #[test]
    fn no_likely_tokens_make_it_panic(tokens in prop::collection::vec(prop::sample::select(vec![
        "{", "}", "[", "]", ",", ":", "\"a\"", "\"b\"", "\"c\"", "\"\\ud800\"", "\"x", "1", "-", "1e9", "0.5",
        "true", "null", " ", "\\", "\"\"", "99999999999999999999", "{\"a\":", "{\"b\":{\"c\":[{\"k\":",
    ]), 0..24)) {
        let fields = common::fields("a: long; b: struct<c: list<map<string, double>>>; c: decimal(10,2) from $.b.x");
        let mut decoder = decoder(&fields, UnknownFields::Capture);
        let _ = one(&mut decoder, tokens.concat());
        let row = one(&mut decoder, r#"{"a":1,"b":{"c":[{"k":2}],"x":3}}"#).expect("the next is good");
        prop_assert_eq!(row, json!({"a": 1, "b": {"c": [{"k": 2.0}]}, "c": "300", "_tg_extra": null}));
    }
}
