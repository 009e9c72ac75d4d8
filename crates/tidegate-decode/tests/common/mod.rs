//! What the tests share: messages, decoders, and rows as JSON.
#![allow(dead_code, unreachable_pub, reason = "each test takes what it needs")]

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType,
};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use tidegate_decode::{DecodeOptions, Decoded, Decoder};
use tidegate_types::{
    ByteSize, Coercion, Field, Message, PayloadCompression, Reason, StreamTime, UnknownFields,
};

pub fn message(payload: impl AsRef<[u8]>) -> Message {
    Message {
        sequence: 1,
        time: StreamTime::default(),
        subject: "s".into(),
        payload: Bytes::copy_from_slice(payload.as_ref()),
        id: None,
    }
}

/// Fields from `name: type`, `name: type required`, `name: type from $.a.b`; separated by `;`.
pub fn fields(text: &str) -> Vec<Field> {
    text.split(';').map(|field| self::field(field.trim())).collect()
}

fn field(text: &str) -> Field {
    let (name, rest) = text.split_once(':').expect("name: type");
    let (rest, from) = match rest.split_once(" from ") {
        Some((rest, path)) => (rest, Some(path.to_owned())),
        None => (rest, None),
    };
    let data_type = rest.trim_end_matches(" required").trim().parse().expect(rest);
    Field { name: name.trim().to_owned(), data_type, required: rest.ends_with(" required"), from }
}

pub fn options(text: &str) -> DecodeOptions {
    DecodeOptions {
        fields: fields(text),
        unknown_fields: UnknownFields::Ignore,
        coercion: Coercion::None,
        compression: PayloadCompression::None,
        max_bytes: ByteSize::mib(1),
        max_depth: 64,
        refuse_near_names: false,
    }
}

pub fn decoder(text: &str) -> Decoder {
    Decoder::new(options(text)).expect("good options")
}

pub fn lossless(text: &str) -> Decoder {
    let options = DecodeOptions { coercion: Coercion::Lossless, ..options(text) };
    Decoder::new(options).expect("good options")
}

/// One message alone: its row, or its reason and detail.
pub fn one(decoder: &mut Decoder, payload: impl AsRef<[u8]>) -> Result<Value, (Reason, String)> {
    let decoded = decoder.decode(&[message(payload)]);
    let mut outcomes = outcomes(&decoded, 1);
    outcomes.remove(0)
}

/// For each message its row, or its reason and detail; checks that there is exactly one of them.
pub fn outcomes(decoded: &Decoded, messages: usize) -> Vec<Result<Value, (Reason, String)>> {
    assert_eq!(decoded.consumed, messages);
    assert_eq!(decoded.batch.num_rows(), decoded.source.len());
    let mut outcomes: Vec<Option<Result<Value, (Reason, String)>>> = vec![None; messages];
    for (row, index) in decoded.source.iter().enumerate() {
        let before = outcomes[*index as usize].replace(Ok(row_value(&decoded.batch, row)));
        assert_eq!(before, None, "one message, one outcome");
    }
    for bad in &decoded.bad {
        assert!(bad.detail.len() <= 256 && !bad.detail.is_empty(), "{}", bad.detail);
        let outcome = Err((bad.reason, bad.detail.clone()));
        assert_eq!(outcomes[bad.index as usize].replace(outcome), None, "one message, one outcome");
    }
    assert!(decoded.source.is_sorted() && decoded.bad.is_sorted_by_key(|bad| bad.index));
    outcomes.into_iter().map(|outcome| outcome.expect("every message has an outcome")).collect()
}

/// A row as JSON: instants and days as numbers, decimals unscaled as text, bytes as numbers.
pub fn row_value(batch: &RecordBatch, row: usize) -> Value {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    let members = columns.map(|(field, array)| (field.name().clone(), cell(array, row)));
    Value::Object(members.collect::<Map<_, _>>())
}

fn cell(array: &dyn Array, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Utf8 => json!(array.as_string::<i32>().value(row)),
        DataType::Binary => json!(array.as_binary::<i32>().value(row)),
        DataType::Boolean => json!(array.as_boolean().value(row)),
        DataType::Int8 => json!(array.as_primitive::<Int8Type>().value(row)),
        DataType::Int16 => json!(array.as_primitive::<Int16Type>().value(row)),
        DataType::Int32 => json!(array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => json!(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float32 => json!(array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => json!(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(..) => {
            json!(array.as_primitive::<Decimal128Type>().value(row).to_string())
        }
        DataType::Date32 => json!(array.as_primitive::<Date32Type>().value(row)),
        DataType::Timestamp(..) => {
            json!(array.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        DataType::List(_) => {
            let elements = array.as_list::<i32>().value(row);
            (0..elements.len()).map(|index| cell(&elements, index)).collect()
        }
        DataType::Struct(members) => {
            let children = array.as_struct().columns();
            let cells = members.iter().zip(children);
            Value::Object(cells.map(|(f, child)| (f.name().clone(), cell(child, row))).collect())
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let pairs = (0..entries.len()).map(|index| {
                let key = cell(entries.column(0), index);
                let text = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                (text, cell(entries.column(1), index))
            });
            Value::Object(pairs.collect())
        }
        other => panic!("no column has the type {other}"),
    }
}
