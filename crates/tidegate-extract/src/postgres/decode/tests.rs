use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Field, Int32Type, Schema, TimestampMicrosecondType};
use proptest::prelude::*;

use super::*;
use crate::postgres::types::Wire;

/// Columns of every form.
fn forms() -> Vec<Wire> {
    vec![
        Wire::Int32,
        Wire::Text,
        Wire::Bool,
        Wire::Int16,
        Wire::Int64,
        Wire::Float32,
        Wire::Float64,
        Wire::Decimal { precision: 18, scale: 2 },
        Wire::Bytes,
        Wire::Jsonb,
        Wire::Uuid,
        Wire::Date,
        Wire::Timestamp,
        Wire::TimestampNtz,
        Wire::List(Box::new(Wire::Text)),
    ]
}

fn selected(wires: &[Wire]) -> Vec<Selected> {
    let columns = wires.iter().enumerate();
    columns
        .map(|(index, wire)| Selected {
            name: format!("c{index}"),
            column: format!("c{index}"),
            cast: None,
            wire: wire.clone(),
            required: false,
        })
        .collect()
}

fn decoder(selected: &[Selected], rows: usize, bytes: usize) -> Decoder {
    let fields = selected.iter();
    let fields = fields.map(|column| Field::new(&column.name, column.wire.data_type(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    Decoder::new(schema, selected, rows, bytes)
}

/// What a server sends for rows of values.
fn stream(rows: &[Vec<Option<Vec<u8>>>]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    // An extension that nobody knows, to be skipped.
    bytes.extend([0, 0, 0, 0, 0, 0, 0, 3, 1, 2, 3]);
    for row in rows {
        bytes.extend(i16::try_from(row.len()).unwrap().to_be_bytes());
        for value in row {
            match value {
                None => bytes.extend((-1_i32).to_be_bytes()),
                Some(value) => {
                    bytes.extend(i32::try_from(value.len()).unwrap().to_be_bytes());
                    bytes.extend(value);
                }
            }
        }
    }
    bytes.extend((-1_i16).to_be_bytes());
    bytes
}

/// A value of every form, out of a number.
fn row(number: i32) -> Vec<Option<Vec<u8>>> {
    let big = i64::from(number);
    let text = number.to_string().into_bytes();
    let list = [
        &[0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 25, 0, 0, 0, 2, 0, 0, 0, 1][..],
        &i32::try_from(text.len()).unwrap().to_be_bytes(),
        &text,
        &(-1_i32).to_be_bytes(),
    ];
    let values = vec![
        number.to_be_bytes().to_vec(),
        text.clone(),
        vec![u8::from(number % 2 == 0)],
        i16::try_from(number % 100).unwrap().to_be_bytes().to_vec(),
        big.to_be_bytes().to_vec(),
        1.5_f32.to_be_bytes().to_vec(),
        2.5_f64.to_be_bytes().to_vec(),
        vec![0, 1, 0, 0, 0, 0, 0, 2, 0, 7],
        vec![0xff, 0],
        [&[1][..], b"{}"].concat(),
        vec![0xab; 16],
        number.to_be_bytes().to_vec(),
        big.to_be_bytes().to_vec(),
        big.to_be_bytes().to_vec(),
        list.concat(),
    ];
    let values = values.into_iter().enumerate();
    // Every column is null now and then.
    values.map(|(at, value)| (number as usize % 16 != at).then_some(value)).collect()
}

/// Decodes pieces that are cut at `cuts`.
fn decode(
    mut decoder: Decoder,
    bytes: &[u8],
    cuts: &[usize],
) -> Result<(Vec<RecordBatch>, bool), Fault> {
    let mut batches = Vec::new();
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    for piece in cuts.windows(2) {
        let mut input = &bytes[piece[0]..piece[1]];
        while decoder.feed(&mut input)? == Progress::Full {
            batches.extend(decoder.take()?);
        }
    }
    let complete = decoder.is_complete();
    if complete {
        batches.extend(decoder.take()?);
    }
    Ok((batches, complete))
}

fn whole(batches: &[RecordBatch]) -> RecordBatch {
    arrow::compute::concat_batches(&batches[0].schema(), batches).unwrap()
}

#[test]
fn values_and_nulls_come_out_where_they_stood() {
    let selected = selected(&forms());
    let rows: Vec<_> = (0..40).map(row).collect();
    let decoder = decoder(&selected, 7, usize::MAX);
    let (batches, complete) = decode(decoder, &stream(&rows), &[]).unwrap();
    assert!(complete);
    assert_eq!(batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [7, 7, 7, 7, 7, 5]);
    let all = whole(&batches);
    for column in 0..selected.len() {
        for row in 0..40 {
            assert_eq!(all.column(column).is_null(row), row % 16 == column, "{row} of {column}");
        }
    }
    assert_eq!(all.column(0).as_primitive::<Int32Type>().value(39), 39);
    assert_eq!(all.column(1).as_string::<i32>().value(39), "39");
    assert_eq!(all.column(9).as_string::<i32>().value(39), "{}");
    assert_eq!(all.column(10).as_string::<i32>().value(39), "abababab-abab-abab-abab-abababababab");
    let time = all.column(12).as_primitive::<TimestampMicrosecondType>();
    assert_eq!(time.value(39), 946_684_800_000_039);
    let list = all.column(14).as_list::<i32>().value(39);
    assert_eq!(list.as_string::<i32>().value(0), "39");
    assert!(list.is_null(1));
}

#[test]
fn a_batch_ends_when_it_has_enough_bytes() {
    let selected = selected(&[Wire::Bytes]);
    let rows: Vec<_> = [10, 500, 10, 10].map(|size| vec![Some(vec![0; size])]).to_vec();
    let (batches, _) = decode(decoder(&selected, 100, 100), &stream(&rows), &[]).unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [2, 2]);
}

#[test]
fn a_fault_names_row_and_column() {
    let mut selected = selected(&[Wire::Int32, Wire::Date]);
    let good = vec![Some(vec![0; 4]), Some(vec![0; 4])];
    for (value, says) in [
        (Some(vec![0; 3]), "row 2, column \"c1\": a value of 3 bytes where 4 are due"),
        (Some(i32::MAX.to_be_bytes().to_vec()), "column \"c1\": infinity"),
        (None, "row 2, column \"c1\": no value"),
    ] {
        selected[1].required = true;
        let rows = vec![good.clone(), good.clone(), vec![Some(vec![0; 4]), value]];
        let error = decode(decoder(&selected, 2, usize::MAX), &stream(&rows), &[]);
        let error = error.expect_err(says).to_string();
        assert!(error.contains(says), "{error}");
    }
}

/// By its length alone: the value does not come, nor is it waited for.
#[test]
fn a_row_that_is_too_large_is_named_with_its_column() {
    let selected = selected(&[Wire::Int32, Wire::Bytes, Wire::Text]);
    let mut bytes = stream(&[vec![None, None, None]]);
    bytes.truncate(bytes.len() - 2);
    bytes.extend([0, 3, 255, 255, 255, 255, 255, 255, 255, 255]);
    bytes.extend(i32::try_from(LARGEST_ROW + 1).unwrap().to_be_bytes());
    let fault = decoder(&selected, 10, 1 << 20).feed(&mut bytes.as_slice()).unwrap_err();
    let column = Some("c2".to_owned());
    assert_eq!(fault, Fault { row: 1, column, problem: Problem::RowTooLarge });
    assert!(fault.to_string().contains("larger than 64 MiB"), "{fault}");
}

#[test]
fn values_that_are_too_large_together_are_refused() {
    let selected = selected(&[Wire::Bytes, Wire::Bytes]);
    for (size, refused) in [(LARGEST_ROW / 2 - 100, false), (LARGEST_ROW / 2, true)] {
        let bytes = stream(&[vec![Some(vec![0; size]), Some(vec![0; size])]]);
        let fed = decoder(&selected, 10, usize::MAX).feed(&mut bytes.as_slice());
        assert_eq!(fed.is_err(), refused, "{size}");
        assert!(fed.err().is_none_or(|fault| fault.problem == Problem::RowTooLarge));
    }
}

#[test]
fn text_must_be_text() {
    let selected = selected(&[Wire::Text]);
    let rows = vec![vec![Some(b"fine".to_vec())], vec![Some(vec![0xff])]];
    let error = decode(decoder(&selected, 10, usize::MAX), &stream(&rows), &[]).unwrap_err();
    assert_eq!(error.problem, Problem::Encoding);
}

#[test]
fn a_stream_that_is_none_is_told() {
    let selected = selected(&[Wire::Int32]);
    let good = stream(&[vec![Some(vec![0; 4])]]);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let behind = [good.clone(), vec![0]].concat();
    // Signature, critical flags, the extension's length, the number of columns, a value's length.
    for bytes in [with(0, 0), with(12, 1), with(15, 0xff), with(23, 7), with(24, 0x80), behind] {
        let error = decode(decoder(&selected, 10, usize::MAX), &bytes, &[]);
        assert!(matches!(error, Err(Fault { problem: Problem::Malformed(_), .. })), "{error:?}");
    }
}

proptest! {
    #[test]
    fn where_a_stream_is_cut_makes_no_difference(
        count in 0_i32..50,
        cuts in prop::collection::vec(any::<usize>(), 0..60),
        batch in 1_usize..20,
    ) {
        let selected = selected(&forms());
        let rows: Vec<_> = (0..count).map(row).collect();
        let bytes = stream(&rows);
        let once = decode(decoder(&selected, batch, usize::MAX), &bytes, &[]).unwrap();
        let cut = decode(decoder(&selected, batch, usize::MAX), &bytes, &cuts).unwrap();
        prop_assert!(once.1);
        prop_assert_eq!(once, cut);
    }

    #[test]
    fn a_stream_that_ends_early_is_never_complete(count in 1_i32..20, cut in any::<usize>()) {
        let selected = selected(&forms());
        let rows: Vec<_> = (0..count).map(row).collect();
        let bytes = stream(&rows);
        let (batches, complete) =
            decode(decoder(&selected, 100, usize::MAX), &bytes[..cut % bytes.len()], &[]).unwrap();
        prop_assert!(!complete);
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        prop_assert!(rows <= count as usize);
    }

    #[test]
    fn garbled_bytes_are_an_error_or_rows_and_never_a_panic(
        count in 1_i32..10,
        garbled in prop::collection::vec((any::<usize>(), any::<u8>()), 1..20),
        cuts in prop::collection::vec(any::<usize>(), 0..5),
    ) {
        let selected = selected(&forms());
        let rows: Vec<_> = (0..count).map(row).collect();
        let mut bytes = stream(&rows);
        for (at, byte) in garbled {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let _ = decode(decoder(&selected, 3, 1000), &bytes, &cuts);
    }
}
