//! Parquet.
//!
//! Columns go by name; types must fit without loss. A row without a value in a required column is set aside,
//! as JSON. Codecs within: snappy, gzip, zstd, lz4 or none.
//!
//! Row groups of any size are read page by page; what is in memory is a page of each column and a few stretches
//! of the file. Pages are a mebibyte with most writers; [`pages`] has the limits.

mod fit;
mod members;
mod old_timestamps;
mod pages;
mod ranges;
mod shares;
mod thrift;
mod unpack;
mod width;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, new_null_array};
use arrow::compute::{filter_record_batch, is_null, nullif};
use arrow::datatypes::{Field as ArrowField, Schema, SchemaRef};
use arrow::json::LineDelimitedWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::ParquetMetaDataReader;
use tidegate_decode::arrow_type;
use tidegate_types::{Field, Reason};

use super::fetch::Fetch;
use super::listing::PinnedFile;
use super::missing::MissingColumns;
use super::outbox::{BadRecord, Outbox};
use super::trouble::{Cause, Trouble};
use old_timestamps::with_old_timestamps;
use pages::Pages;
pub(crate) use pages::Turns;
use ranges::Ranges;
use shares::{Shares, as_unpacked};

/// A file whose footer was read.
pub(crate) struct ParquetFile {
    path: String,
    ranges: Ranges,
    cause: Cause,
    metadata: ArrowReaderMetadata,
    shares: Shares,
}

/// A row group's share of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowGroup {
    /// Bytes in the file.
    pub(crate) bytes: u64,
    /// Rows.
    pub(crate) rows: u64,
}

