//! Writing a file again without the selected rows.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{filter_record_batch, not};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use futures::TryStreamExt;
use object_store::ObjectStore;

use super::conform::conform;
use super::{Naming, ReplaceError, Selection};
use crate::files::layout::{DataPath, FileName, object_of_log_path};
use crate::files::reader::read_columns;
use crate::files::system::file_schema;
use crate::files::{DataFile, FileError, FileWriter, WriteOptions};
use crate::log::{LiveFile, TableSnapshot};

/// The chunk in the name of files that belong to none.
const NO_CHUNK: u32 = (1 << 20) - 1;

/// What the new file is to be.
pub(super) struct Target<'a> {
    pub(super) snapshot: &'a TableSnapshot,
    pub(super) naming: &'a Naming,
    pub(super) number: u32,
    pub(super) options: &'a WriteOptions,
}

impl Target<'_> {
    /// A name of ours below the folders of the file's partition values.
    fn path(&self, file: &LiveFile) -> DataPath {
        let columns = self.snapshot.partition_columns().iter();
        let values: Vec<(String, Option<String>)> = columns
            .map(|column| (column.clone(), file.partition_values.get(column).cloned().flatten()))
            .collect();
        let Naming { ledger, generation, nonce } = self.naming;
        let name = FileName::of_run(ledger.clone(), *generation, NO_CHUNK, *nonce, self.number);
        DataPath::new(&values, &name)
    }
}

/// Writes the rows of `file` that are not selected, `kept` of them.
pub(super) async fn without(
    store: &Arc<dyn ObjectStore>,
    file: &LiveFile,
    kept: u64,
    selection: &Selection,
    target: &Target<'_>,
) -> Result<DataFile, ReplaceError> {
    let whole = file_schema(target.snapshot.schema(), target.snapshot.partition_columns());
    let columns: Vec<&str> = whole.fields().iter().map(|field| field.name().as_str()).collect();
    let from = object_of_log_path(&file.path)?;
    let mut batches = read_columns(store, &from, &columns).await?;
    let shape = |source| ReplaceError::Shape { path: file.path.clone(), source };
    let mut writer: Option<(FileWriter, SchemaRef)> = None;
    while let Some(batch) = batches.try_next().await? {
        let others = not(&selection.rows(&batch)?).map_err(shape)?;
        let batch = filter_record_batch(&batch, &others).map_err(shape)?;
        if batch.num_rows() == 0 {
            continue;
        }
        let (writer, schema) = writer.get_or_insert_with(|| {
            let schema = Arc::new(present(&whole, &batch));
            let values = file.partition_values.clone();
            let path = target.path(file);
            let store = Arc::clone(store);
            (FileWriter::create(store, path, Arc::clone(&schema), values, target.options), schema)
        });
        writer.write(&reshape(&batch, schema).map_err(shape)?).await?;
    }
    let rows = writer.as_ref().map_or(0, |(writer, _)| writer.rows());
    match writer {
        Some((writer, _)) if rows == kept => Ok(writer.finish().await?),
        _ => {
            let (path, what) = (file.path.clone(), "rows to keep");
            Err(FileError::NotWhole { path, what, expected: kept, found: rows }.into())
        }
    }
}

/// The table's columns that a file has.
fn present(table: &Schema, batch: &RecordBatch) -> Schema {
    let there = |name: &str| batch.schema().index_of(name).is_ok();
    let fields = table.fields().iter().filter(|field| there(field.name()));
    Schema::new(fields.cloned().collect::<Vec<_>>())
}

/// The batch in the table's types: others write theirs in other ones.
fn reshape(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = schema.fields().iter().map(|field| {
        let column = batch.column(batch.schema().index_of(field.name())?);
        conform(column, field.data_type())
    });
    RecordBatch::try_new(Arc::clone(schema), columns.collect::<Result<_, _>>()?)
}
