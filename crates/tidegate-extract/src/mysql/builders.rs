//! Rows become columns.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder,
    Float64Builder, Int8Builder, Int16Builder, Int32Builder, Int64Builder, RecordBatch,
    StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::{Field as ArrowField, Schema, SchemaRef};
use arrow::error::ArrowError;
use mysql_async::Value;
use tidegate_decode::arrow_type;
use tidegate_types::FieldType;

use super::columns::ReadColumn;
use super::source_type::SourceType;
use super::values::{self, Unfit};

/// The columns as the table has them; all may be null, so that they can be relaxed later.
pub(super) fn schema(columns: &[ReadColumn]) -> SchemaRef {
    let fields: Vec<_> = columns
        .iter()
        .map(|column| {
            ArrowField::new(&column.field.name, arrow_type(&column.field.data_type), true)
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// Rows being gathered for a batch.
#[derive(Debug)]
pub(super) struct Gathered {
    schema: SchemaRef,
    columns: Vec<Gathering>,
    rows: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Gathering {
    source: SourceType,
    builder: Builder,
}

#[derive(Debug)]
enum Builder {
    Byte(Int8Builder),
    Short(Int16Builder),
    Integer(Int32Builder),
    Long(Int64Builder),
    Float(Float32Builder),
    Double(Float64Builder),
    Decimal(Decimal128Builder, u8),
    Boolean(BooleanBuilder),
    Text(StringBuilder),
    Binary(BinaryBuilder),
    Date(Date32Builder),
    Time(TimestampMicrosecondBuilder),
}

impl Gathered {
    /// Nothing yet.
    pub(super) fn new(schema: SchemaRef, columns: &[ReadColumn]) -> Self {
        let columns = columns
            .iter()
            .map(|column| Gathering {
                source: column.source.clone(),
                builder: Builder::new(&column.field.data_type),
            })
            .collect();
        Self { schema, columns, rows: 0, bytes: 0 }
    }

    /// Rows gathered since the last batch.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// About how many bytes they are.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a row, which is so large by [`row_size`]. After an error, which names the column's number, the
    /// batch is of no use.
    pub(super) fn push(
        &mut self,
        row: Vec<Option<Value>>,
        size: usize,
    ) -> Result<(), (usize, Unfit)> {
        let values = row.into_iter().map(|value| value.unwrap_or(Value::NULL));
        for (number, (column, value)) in self.columns.iter_mut().zip(values).enumerate() {
            column.push(value).map_err(|unfit| (number, unfit))?;
        }
        self.bytes += size;
        self.rows += 1;
        Ok(())
    }

    /// The rows so far; the next ones make a new batch.
    pub(super) fn batch(&mut self) -> Result<RecordBatch, ArrowError> {
        let arrays = self.columns.iter_mut().map(|column| column.builder.finish()).collect();
        (self.rows, self.bytes) = (0, 0);
        RecordBatch::try_new(self.schema.clone(), arrays)
    }
}

/// About how many bytes a row has in memory.
pub(super) fn row_size(row: &[Option<Value>]) -> usize {
    row.iter().flatten().map(size).sum()
}

fn size(value: &Value) -> usize {
    match value {
        Value::Bytes(bytes) => bytes.len() + 4,
        _ => 8,
    }
}

impl Gathering {
    fn push(&mut self, value: Value) -> Result<(), Unfit> {
        let source = &self.source;
        if value == Value::NULL {
            self.builder.push_null();
            return Ok(());
        }
        match &mut self.builder {
            Builder::Byte(builder) => builder.append_value(whole(&value, source)?),
            Builder::Short(builder) => builder.append_value(whole(&value, source)?),
            Builder::Integer(builder) => builder.append_value(whole(&value, source)?),
            Builder::Long(builder) => builder.append_value(whole(&value, source)?),
            Builder::Boolean(builder) => builder.append_value(truth(&value, source)?),
            Builder::Decimal(builder, scale) => {
                builder.append_value(exact(&value, source, *scale)?);
            }
            Builder::Float(builder) => match value {
                Value::Float(number) => builder.append_value(number),
                _ => return Err(Unfit::Unexpected("a float")),
            },
            Builder::Double(builder) => builder.append_value(double(&value, source)?),
            Builder::Text(builder) => push_text(builder, value, source)?,
            Builder::Binary(builder) => match value {
                Value::Bytes(bytes) => builder.append_value(bytes),
                _ => return Err(Unfit::Unexpected("bytes")),
            },
            Builder::Date(builder) => builder.append_value(values::days(&value)?),
            Builder::Time(builder) => builder.append_value(values::micros(&value)?),
        }
        Ok(())
    }
}

fn whole<T: TryFrom<i128>>(value: &Value, source: &SourceType) -> Result<T, Unfit> {
    let number = values::integer(value, source)?;
    T::try_from(number).map_err(|_| Unfit::OutOfRange(number.to_string()))
}

fn truth(value: &Value, source: &SourceType) -> Result<bool, Unfit> {
    match values::integer(value, source)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(Unfit::OutOfRange(other.to_string())),
    }
}

fn exact(value: &Value, source: &SourceType, scale: u8) -> Result<i128, Unfit> {
    match (value, source) {
        (Value::Bytes(text), SourceType::Decimal { .. }) => values::decimal(text, scale),
        _ => {
            let number = values::integer(value, source)?;
            let shifted =
                10_i128.checked_pow(u32::from(scale)).and_then(|by| number.checked_mul(by));
            shifted.ok_or_else(|| Unfit::OutOfRange(number.to_string()))
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "only numbers of up to 15 digits come here")]
fn double(value: &Value, source: &SourceType) -> Result<f64, Unfit> {
    match value {
        Value::Float(number) => Ok(f64::from(*number)),
        Value::Double(number) => Ok(*number),
        _ => values::integer(value, source).map(|number| number as f64),
    }
}

/// Text that comes as such is checked where it lies.
fn push_text(builder: &mut StringBuilder, value: Value, source: &SourceType) -> Result<(), Unfit> {
    match &value {
        Value::Bytes(bytes) if !matches!(source, SourceType::Bits(_)) => {
            builder.append_value(std::str::from_utf8(bytes).map_err(|_| Unfit::NotUtf8)?);
        }
        _ => builder.append_value(values::text(value, source)?),
    }
    Ok(())
}

impl Builder {
    fn new(field_type: &FieldType) -> Self {
        let typed = || arrow_type(field_type);
        match field_type {
            FieldType::Byte => Self::Byte(Int8Builder::new()),
            FieldType::Short => Self::Short(Int16Builder::new()),
            FieldType::Integer => Self::Integer(Int32Builder::new()),
            FieldType::Long => Self::Long(Int64Builder::new()),
            FieldType::Float => Self::Float(Float32Builder::new()),
            FieldType::Double => Self::Double(Float64Builder::new()),
            FieldType::Decimal { scale, .. } => {
                Self::Decimal(Decimal128Builder::new().with_data_type(typed()), *scale)
            }
            FieldType::Boolean => Self::Boolean(BooleanBuilder::new()),
            FieldType::Binary => Self::Binary(BinaryBuilder::new()),
            FieldType::Date => Self::Date(Date32Builder::new()),
            FieldType::Timestamp | FieldType::TimestampNtz => {
                Self::Time(TimestampMicrosecondBuilder::new().with_data_type(typed()))
            }
            _ => Self::Text(StringBuilder::new()),
        }
    }

    fn push_null(&mut self) {
        match self {
            Self::Byte(builder) => builder.append_null(),
            Self::Short(builder) => builder.append_null(),
            Self::Integer(builder) => builder.append_null(),
            Self::Long(builder) => builder.append_null(),
            Self::Float(builder) => builder.append_null(),
            Self::Double(builder) => builder.append_null(),
            Self::Decimal(builder, _) => builder.append_null(),
            Self::Boolean(builder) => builder.append_null(),
            Self::Text(builder) => builder.append_null(),
            Self::Binary(builder) => builder.append_null(),
            Self::Date(builder) => builder.append_null(),
            Self::Time(builder) => builder.append_null(),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Byte(builder) => Arc::new(builder.finish()),
            Self::Short(builder) => Arc::new(builder.finish()),
            Self::Integer(builder) => Arc::new(builder.finish()),
            Self::Long(builder) => Arc::new(builder.finish()),
            Self::Float(builder) => Arc::new(builder.finish()),
            Self::Double(builder) => Arc::new(builder.finish()),
            Self::Decimal(builder, _) => Arc::new(builder.finish()),
            Self::Boolean(builder) => Arc::new(builder.finish()),
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Binary(builder) => Arc::new(builder.finish()),
            Self::Date(builder) => Arc::new(builder.finish()),
            Self::Time(builder) => Arc::new(builder.finish()),
        }
    }
}
