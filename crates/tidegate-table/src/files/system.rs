//! The system columns of a table and its schemas (R1).
//!
//! They are found by name, never by place: columns added later come after them. All are nullable, so
//! that rows written by others do not break the table; in rows of ours the first four never are.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use jiff::Timestamp;
use tidegate_types::{PartitionId, StreamTime};

use super::FileError;

/// Ledger and incarnation, `<ledger>/<incarnation>`.
pub const SOURCE: &str = "_tg_src";
/// The stream partition.
pub const PARTITION: &str = "_tg_part";
/// The stream sequence.
pub const SEQUENCE: &str = "_tg_seq";
/// The ordinal inside a packed message, else 0.
pub const ORDINAL: &str = "_tg_idx";
/// The keyed fingerprint of the deduplication header, 16 bytes.
pub const ID: &str = "_tg_id";
/// The broker's time of the message.
pub const TIME: &str = "_tg_time";
/// The start of the data interval whose run wrote the row; null in streamed rows and in rows of loads of
/// everything.
pub const INTERVAL: &str = "_tg_interval";
/// The columns that identify a row.
pub const IDENTITY: [&str; 4] = [SOURCE, PARTITION, SEQUENCE, ORDINAL];

/// Which system columns a table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SystemColumns {
    /// Rows are deduplicated: they carry `_tg_time`.
    pub dedup: bool,
    /// The key is a header: rows carry `_tg_id`. A field key stays where it is.
    pub id_in_header: bool,
}

/// The system columns of rows that bulk runs write: the identity, and [`INTERVAL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BulkColumns;

/// Coordinates of the rows of one batch of a chunk. Rows of a chunk are numbered without gaps.
#[derive(Debug, Clone, Copy)]
pub struct BulkCoordinates<'a> {
    /// Ledger and generation, as [`run_source_name`] prints them.
    pub source: &'a str,
    /// The chunk's number.
    pub chunk: u32,
    /// The first row's number in the chunk, from 0.
    pub first: u64,
    /// The start of the interval; none of a load of everything.
    pub interval: Option<Timestamp>,
}

/// Coordinates of the rows of one batch, all of one stream partition. Slices have one element a row.
#[derive(Debug, Clone, Copy)]
pub struct RowCoordinates<'a> {
    /// Ledger and incarnation, as [`source_name`] prints them.
    pub source: &'a str,
    /// The stream partition.
    pub partition: PartitionId,
    /// Stream sequences.
    pub sequences: &'a [u64],
    /// Ordinals inside packed messages; none: all 0.
    pub ordinals: Option<&'a [u32]>,
    /// Fingerprints; used when the key is a header.
    pub ids: &'a [Option<[u8; 16]>],
    /// Times; used with dedup.
    pub times: &'a [StreamTime],
}

/// The value of `_tg_src`.
#[must_use]
pub fn source_name(
    ledger: &tidegate_types::Ledger,
    incarnation: tidegate_types::Incarnation,
) -> String {
    format!("{ledger}/{incarnation}")
}

/// The value of `_tg_src` in rows of a bulk run. Incarnations are hexadecimal, so none begins with a g.
#[must_use]
pub fn run_source_name(ledger: &tidegate_types::Ledger, generation: u64) -> String {
    format!("{}{generation}", run_source_prefix(ledger))
}

/// Whether `_tg_src` says that a bulk run wrote the row. Such rows are numbered anew in every interval, so
/// their identity has [`INTERVAL`] in it.
#[must_use]
pub fn is_run_source(source: &str) -> bool {
    source.split_once('/').is_some_and(|(_, life)| life.starts_with('g'))
}

/// What `_tg_src` begins with in all rows of a ledger's bulk runs, and in no others.
#[must_use]
pub fn run_source_prefix(ledger: &tidegate_types::Ledger) -> String {
    format!("{ledger}/g")
}

impl BulkColumns {
    /// The columns, in the order in which a new table has them.
    #[must_use]
    pub fn fields(self) -> Vec<Field> {
        let mut fields = SystemColumns::default().fields();
        fields.push(Field::new(INTERVAL, utc_microseconds(), true));
        fields
    }

    /// The arrays of `count` rows, in the order of [`BulkColumns::fields`].
    #[must_use]
    pub fn arrays(self, rows: &BulkCoordinates<'_>, count: usize) -> Vec<ArrayRef> {
        let numbers = (rows.first..).take(count).map(long);
        let interval = rows.interval.map(Timestamp::as_microsecond);
        let intervals = TimestampMicrosecondArray::from_iter(std::iter::repeat_n(interval, count));
        vec![
            Arc::new(StringArray::new_repeated(rows.source, count)),
            Arc::new(Int32Array::from_value(int(rows.chunk), count)),
            Arc::new(Int64Array::from_iter_values(numbers)),
            Arc::new(Int32Array::from_value(0, count)),
            Arc::new(intervals.with_timezone("UTC")),
        ]
    }

