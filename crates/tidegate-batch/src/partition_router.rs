//! Splits a batch by the table's partition columns.

use arrow::array::{RecordBatch, UInt64Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use thiserror::Error;
use tidegate_types::{PartitionColumn, PartitionTransform, did_you_mean};

use crate::partition_value::{Coded, PartitionValues, Value, code, number_distinct, supports};

/// A batch cannot be split, or never could.
#[derive(Debug, Error)]
pub enum RouterError {
    /// The schema has no such column.
    #[error("partition field {field:?} is not in the schema{}", hint(.near.as_deref()))]
    UnknownField {
        /// The field.
        field: String,
        /// A column that may have been meant.
        near: Option<String>,
    },
    /// Values of this type have no such partition values.
    #[error("partition field {field:?} of type {data_type} cannot be transformed by {transform:?}")]
    UnsupportedType {
        /// The field.
        field: String,
        /// What was asked for.
        transform: PartitionTransform,
        /// The type of the column.
        data_type: DataType,
    },
    /// A bucket count of zero.
    #[error("partition field {field:?} needs at least one bucket")]
    NoBuckets {
        /// The field.
        field: String,
    },
    /// The derived column's name is that of a declared column or of another partition column.
    #[error("partition column {column:?} stands twice")]
    ColumnTaken {
        /// The name.
        column: String,
    },
    /// A row's value cannot be a partition value; such rows are to be set aside before.
    #[error("row {row} has a value of {field:?} that cannot be a partition value")]
    Unroutable {
        /// The row within the batch.
        row: usize,
        /// The field.
        field: String,
    },
    /// The rows could not be gathered.
    #[error("unable to gather the rows of a partition")]
    Gather(#[from] ArrowError),
}

fn hint(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"))
}

/// The rows of one table partition, in the order of the batch.
#[derive(Debug, Clone)]
pub struct Routed {
    /// The partition.
    pub values: PartitionValues,
    /// The rows, without the columns whose values stand in the partition values.
    pub rows: RecordBatch,
}

/// Knows the table's partition columns.
#[derive(Debug, Clone)]
pub struct PartitionRouter {
    columns: Vec<PartitionColumn>,
    fields: Vec<Field>,
}

impl PartitionRouter {
    /// A router for batches with the columns of `schema`. Without partition columns all rows are in
    /// one partition.
    ///
    /// # Errors
    ///
    /// [`RouterError`] when `columns` and `schema` do not go together.
    pub fn new(columns: &[PartitionColumn], schema: &Schema) -> Result<Self, RouterError> {
        let mut fields: Vec<Field> = Vec::with_capacity(columns.len());
        for column in columns {
            let field = partition_field(column, schema)?;
            let derived = column.transform != PartitionTransform::Identity;
            let declared = derived && schema.column_with_name(field.name()).is_some();
            if declared || fields.iter().any(|other| other.name() == field.name()) {
                return Err(RouterError::ColumnTaken { column: field.name().clone() });
            }
            fields.push(field);
        }
        Ok(Self { columns: columns.to_vec(), fields })
    }

    /// The table's partition columns, in order: the column itself for Identity; otherwise a date for
    /// Day, text for Hour and Month, an integer for Bucket, all nullable.
    #[must_use]
    pub fn partition_fields(&self) -> &[Field] {
        &self.fields
    }

    /// Rows whose values cannot be partition values: a year outside of 1 to 9999, or text too long for
    /// a folder's name. Each row with the field that is to blame, in ascending order. They are dead
    /// letters, and must be taken out before deduplication.
    ///
    /// # Errors
    ///
    /// [`RouterError`] when the batch does not have the router's columns.
    pub fn unroutable(&self, batch: &RecordBatch) -> Result<Vec<(usize, &str)>, RouterError> {
        let mut found = Vec::new();
        for (column, coded) in self.columns.iter().zip(self.code(batch)?) {
            if coded.values.contains(&Value::Refused) {
                let rows = coded.codes.iter().enumerate();
                let refused = rows.filter(|(_, code)| coded.values[**code] == Value::Refused);
                found.extend(refused.map(|(row, _)| (row, column.field.as_str())));
            }
        }
        found.sort_by_key(|(row, _)| *row);
        found.dedup_by_key(|(row, _)| *row);
        Ok(found)
    }

    /// Splits `batch` into its partitions, in order of their first rows. A batch that lies in one
    /// partition, and a partition whose rows follow each other, are not copied.
    ///
    /// # Errors
    ///
    /// [`RouterError`] when the batch does not have the router's columns, or has an
    /// [unroutable](Self::unroutable) row.
    pub fn route(&self, batch: &RecordBatch) -> Result<Vec<Routed>, RouterError> {
        if batch.num_rows() == 0 {
            return Ok(Vec::new());
        }
        let coded = self.code(batch)?;
        let data = self.without_partition_columns(batch)?;
        if coded.iter().all(|column| column.values.len() == 1) {
            return Ok(vec![Routed { values: self.values_of(&coded, 0)?, rows: data }]);
        }
        rows_by_partition(&coded, batch.num_rows())
            .into_iter()
            .map(|rows| {
                let values = self.values_of(&coded, rows[0])?;
                Ok(Routed { values, rows: gather(&data, &rows)? })
            })
            .collect()
    }

    fn leaves_the_file(&self, name: &str) -> bool {
        let identity = |column: &&PartitionColumn| column.transform == PartitionTransform::Identity;
        self.columns.iter().filter(identity).any(|column| column.field == name)
    }

    fn without_partition_columns(&self, batch: &RecordBatch) -> Result<RecordBatch, RouterError> {
        let fields = batch.schema_ref().fields().iter().enumerate();
        let kept = fields.filter(|(_, field)| !self.leaves_the_file(field.name()));
        let kept: Vec<usize> = kept.map(|(at, _)| at).collect();
        Ok(batch.project(&kept)?)
    }

    fn code(&self, batch: &RecordBatch) -> Result<Vec<Coded>, RouterError> {
        let code_column = |column: &PartitionColumn| {
            let array = batch
                .column_by_name(&column.field)
                .ok_or_else(|| unknown_field(&column.field, batch.schema_ref()))?;
            code(column.transform, array.as_ref())
                .ok_or_else(|| unsupported_type(column, array.data_type()))
        };
        self.columns.iter().map(code_column).collect()
    }

    fn values_of(&self, coded: &[Coded], row: usize) -> Result<PartitionValues, RouterError> {
        let columns = self.columns.iter().zip(&self.fields).zip(coded);
        let value = |((column, field), coded): ((&PartitionColumn, &Field), &Coded)| match &coded
            .values[coded.codes[row]]
        {
            Value::Known(value) => Ok((field.name().clone(), value.clone())),
            Value::Refused => Err(RouterError::Unroutable { row, field: column.field.clone() }),
        };
        columns.map(value).collect::<Result<_, _>>().map(PartitionValues)
    }
}

/// The rows of each partition, ascending; partitions in order of their first rows.
fn rows_by_partition(coded: &[Coded], rows: usize) -> Vec<Vec<usize>> {
    let mut partition_of = vec![0; rows];
    let mut partitions = 1;
    for column in coded {
        let pairs =
            partition_of.iter().zip(&column.codes).map(|(partition, code)| (*partition, *code));
        let (numbers, distinct) = number_distinct(pairs);
        partition_of = numbers;
        partitions = distinct.len();
    }
    let mut rows_of = vec![Vec::new(); partitions];
    for (row, partition) in partition_of.into_iter().enumerate() {
        rows_of[partition].push(row);
    }
    rows_of
}

fn gather(data: &RecordBatch, rows: &[usize]) -> Result<RecordBatch, ArrowError> {
    let (first, last) = (rows[0], rows[rows.len() - 1]);
    if last - first + 1 == rows.len() {
        return Ok(data.slice(first, rows.len()));
    }
    let indices: UInt64Array = rows.iter().map(|row| *row as u64).collect();
    take_record_batch(data, &indices)
}

fn partition_field(column: &PartitionColumn, schema: &Schema) -> Result<Field, RouterError> {
    let (_, source) = schema
        .column_with_name(&column.field)
        .ok_or_else(|| unknown_field(&column.field, schema))?;
    if !supports(column.transform, source.data_type()) {
        return Err(unsupported_type(column, source.data_type()));
    }
    let data_type = match column.transform {
        PartitionTransform::Identity => return Ok(source.clone()),
        PartitionTransform::Day => DataType::Date32,
        PartitionTransform::Hour | PartitionTransform::Month => DataType::Utf8,
        PartitionTransform::Bucket(0) => {
            return Err(RouterError::NoBuckets { field: column.field.clone() });
        }
        PartitionTransform::Bucket(_) => DataType::Int32,
    };
    Ok(Field::new(column.column_name(), data_type, true))
}

fn unknown_field(field: &str, schema: &Schema) -> RouterError {
    let names = schema.fields().iter().map(|field| field.name().as_str());
    let near = did_you_mean(field, names).map(str::to_owned);
    RouterError::UnknownField { field: field.to_owned(), near }
}

fn unsupported_type(column: &PartitionColumn, data_type: &DataType) -> RouterError {
    RouterError::UnsupportedType {
        field: column.field.clone(),
        transform: column.transform,
        data_type: data_type.clone(),
    }
}