impl ParquetFile {
    /// Reads the footer.
    pub(crate) fn open(fetch: &Fetch, file: &PinnedFile) -> Result<Self, Trouble> {
        let cause = Cause::default();
        let ranges = Ranges::new(fetch.clone(), file.clone(), cause.clone());
        // What writers say of Arrow would only give text and lists other shapes.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let unreadable = |error: parquet::errors::ParquetError| {
            cause.explain(format!("its footer cannot be read: {error}"))
        };
        let footer = ParquetMetaDataReader::new().parse_and_finish(&ranges).map_err(unreadable)?;
        let shares = Shares::of(&footer);
        let footer = Arc::new(as_unpacked(footer).map_err(unreadable)?);
        let mut metadata =
            ArrowReaderMetadata::try_new(footer, options.clone()).map_err(unreadable)?;
        if let Some(schema) = with_old_timestamps(&metadata) {
            let footer = Arc::clone(metadata.metadata());
            metadata = ArrowReaderMetadata::try_new(footer, options.with_schema(schema))
                .map_err(unreadable)?;
        }
        Ok(Self { path: file.path.clone(), ranges, cause, metadata, shares })
    }

    /// The row groups, in their order.
    pub(crate) fn row_groups(&self) -> Vec<RowGroup> {
        let share = |group: &parquet::file::metadata::RowGroupMetaData| RowGroup {
            bytes: u64::try_from(group.compressed_size()).unwrap_or(0),
            rows: u64::try_from(group.num_rows()).unwrap_or(0),
        };
        self.metadata.metadata().row_groups().iter().map(share).collect()
    }

    /// The columns, where the pipeline declares none.
    pub(crate) fn fields(&self) -> Result<Vec<Field>, Trouble> {
        let field = |field: &Arc<ArrowField>| {
            let data_type = fit::field_type(field.data_type()).map_err(|problem| {
                let what = format!(
                    "column {:?}: {problem}; declare the columns that you want under schema.fields",
                    field.name()
                );
                Trouble::Damaged { reason: Reason::UnsupportedType, what }
            })?;
            Ok(Field { name: field.name().clone(), data_type, required: false, from: None })
        };
        self.metadata.schema().fields().iter().map(field).collect()
    }

    /// Hands over the rows of some row groups, or of all.
    pub(crate) fn read(
        self,
        row_groups: Option<Range<usize>>,
        wanted: &Wanted,
        turns: &Turns,
        out: &mut Outbox,
    ) -> Result<(), Trouble> {
        let columns = self.choose(wanted)?;
        let mut row = self.rows_before(row_groups.as_ref());
        let roots: Vec<usize> = columns.roots.clone();
        let schema = self.metadata.parquet_schema();
        let mask = ProjectionMask::roots(schema, roots);
        let leaves = (0..schema.num_columns()).filter(|leaf| mask.leaf_included(*leaf)).count();
        let footer = self.metadata.metadata();
        let pages = Pages::new(footer, self.shares.clone(), turns.clone());
        self.ranges.read_pages(leaves, pages);
        let read = row_groups.clone().unwrap_or(0..footer.num_row_groups());
        let rows = width::batch_rows(footer, &mask, read, &self.ranges, out.size());
        let Self { path, ranges, cause, metadata, .. } = self;
        let pages = ranges.clone();
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(ranges, metadata)
            .with_projection(mask)
            .with_batch_size(rows);
        if let Some(row_groups) = row_groups {
            builder = builder.with_row_groups(row_groups.collect());
        }
        let explain = |problem: String| {
            let refused = pages.refusal();
            refused.unwrap_or_else(|| cause.explain(format!("its rows cannot be read: {problem}")))
        };
        let reader = builder.build().map_err(|error| explain(error.to_string()))?;
        for batch in reader {
            let batch = batch.map_err(|error| explain(error.to_string()))?;
            let fitted = columns.fit(&batch, wanted)?;
            wanted.hand_over(&path, row, fitted, out)?;
            row += batch.num_rows() as u64;
        }
        Ok(())
    }

    fn rows_before(&self, row_groups: Option<&Range<usize>>) -> u64 {
        let first = row_groups.map_or(0, |groups| groups.start);
        self.row_groups().iter().take(first).map(|group| group.rows).sum()
    }

    /// Finds the wanted columns in the file.
    fn choose(&self, wanted: &Wanted) -> Result<Columns, Trouble> {
        let schema = self.metadata.schema();
        if let Some(extra) = wanted.unexpected(schema) {
            return Err(members::beside_the_first(extra));
        }
        let mut roots = Vec::new();
        let mut sources = Vec::with_capacity(wanted.fields.len());
        let mut missing = MissingColumns::default();
        for field in &wanted.fields {
            let source = Source::find(schema, field, wanted.declared, &mut missing)?;
            roots.extend(source.as_ref().map(|source| source.root));
            sources.push(source);
        }
        roots.sort_unstable();
        roots.dedup();
        if roots.is_empty() {
            return Err(Trouble::damaged("it has none of the declared columns"));
        }
        missing.tell(&self.path);
        Ok(Columns { roots, sources })
    }
}

/// What is wanted of every file.
pub(crate) struct Wanted {
    fields: Vec<Field>,
    schema: SchemaRef,
    declared: bool,
}

impl Wanted {
    /// `declared`: whether the pipeline declares the columns; otherwise they are the first file's.
    pub(crate) fn new(fields: Vec<Field>, schema: SchemaRef, declared: bool) -> Self {
        Self { fields, schema, declared }
    }

    fn unexpected<'a>(&self, schema: &'a Schema) -> Option<&'a str> {
        let known = |name: &str| self.fields.iter().any(|field| field.name == name);
        let names = schema.fields().iter().map(|field| field.name().as_str());
        if self.declared { None } else { names.into_iter().find(|name| !known(name)) }
    }

    /// Hands over the rows that have what is required, and sets the others aside.
    fn hand_over(
        &self,
        path: &str,
        first_row: u64,
        batch: RecordBatch,
        out: &mut Outbox,
    ) -> Result<(), Trouble> {
        let lacks =
            |(field, column): &(&Field, &ArrayRef)| field.required && column.null_count() > 0;
        if !self.fields.iter().zip(batch.columns()).any(|pair| lacks(&pair)) {
            return Ok(out.rows(batch)?);
        }
        let first = out.ordinal();
        let missing: Vec<Option<&Field>> =
            (0..batch.num_rows()).map(|row| self.missing(&batch, row)).collect();
        let whole: BooleanArray = missing.iter().map(|missing| Some(missing.is_none())).collect();
        let kept = filter_record_batch(&batch, &whole)
            .map_err(|error| Trouble::damaged(error.to_string()))?;
        out.rows(kept)?;
        for (row, field) in missing.iter().enumerate() {
            let Some(field) = field else { continue };
            let record = as_json(&batch.slice(row, 1));
            out.bad_record(BadRecord {
                ordinal: first + row as u64,
                place: format!("{path}:{}", first_row + row as u64 + 1),
                reason: Reason::MissingField,
                detail: format!("{}: required, but missing", field.name),
                payload: &record,
            })?;
        }
        Ok(())
    }

    /// The first required column that has no value in a row.
    fn missing(&self, batch: &RecordBatch, row: usize) -> Option<&Field> {
        let mut pairs = self.fields.iter().zip(batch.columns());
        pairs.find(|(field, column)| field.required && column.is_null(row)).map(|(field, _)| field)
    }
}