    /// The batch with its system columns behind its own.
    ///
    /// # Errors
    ///
    /// [`FileError::Columns`] when Arrow refuses the columns.
    pub fn append(
        self,
        batch: &RecordBatch,
        rows: &BulkCoordinates<'_>,
    ) -> Result<RecordBatch, FileError> {
        append(batch, self.fields(), self.arrays(rows, batch.num_rows()))
    }

    /// The schema of a new table: as [`table_schema`] for streams.
    #[must_use]
    pub fn table_schema(self, declared: &Schema, partition: &[Field]) -> Schema {
        schema_of(declared, partition, self.fields())
    }
}

fn append(
    batch: &RecordBatch,
    system: Vec<Field>,
    arrays: Vec<ArrayRef>,
) -> Result<RecordBatch, FileError> {
    let mut fields = batch.schema().fields().to_vec();
    fields.extend(system.into_iter().map(Arc::new));
    let mut columns = batch.columns().to_vec();
    columns.extend(arrays);
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|source| FileError::Columns { source })
}

fn utc_microseconds() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

impl SystemColumns {
    /// The columns, in the order in which a new table has them.
    #[must_use]
    pub fn fields(self) -> Vec<Field> {
        let mut fields = vec![
            Field::new(SOURCE, DataType::Utf8, true),
            Field::new(PARTITION, DataType::Int32, true),
            Field::new(SEQUENCE, DataType::Int64, true),
            Field::new(ORDINAL, DataType::Int32, true),
        ];
        if self.dedup && self.id_in_header {
            fields.push(Field::new(ID, DataType::Binary, true));
        }
        if self.dedup {
            fields.push(Field::new(TIME, utc_microseconds(), true));
        }
        fields
    }

    /// The arrays of a batch, in the order of [`SystemColumns::fields`].
    #[must_use]
    pub fn arrays(self, rows: &RowCoordinates<'_>) -> Vec<ArrayRef> {
        let count = rows.sequences.len();
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new(StringArray::new_repeated(rows.source, count)),
            Arc::new(Int32Array::from_value(int(rows.partition.0), count)),
            Arc::new(Int64Array::from_iter_values(rows.sequences.iter().map(|&s| long(s)))),
            Arc::new(match rows.ordinals {
                Some(ordinals) => Int32Array::from_iter_values(ordinals.iter().map(|&o| int(o))),
                None => Int32Array::from_value(0, count),
            }),
        ];
        if self.dedup && self.id_in_header {
            arrays.push(Arc::new(BinaryArray::from_iter(rows.ids.iter().map(Option::as_ref))));
        }
        if self.dedup {
            let times = rows.times.iter().map(|time| time.0);
            let times = TimestampMicrosecondArray::from_iter_values(times);
            arrays.push(Arc::new(times.with_timezone("UTC")));
        }
        arrays
    }

    /// The batch with its system columns behind its own.
    ///
    /// # Errors
    ///
    /// [`FileError::Columns`] when the coordinates are not those of as many rows.
    pub fn append(
        self,
        batch: &RecordBatch,
        rows: &RowCoordinates<'_>,
    ) -> Result<RecordBatch, FileError> {
        append(batch, self.fields(), self.arrays(rows))
    }
}

/// The schema of a new table: the declared columns, the partition columns that are not among them,
/// and the system columns. Everything is nullable, so that it can be relaxed and read by old readers.
#[must_use]
pub fn table_schema(declared: &Schema, partition: &[Field], system: SystemColumns) -> Schema {
    schema_of(declared, partition, system.fields())
}

fn schema_of(declared: &Schema, partition: &[Field], system: Vec<Field>) -> Schema {
    let mut fields: Vec<Field> =
        declared.fields().iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
    for column in partition {
        if declared.field_with_name(column.name()).is_err() {
            fields.push(column.clone().with_nullable(true));
        }
    }
    fields.extend(system);
    Schema::new(fields)
}

/// The schema of a table's data files: without partition columns, whose values stand in the log.
#[must_use]
pub fn file_schema(table: &Schema, partition_columns: &[String]) -> Schema {
    let inside = |field: &&Arc<Field>| !partition_columns.contains(field.name());
    Schema::new(table.fields().iter().filter(inside).cloned().collect::<Vec<_>>())
}

