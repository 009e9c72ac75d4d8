//! Messages to a record batch.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field as ArrowField, Schema, SchemaRef};
use thiserror::Error;
use tidegate_types::{
    ByteSize, Coercion, Field, FieldType, MAX_FIELDS, Message, PayloadCompression, Reason,
    UnknownFields,
};

use crate::arrow_types::{EXTRA_COLUMN, SchemaError, arrow_schema};
use crate::column::Column;
use crate::fault::{Fault, Parsed};
use crate::inflate::Inflater;
use crate::leaf::Bytes;
use crate::parser::{Parser, Rules, Scratch};
use crate::paths::{PathError, Shape};

/// What one call of [`Decoder::decode`] takes before it stops: payload bytes, and eight for each cell
/// that a message leaves empty. An Arrow column of text ends at 2 GiB; this also bounds memory.
pub const MAX_CALL_BYTES: usize = 256 << 20;
/// Most members of one struct type.
const MAX_MEMBERS: usize = 4_096;
/// Bytes charged for an empty cell.
const CELL: usize = 8;

/// How messages become rows.
#[derive(Debug, Clone)]
pub struct DecodeOptions {
    /// The declared columns.
    pub fields: Vec<Field>,
    /// What happens to undeclared fields. `Capture` keeps those of the record itself; an undeclared
    /// member of a declared struct, or beside a `from` path, is counted and dropped all the same.
    pub unknown_fields: UnknownFields,
    /// Whether neighbouring types are taken.
    pub coercion: Coercion,
    /// How payloads are compressed.
    pub compression: PayloadCompression,
    /// Largest payload, as sent and after decompression. At most 256Mi.
    pub max_bytes: ByteSize,
    /// Deepest nesting; the record itself is the first level.
    pub max_depth: u32,
    /// Whether a record is bad that lacks a declared field and has one whose name differs from it in case or
    /// blanks alone. Otherwise that is one undeclared field more. Where a value is read for several columns,
    /// its members' names are not compared.
    pub refuse_near_names: bool,
}