fn as_json(row: &RecordBatch) -> Vec<u8> {
    let mut text = Vec::new();
    let mut writer = LineDelimitedWriter::new(&mut text);
    // What cannot be JSON is left out of the dead letter; place and reason say enough.
    let written = writer.write(row).and_then(|()| writer.finish());
    drop(writer);
    if written.is_err() {
        text.clear();
    }
    text.truncate(text.trim_ascii_end().len());
    text
}

/// Where the wanted columns are in one file.
struct Columns {
    /// The file's columns that are read, ascending.
    roots: Vec<usize>,
    /// For each wanted column.
    sources: Vec<Option<Source>>,
}

/// Where a column is in a file.
struct Source {
    root: usize,
    /// Members of structs on the way.
    members: Vec<String>,
}

impl Source {
    /// Where the field's column is; what the file lacks is noted in `missing`.
    fn find(
        schema: &Schema,
        field: &Field,
        declared: bool,
        missing: &mut MissingColumns,
    ) -> Result<Option<Self>, Trouble> {
        let path = field.from.as_deref().and_then(|from| from.strip_prefix("$."));
        let names: Vec<&str> =
            path.map_or_else(|| vec![field.name.as_str()], |path| path.split('.').collect());
        let found = members::descend(schema.fields(), &names, field.required, missing)?;
        let Some((root, data_type)) = found else { return Ok(None) };
        let within = path.unwrap_or(&field.name);
        members::compare(within, (data_type, &field.data_type), declared, missing)?;
        fit::fits(data_type, &field.data_type).map_err(|problem| Trouble::Damaged {
            reason: Reason::UnsupportedType,
            what: format!("column {:?}: {problem}", field.name),
        })?;
        let members = names[1..].iter().map(|name| (*name).to_owned()).collect();
        Ok(Some(Self { root, members }))
    }

    fn take(&self, root: &ArrayRef) -> Result<ArrayRef, String> {
        let mut array = ArrayRef::clone(root);
        for member in &self.members {
            let around = array.as_struct();
            let inner = around.column_by_name(member).ok_or("a member is gone")?;
            // A member of nothing is nothing.
            array = nullif(inner, &is_null(&array).map_err(|error| error.to_string())?)
                .map_err(|error| error.to_string())?;
        }
        Ok(array)
    }
}

impl Columns {
    /// The wanted columns of a batch that was read.
    fn fit(&self, batch: &RecordBatch, wanted: &Wanted) -> Result<RecordBatch, Trouble> {
        let mut columns = Vec::with_capacity(wanted.fields.len());
        for (field, source) in wanted.fields.iter().zip(&self.sources) {
            let column = match source {
                Some(source) => {
                    let place = self.roots.binary_search(&source.root).unwrap_or(0);
                    let taken = source.take(batch.column(place));
                    taken.and_then(|array| fit::convert(&array, &field.data_type)).map_err(
                        |problem| Trouble::damaged(format!("column {:?}: {problem}", field.name)),
                    )?
                }
                None => new_null_array(&arrow_type(&field.data_type), batch.num_rows()),
            };
            columns.push(column);
        }
        RecordBatch::try_new(Arc::clone(&wanted.schema), columns)
            .map_err(|error| Trouble::damaged(error.to_string()))
    }
}
