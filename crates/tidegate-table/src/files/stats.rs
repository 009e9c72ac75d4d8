//! A data file's statistics, taken from what its Parquet footer says, so that the rows are not read
//! twice. Only the null counts of lists and maps, which the footer does not have, are counted on the
//! way ([`NestedNulls`]).
//!
//! Floats with a NaN anywhere have no bounds: the footer leaves NaN out, and readers disagree about
//! where it sorts.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::compute::sum;
use arrow::datatypes::{DataType, Field, Fields, Schema};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use serde_json::{Map, Value, json};

use super::bounds::Bound;

/// Counts the null lists and maps of every batch, in the order in which the schema is walked.
#[derive(Debug, Default)]
pub(super) struct NestedNulls(Vec<u64>);

impl NestedNulls {
    /// Adds a batch of the file's schema.
    pub(super) fn add(&mut self, batch: &RecordBatch) {
        let mut at = 0;
        for column in batch.columns() {
            self.add_column(column, None, &mut at);
        }
    }

    /// A member is null where any struct around it is.
    fn add_column(&mut self, column: &ArrayRef, outer: Option<&NullBuffer>, at: &mut usize) {
        match column.data_type() {
            DataType::Struct(_) => {
                let nulls = NullBuffer::union(outer, column.nulls());
                for member in column.as_struct().columns() {
                    self.add_column(member, nulls.as_ref(), at);
                }
            }
            DataType::List(_) | DataType::Map(..) => {
                let nulls = NullBuffer::union(outer, column.nulls());
                if *at == self.0.len() {
                    self.0.push(0);
                }
                self.0[*at] += nulls.map_or(0, |nulls| nulls.null_count() as u64);
                *at += 1;
            }
            _ => {}
        }
    }
}

/// Delta's statistics of a finished file.
///
/// # Errors
///
/// When the footer does not have the schema's columns.
pub(super) fn file_stats(
    schema: &Schema,
    metadata: &ParquetMetaData,
    nested: &NestedNulls,
) -> Result<Value, ParquetError> {
    let mut walk = Walk { metadata, leaf: 0, nested: nested.0.iter().copied() };
    let columns = walk.members(schema.fields())?;
    let mut stats = Map::from_iter([
        ("numRecords".to_owned(), json!(metadata.file_metadata().num_rows())),
        ("tightBounds".to_owned(), json!(true)),
    ]);
    for (name, value) in
        [("minValues", columns.lower), ("maxValues", columns.upper), ("nullCount", columns.nulls)]
    {
        stats.insert(name.to_owned(), value.unwrap_or_else(|| json!({})));
    }
    Ok(Value::Object(stats))
}

/// What is known of one column; of a struct, objects with its members.
#[derive(Default)]
struct ColumnStats {
    lower: Option<Value>,
    upper: Option<Value>,
    nulls: Option<Value>,
}

/// Goes through the schema beside the footer's leaves, which have the same order.
struct Walk<'a, N> {
    metadata: &'a ParquetMetaData,
    leaf: usize,
    nested: N,
}

impl<N: Iterator<Item = u64>> Walk<'_, N> {
    fn members(&mut self, fields: &Fields) -> Result<ColumnStats, ParquetError> {
        let (mut lower, mut upper, mut nulls) = (Map::new(), Map::new(), Map::new());
        for field in fields {
            let stats = self.column(field)?;
            for (into, value) in
                [(&mut lower, stats.lower), (&mut upper, stats.upper), (&mut nulls, stats.nulls)]
            {
                into.extend(value.map(|value| (field.name().clone(), value)));
            }
        }
        let object = |map: Map<String, Value>| (!map.is_empty()).then_some(Value::Object(map));
        Ok(ColumnStats { lower: object(lower), upper: object(upper), nulls: object(nulls) })
    }

    fn column(&mut self, field: &Field) -> Result<ColumnStats, ParquetError> {
        match field.data_type() {
            DataType::Struct(members) => self.members(members),
            DataType::List(_) | DataType::Map(..) => {
                self.leaf += leaves(field.data_type());
                let nulls = self.nested.next().map(|nulls| json!(nulls));
                Ok(ColumnStats { nulls, ..ColumnStats::default() })
            }
            _ => self.leaf(field),
        }
    }

    fn leaf(&mut self, field: &Field) -> Result<ColumnStats, ParquetError> {
        let groups = self.metadata.row_groups();
        let schema = self.metadata.file_metadata().schema_descr();
        let converter = StatisticsConverter::from_column_index(self.leaf, field, schema)?
            .with_missing_null_counts_as_zero(false);
        self.leaf += 1;

        let null_counts = converter.row_group_null_counts(groups)?;
        if null_counts.null_count() > 0 {
            return Ok(ColumnStats::default());
        }
        let nulls = Some(json!(sum(&null_counts).unwrap_or(0)));
        let nans = converter.row_group_nan_counts(groups)?;
        if field.data_type().is_floating() && nans.iter().any(|count| count != Some(0)) {
            return Ok(ColumnStats { nulls, ..ColumnStats::default() });
        }
        let (lower, upper) =
            (converter.row_group_mins(groups)?, converter.row_group_maxes(groups)?);
        let all_null = |group: usize| {
            u64::try_from(groups[group].num_rows()).is_ok_and(|n| n == null_counts.value(group))
        };
        // A row group may be without bounds only when it is without values.
        let known = |bounds: &ArrayRef| {
            (0..bounds.len()).all(|group| bounds.is_valid(group) || all_null(group))
        };
        Ok(ColumnStats {
            lower: known(&lower).then(|| Bound::Lower.over(&lower)).flatten(),
            upper: known(&upper).then(|| Bound::Upper.over(&upper)).flatten(),
            nulls,
        })
    }
}

/// How many leaves of the footer a column has.
fn leaves(data_type: &DataType) -> usize {
    match data_type {
        DataType::Struct(members) => members.iter().map(|f| leaves(f.data_type())).sum(),
        DataType::List(inner) | DataType::Map(inner, _) => leaves(inner.data_type()),
        _ => 1,
    }
}