/// The options cannot be honoured.
#[derive(Debug, Error)]
pub enum DecodeSetupError {
    /// The columns cannot stand beside each other.
    #[error("the declared fields make no schema")]
    Schema {
        /// Why.
        #[source]
        source: SchemaError,
    },
    /// A `from` path cannot be read.
    #[error("a declared field has no place in the record")]
    Path {
        /// Why.
        #[source]
        source: PathError,
    },
    /// There are more fields than a schema may have.
    #[error("{count} {what} are declared, at most {most} are possible")]
    TooManyFields {
        /// Fields, or members of a struct.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// A cell of text cannot hold such a value.
    #[error("field {name:?} is a struct, list or map, which a cell of text cannot hold")]
    NestedCell {
        /// The field's name.
        name: String,
    },
    /// A single message could be larger than what one call takes.
    #[error("maxBytes is {max_bytes}, more than 256Mi")]
    MaxBytes {
        /// The configured limit.
        max_bytes: ByteSize,
    },
    /// The decompressor could not be set up.
    #[error("the decompressor could not be set up")]
    Decompressor {
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Decodes messages of one pipeline. Buffers are kept between calls.
pub struct Decoder {
    schema: SchemaRef,
    fields: Vec<Field>,
    shape: Shape,
    columns: Vec<Column>,
    /// The undeclared fields of each row, when they are captured.
    extra: Option<Bytes>,
    rules: Rules,
    max_bytes: ByteSize,
    inflater: Inflater,
    scratch: Scratch,
}

/// What became of the messages of one call.
#[derive(Debug)]
pub struct Decoded {
    /// The good records, in the order of their messages.
    pub batch: RecordBatch,
    /// For each row, the index of its message; ascending.
    pub source: Vec<u32>,
    /// The records that cannot be rows; ascending.
    pub bad: Vec<BadRecord>,
    /// Undeclared fields of the good records that were dropped.
    pub unknown_fields: u64,
    /// How many messages were looked at: each of them is a row or bad. Fewer than were given when the
    /// call reached [`MAX_CALL_BYTES`]; at least one. The rest is for the next call.
    pub consumed: usize,
}

/// A record that cannot be a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRecord {
    /// The index of its message.
    pub index: u32,
    /// Why, as a word.
    pub reason: Reason,
    /// Why, as one line of at most 256 bytes that names the field and the place.
    pub detail: String,
}

impl Decoder {
    /// Compiles the schema.
    ///
    /// # Errors
    ///
    /// [`DecodeSetupError`] when the options cannot be honoured.
    pub fn new(options: DecodeOptions) -> Result<Self, DecodeSetupError> {
        let DecodeOptions {
            fields,
            unknown_fields,
            coercion,
            compression,
            max_bytes,
            max_depth,
            refuse_near_names,
        } = options;
        if max_bytes.as_usize() > MAX_CALL_BYTES {
            return Err(DecodeSetupError::MaxBytes { max_bytes });
        }
        at_most("fields", fields.len(), MAX_FIELDS)?;
        fields.iter().try_for_each(|field| check_members(&field.data_type))?;
        let declared =
            arrow_schema(&fields).map_err(|source| DecodeSetupError::Schema { source })?;
        let capture = unknown_fields == UnknownFields::Capture;
        Ok(Self {
            schema: if capture { with_extra(&declared) } else { declared },
            shape: Shape::compile(&fields).map_err(|source| DecodeSetupError::Path { source })?,
            columns: fields.iter().map(|field| Column::new(&field.data_type)).collect(),
            extra: capture.then(Bytes::default),
            rules: Rules { unknown_fields, coercion, max_depth, refuse_near_names },
            inflater: Inflater::new(compression)
                .map_err(|source| DecodeSetupError::Decompressor { source })?,
            fields,
            max_bytes,
            scratch: Scratch::default(),
        })
    }

    /// The columns of every batch: the declared ones in their order, all nullable, then `_tg_extra` when
    /// undeclared fields are captured.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Decodes messages. A verdict depends on the message alone (S7): not on its neighbours, nor on
    /// where a batch begins.
    ///
    /// # Caveats
    ///
    /// Look at [`Decoded::consumed`]: very large calls stop early.
    pub fn decode(&mut self, messages: &[Message]) -> Decoded {
        let mut source = Vec::with_capacity(messages.len());
        let mut bad = Vec::new();
        let (mut unknown_fields, mut spent) = (0, 0);
        let mut consumed = 0;
        for (index, message) in (0..u32::MAX).zip(messages) {
            if spent > 0 && spent + message.payload.len() > MAX_CALL_BYTES {
                break;
            }
            consumed += 1;
            let row = source.len();
            match self.record(&message.payload, row) {
                Ok(record) => {
                    source.push(index);
                    unknown_fields += record.unknown;
                    spent += record.cost;
                }
                Err(fault) => {
                    self.take_back(row);
                    spent += message.payload.len();
                    let (reason, detail) = fault.into_parts();
                    bad.push(BadRecord { index, reason, detail });
                }
            }
        }
        let batch = self.finish(source.len());
        Decoded { batch, source, bad, unknown_fields, consumed }
    }

    /// Appends one record behind `row` rows. After a fault the columns hold parts of it.
    fn record(&mut self, payload: &[u8], row: usize) -> Parsed<Record> {
        let most = self.max_bytes.as_usize();
        if payload.len() > most {
            let text = format!("{} bytes, more than {}", payload.len(), self.max_bytes);
            return Err(Fault::new(Reason::TooLarge, text));
        }
        let text = self.inflater.inflate(payload, most)?;
        check_text(text)?;
        let mut parser = Parser::new(text, self.rules, &mut self.scratch);
        parser.cursor.skip_space();
        if parser.cursor.peek() != b'{' {
            return Err(not_an_object(&mut parser));
        }
        self.shape.read(&mut parser, &mut self.columns)?;
        parser.cursor.skip_space();
        if !parser.cursor.is_at_end() {
            return Err(parser.cursor.malformed("expected the end behind the record"));
        }
        let missing = fill_missing(&mut self.columns, &self.fields, row)?;
        let cost = text.len() + CELL * (parser.filled() + missing);
        let unknown = parser.unknown;
        if let Some(extra) = &mut self.extra {
            push_extra(extra, &mut self.scratch.extra);
        }
        Ok(Record { unknown, cost })
    }

    fn take_back(&mut self, rows: usize) {
        self.columns.iter_mut().for_each(|column| column.truncate(rows));
        if let Some(extra) = &mut self.extra {
            extra.truncate(rows);
        }
    }

    fn finish(&mut self, rows: usize) -> RecordBatch {
        let extra = self.extra.as_mut().map(Bytes::finish_text);
        finish(&self.schema, &mut self.columns, extra, rows)
    }
}

/// The rows that the columns hold; the next batch begins.
pub(crate) fn finish(
    schema: &SchemaRef,
    columns: &mut [Column],
    extra: Option<ArrayRef>,
    rows: usize,
) -> RecordBatch {
    let types = schema.fields().iter().map(|field| field.data_type());
    let pairs = columns.iter_mut().zip(types);
    let mut arrays: Vec<ArrayRef> =
        pairs.map(|(column, data_type)| column.finish(data_type)).collect();
    arrays.extend(extra);
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), arrays, &options)
        .expect("every column was built from its field and has one value for each row")
}

