//! Cells of text, as CSV has them, to a record batch.
//!
//! What a cell may be follows the table in the module `scalar`, with the coercion `Lossless`, for text is
//! all that CSV has; beside it the spellings that programs write into such files are taken: a number may
//! have a plus sign, leading zeros or no digit before the point, a truth value may be `t`, `f`, `1` or `0`
//! in either case, `NaN` and `Infinity` are floats, and an offset may be as short as `+00`.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tidegate_types::{Coercion, Field, MAX_FIELDS, Reason};

use crate::arrow_types::arrow_schema;
use crate::column::Column;
use crate::decoder::{self, DecodeSetupError, at_most};
use crate::fault::{Fault, Parsed};
use crate::scalar::{Misfit, push_boolean, push_text};

/// Builds rows out of cells of text. Buffers are kept between batches.
pub struct CellDecoder {
    schema: SchemaRef,
    fields: Vec<Field>,
    columns: Vec<Column>,
    rows: usize,
    scratch: Vec<u8>,
}

/// Why a row cannot be: the word, and one line of at most 256 bytes that names the column.
pub type BadCell = (Reason, String);

impl CellDecoder {
    /// Compiles the columns.
    ///
    /// # Errors
    ///
    /// [`DecodeSetupError`] when they cannot stand beside each other, or one is of a type that no cell can
    /// hold: struct, list or map.
    pub fn new(fields: &[Field]) -> Result<Self, DecodeSetupError> {
        at_most("fields", fields.len(), MAX_FIELDS)?;
        if let Some(field) = fields.iter().find(|field| field.data_type.is_nested()) {
            return Err(DecodeSetupError::NestedCell { name: field.name.clone() });
        }
        Ok(Self {
            schema: arrow_schema(fields).map_err(|source| DecodeSetupError::Schema { source })?,
            columns: fields.iter().map(|field| Column::new(&field.data_type)).collect(),
            fields: fields.to_vec(),
            rows: 0,
            scratch: Vec::new(),
        })
    }

    /// The columns of every batch, in the order of the fields, all nullable.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }

    /// Rows that are complete and wait for [`Self::finish`].
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Gives a column of the row under construction its value; none is null. A column gets at most one.
    ///
    /// # Errors
    ///
    /// [`BadCell`]; the row must then be taken back.
    pub fn set(&mut self, column: usize, cell: Option<&[u8]>) -> Result<(), BadCell> {
        let (field, values) = (&self.fields[column], &mut self.columns[column]);
        debug_assert_eq!(values.len(), self.rows, "a column gets at most one value a row");
        let pushed = match cell {
            Some(text) => push_cell(values, text, &mut self.scratch),
            None if field.required => Err(Fault::new(Reason::MissingField, "required, but empty")),
            None => {
                values.push_null();
                Ok(())
            }
        };
        pushed.map_err(|fault| fault.within(&field.name).into_parts())
    }