/// Partitions are at most 256 and a message holds less than 2^31 records.
fn int(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// `JetStream` sequences stay below 2^63 for some hundred million years.
fn long(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};

    use super::*;

    const HEADER_DEDUP: SystemColumns = SystemColumns { dedup: true, id_in_header: true };

    fn rows() -> RowCoordinates<'static> {
        RowCoordinates {
            source: "a/00000000000000ff",
            partition: PartitionId(3),
            sequences: &[10, 11],
            ordinals: None,
            ids: &[Some([7; 16]), None],
            times: &[StreamTime(5), StreamTime(6)],
        }
    }

    fn names(schema: &Schema) -> Vec<&str> {
        schema.fields().iter().map(|f| f.name().as_str()).collect()
    }

    #[test]
    fn r1_every_row_carries_its_identity() {
        let batch =
            RecordBatch::try_from_iter([("v", Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef)])
                .expect("one column");
        let batch = HEADER_DEDUP.append(&batch, &rows()).expect("fits");
        let column = |name| batch.column_by_name(name).expect("there");
        assert_eq!(column(SOURCE).as_string::<i32>().value(1), "a/00000000000000ff");
        assert_eq!(column(PARTITION).as_primitive::<Int32Type>().values(), &[3, 3]);
        assert_eq!(column(SEQUENCE).as_primitive::<Int64Type>().values(), &[10, 11]);
        assert_eq!(column(ORDINAL).as_primitive::<Int32Type>().values(), &[0, 0]);
        assert_eq!(column(ID).as_binary::<i32>().value(0), [7; 16]);
        assert!(column(ID).is_null(1), "a row without key has a null id");
        assert_eq!(column(TIME).as_primitive::<TimestampMicrosecondType>().values(), &[5, 6]);
    }

    #[test]
    fn coordinates_of_another_number_of_rows_are_refused() {
        let batch =
            RecordBatch::try_from_iter([("v", Arc::new(Int32Array::from(vec![1])) as ArrayRef)])
                .expect("one column");
        assert!(HEADER_DEDUP.append(&batch, &rows()).is_err());
    }

    #[test]
    fn r1_every_row_of_a_run_carries_its_identity_and_its_interval() {
        let batch =
            RecordBatch::try_from_iter([("v", Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef)])
                .expect("one column");
        let ledger = tidegate_types::Ledger::new("a").expect("valid");
        let source = run_source_name(&ledger, 12);
        let interval = Timestamp::from_second(3600).ok();
        let rows = BulkCoordinates { source: &source, chunk: 3, first: 8192, interval };
        let wide = BulkColumns.append(&batch, &rows).expect("fits");
        let column = |name| wide.column_by_name(name).expect("there");
        assert_eq!(column(SOURCE).as_string::<i32>().value(1), "a/g12");
        assert!(is_run_source("a/g12") && !is_run_source("a/00000000000000ff"));
        assert_eq!(column(PARTITION).as_primitive::<Int32Type>().values(), &[3, 3]);
        assert_eq!(column(SEQUENCE).as_primitive::<Int64Type>().values(), &[8192, 8193]);
        let intervals = column(INTERVAL).as_primitive::<TimestampMicrosecondType>();
        assert_eq!(intervals.values(), &[3_600_000_000, 3_600_000_000]);
        let all = BulkCoordinates { interval: None, ..rows };
        let all = BulkColumns.append(&batch, &all).expect("fits");
        assert_eq!(all.column_by_name(INTERVAL).expect("there").null_count(), 2);
    }

    #[test]
    fn r1_id_and_time_come_only_with_dedup() {
        let plain = Schema::new(SystemColumns::default().fields());
        assert_eq!(names(&plain), IDENTITY);
        let by_field = SystemColumns { dedup: true, id_in_header: false };
        assert!(Schema::new(by_field.fields()).field_with_name(ID).is_err());
    }

    #[test]
    fn partition_columns_stand_in_the_table_and_not_in_its_files() {
        let declared = Schema::new(vec![
            Field::new("site", DataType::Utf8, false),
            Field::new("v", DataType::Int64, true),
        ]);
        let partition = [
            Field::new("site", DataType::Utf8, true),
            Field::new("ts_day", DataType::Date32, true),
        ];
        let table = table_schema(&declared, &partition, SystemColumns::default());
        assert_eq!(names(&table), ["site", "v", "ts_day", SOURCE, PARTITION, SEQUENCE, ORDINAL]);
        assert!(table.fields().iter().all(|f| f.is_nullable()));
        let file = file_schema(&table, &["site".to_owned(), "ts_day".to_owned()]);
        assert_eq!(names(&file), ["v", SOURCE, PARTITION, SEQUENCE, ORDINAL]);
    }
}