/// What is known about a good record.
struct Record {
    unknown: u64,
    cost: usize,
}

pub(crate) fn at_most(
    what: &'static str,
    count: usize,
    most: usize,
) -> Result<(), DecodeSetupError> {
    if count > most { Err(DecodeSetupError::TooManyFields { what, count, most }) } else { Ok(()) }
}

fn check_members(field_type: &FieldType) -> Result<(), DecodeSetupError> {
    match field_type {
        FieldType::Struct(members) => {
            at_most("members of a struct", members.len(), MAX_MEMBERS)?;
            members.iter().try_for_each(|member| check_members(&member.data_type))
        }
        FieldType::List(inner) | FieldType::Map(_, inner) => check_members(inner),
        _ => Ok(()),
    }
}

fn with_extra(declared: &Schema) -> SchemaRef {
    let extra = Arc::new(ArrowField::new(EXTRA_COLUMN, DataType::Utf8, true));
    let fields: Vec<_> = declared.fields().iter().cloned().chain([extra]).collect();
    Arc::new(Schema::new(fields))
}

/// What can be said of the bytes before any is read.
fn check_text(text: &[u8]) -> Parsed<()> {
    if text.is_empty() {
        return Err(Fault::new(Reason::Malformed, "the payload is empty"));
    }
    if text.starts_with(b"\xef\xbb\xbf") {
        let text = "the payload begins with a byte order mark, which JSON does not have";
        return Err(Fault::new(Reason::Malformed, text));
    }
    std::str::from_utf8(text).map(|_| ()).map_err(|error| {
        Fault::at(Reason::InvalidEncoding, "the payload is not UTF-8", error.valid_up_to())
    })
}

/// A record must be an object. Another value is still checked, so that it is called malformed when it
/// is.
#[cold]
fn not_an_object(parser: &mut Parser<'_>) -> Fault {
    let at = parser.cursor.at();
    match parser.skip() {
        Ok(()) => Fault::at(Reason::Malformed, "the record is not an object", at),
        Err(fault) => fault,
    }
}

/// Gives a null to each column that the record has no value for; returns how many cells that took.
fn fill_missing(columns: &mut [Column], fields: &[Field], row: usize) -> Parsed<usize> {
    let mut cells = 0;
    for (column, field) in columns.iter_mut().zip(fields) {
        if column.len() > row {
            continue;
        }
        if field.required {
            let name = field.from.as_deref().and_then(|from| from.strip_prefix("$."));
            let fault = Fault::new(Reason::MissingField, "required, but missing");
            return Err(fault.within(name.unwrap_or(&field.name)));
        }
        cells += column.width();
        column.push_null();
    }
    Ok(cells)
}

fn push_extra(column: &mut Bytes, extra: &mut Vec<u8>) {
    if extra.is_empty() {
        column.push_null();
    } else {
        extra.push(b'}');
        column.push(extra);
    }
}