    /// Ends the row; columns without a value are null.
    ///
    /// # Errors
    ///
    /// [`BadCell`] when a required one has none; the row must then be taken back.
    pub fn end_row(&mut self) -> Result<(), BadCell> {
        for column in 0..self.columns.len() {
            if self.columns[column].len() == self.rows {
                self.set(column, None)?;
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// Gives up the row under construction.
    pub fn take_back(&mut self) {
        self.columns.iter_mut().for_each(|column| column.truncate(self.rows));
    }

    /// The complete rows; the next batch begins.
    pub fn finish(&mut self) -> RecordBatch {
        self.take_back();
        let rows = std::mem::take(&mut self.rows);
        decoder::finish(&self.schema, &mut self.columns, None, rows)
    }
}

fn push_cell(column: &mut Column, text: &[u8], scratch: &mut Vec<u8>) -> Parsed<()> {
    if let Err(error) = std::str::from_utf8(text) {
        let place = error.valid_up_to();
        return Err(Fault::at(Reason::InvalidEncoding, "the cell is not UTF-8", place));
    }
    let result = match column {
        Column::Text(_) => push_text(column, text, Coercion::None),
        Column::Boolean(_) => match truth(text.trim_ascii()) {
            Some(value) => push_boolean(column, value),
            None => Err(Misfit::Type),
        },
        Column::Float(values) if not_finite(text).is_some() => {
            values.push(not_finite(text).unwrap_or(f32::NAN));
            Ok(())
        }
        Column::Double(values) if not_finite(text).is_some() => {
            values.push(not_finite(text).unwrap_or(f32::NAN).into());
            Ok(())
        }
        Column::Date(_) | Column::LocalTime(_) | Column::Binary(_) => {
            push_text(column, text.trim_ascii(), Coercion::None)
        }
        Column::Timestamp(_) => {
            push_text(column, whole_offset(text.trim_ascii(), scratch), Coercion::None)
        }
        _ => push_text(column, plain_number(text.trim_ascii(), scratch), Coercion::Lossless),
    };
    result.map_err(|misfit| misfit.into_fault_of(column, "text", text))
}

fn truth(text: &[u8]) -> Option<bool> {
    let is = |words: [&str; 3]| words.iter().any(|word| text.eq_ignore_ascii_case(word.as_bytes()));
    if is(["true", "t", "1"]) {
        Some(true)
    } else if is(["false", "f", "0"]) {
        Some(false)
    } else {
        None
    }
}

fn not_finite(text: &[u8]) -> Option<f32> {
    let text = text.trim_ascii();
    let (sign, word) = match text {
        [b'-', word @ ..] => (-1.0, word),
        [b'+', word @ ..] => (1.0, word),
        word => (1.0, word),
    };
    let is = |other: &str| word.eq_ignore_ascii_case(other.as_bytes());
    if is("nan") {
        Some(f32::NAN)
    } else if is("inf") || is("infinity") {
        Some(sign * f32::INFINITY)
    } else {
        None
    }
}

/// A number as JSON spells it: no plus sign, no leading zeros, a digit before the point.
fn plain_number<'a>(text: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    let (sign, digits): (&[u8], &[u8]) = match text {
        [b'-', digits @ ..] => (b"-", digits),
        [b'+', digits @ ..] if !digits.starts_with(b"+") && !digits.starts_with(b"-") => {
            (b"", digits)
        }
        digits => (b"", digits),
    };
    let zeros =
        digits.windows(2).take_while(|pair| pair[0] == b'0' && pair[1].is_ascii_digit()).count();
    let bare = digits.len() > 1 && digits[0] == b'.' && digits[1].is_ascii_digit();
    if zeros == 0 && !bare && sign.len() + digits.len() == text.len() {
        return text;
    }
    scratch.clear();
    scratch.extend_from_slice(sign);
    scratch.extend_from_slice(if bare { b"0" } else { b"" });
    scratch.extend_from_slice(&digits[zeros..]);
    scratch
}

/// An instant whose offset has minutes and a colon: `+00` and `+0000` do not.
fn whole_offset<'a>(text: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    // The first ten bytes are the day, with its dashes.
    let sign = text.iter().skip(10).rposition(|byte| matches!(byte, b'+' | b'-'));
    let Some((local, offset)) = sign.map(|at| text.split_at(at + 10)) else { return text };
    let (hours, minutes): (&[u8], &[u8]) = match offset {
        [_, _, _] => (offset, b"00"),
        [_, _, _, m1, _] if m1.is_ascii_digit() => offset.split_at(3),
        _ => return text,
    };
    scratch.clear();
    for part in [local, hours, b":", minutes] {
        scratch.extend_from_slice(part);
    }
    scratch
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, AsArray};
    use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
    use proptest::prelude::*;

    use super::*;

    fn decoder(types: &[&str]) -> CellDecoder {
        let fields: Vec<_> = types
            .iter()
            .enumerate()
            .map(|(index, data_type)| Field {
                name: format!("c{index}"),
                data_type: data_type.trim_end_matches('!').parse().expect(data_type),
                required: data_type.ends_with('!'),
                from: None,
            })
            .collect();
        CellDecoder::new(&fields).expect("columns")
    }

    fn one(data_type: &str, text: &str) -> Result<ArrayRef, BadCell> {
        let mut decoder = decoder(&[data_type]);
        decoder.set(0, Some(text.as_bytes()))?;
        decoder.end_row()?;
        Ok(ArrayRef::clone(decoder.finish().column(0)))
    }

    #[test]
    fn numbers_are_read_as_programs_write_them() {
        for (text, number) in
            [("7", 7), ("+7", 7), ("-7", -7), ("007", 7), (" 7 ", 7), ("-00", 0), ("7.0", 7)]
        {
            let column = one("long", text).expect(text);
            assert_eq!(column.as_primitive::<Int64Type>().value(0), number, "{text}");
        }
        for (text, number) in
            [(".5", 0.5), ("-.5", -0.5), ("+1e3", 1e3), ("-inf", f64::NEG_INFINITY)]
        {
            let column = one("double", text).expect(text);
            assert_eq!(column.as_primitive::<Float64Type>().value(0).to_bits(), number.to_bits());
        }
        let nan = one("double", "NaN").expect("a float");
        assert!(nan.as_primitive::<Float64Type>().value(0).is_nan());
    }

    #[test]
    fn offsets_may_be_short() {
        for text in
            ["2026-06-01 00:00:00+00", "2026-06-01T09:00:00+0900", "2026-05-31 20:00:00.0-04"]
        {
            let column = one("timestamp", text).expect(text);
            let micros = column.as_primitive::<TimestampMicrosecondType>().value(0);
            assert_eq!(micros, 1_780_272_000_000_000, "{text}");
        }
    }

    #[test]
    fn what_would_lose_something_is_refused() {
        for (data_type, text, reason) in [
            ("long", "1.5", Reason::OutOfRange),
            ("long", "9223372036854775808", Reason::OutOfRange),
            ("long", "1,000", Reason::WrongType),
            ("long", "", Reason::WrongType),
            ("long", "++1", Reason::WrongType),
            ("byte", "128", Reason::OutOfRange),
            ("decimal(4,2)", "1.234", Reason::OutOfRange),
            ("decimal(4,2)", "NaN", Reason::WrongType),
            ("boolean", "yes", Reason::WrongType),
            ("date", "2026-02-30", Reason::WrongType),
            ("timestamp", "2026-06-01 00:00:00", Reason::WrongType),
            ("timestamp_ntz", "2026-06-01 00:00:00+00", Reason::WrongType),
        ] {
            let (found, detail) = one(data_type, text).expect_err(text);
            assert_eq!(found, reason, "{text:?} as {data_type}: {detail}");
            assert!(detail.starts_with("c0: "), "{detail}");
        }
    }

    #[test]
    fn a_bad_row_leaves_no_trace() {
        let mut decoder = decoder(&["string", "long!"]);
        decoder.set(0, Some(b"a")).expect("text");
        let (reason, _) = decoder.end_row().expect_err("required");
        assert_eq!(reason, Reason::MissingField);
        decoder.take_back();
        decoder.set(1, Some(b"1")).expect("a number");
        decoder.end_row().expect("a row");
        assert_eq!(decoder.set(0, Some(b"\xff")).expect_err("bytes").0, Reason::InvalidEncoding);
        let batch = decoder.finish();
        assert_eq!((batch.num_rows(), batch.column(0).null_count()), (1, 1));
        assert_eq!(decoder.finish().num_rows(), 0);
    }

    #[test]
    fn nested_columns_have_no_cells() {
        let field = Field {
            name: "tags".into(),
            data_type: "list<string>".parse().expect("a type"),
            required: false,
            from: None,
        };
        let error = CellDecoder::new(&[field]).err().expect("refused");
        assert!(error.to_string().contains("\"tags\""), "{error}");
    }

    proptest! {
        #[test]
        fn no_cell_makes_it_panic(text: Vec<u8>, which in 0_usize..12) {
            let types = ["string", "long", "integer", "short", "byte", "float", "double",
                "decimal(9,3)", "boolean", "binary", "date", "timestamp"];
            let mut decoder = decoder(&[types[which]]);
            if decoder.set(0, Some(&text)).is_err() {
                decoder.take_back();
            }
            let _ = decoder.finish();
        }

        #[test]
        fn every_number_is_read_back(number: i64) {
            let column = one("long", &number.to_string()).expect("a number");
            prop_assert_eq!(column.as_primitive::<Int64Type>().value(0), number);
        }
    }
}
