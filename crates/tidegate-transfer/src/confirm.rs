//! Whether what readers say they wrote is there.
//!
//! A reader in a pod of its own may have written elsewhere: into a folder of its node, into a bucket by
//! another secret. A commit that named such files would make the table unreadable. And whoever reaches the
//! desk might bring what no reader wrote; so the files themselves are asked.

use std::collections::BTreeSet;

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tidegate_runtime::RunError;
use tidegate_table::files::layout::{DataPath, FileName, object_of_log_path};
use tidegate_table::files::reader::read_footer;
use tidegate_table::files::{DataFile, FileError, describe_footer};
use tidegate_table::store::TableStore;
use tidegate_types::Reason;

use crate::attempt::Attempt;
use crate::chunk_outcome::ChunkOutcome;

/// Files that are looked at side by side.
const AT_ONCE: usize = 16;

/// Looks at every file. Each is named once and as its chunk's, lies where its partition values say, and
/// has the bytes and rows that its reader says. What a commit is to say of it besides is taken from its
/// footer, not from the reader.
///
/// # Errors
///
/// When one is not there or is another one, or the store does not answer.
pub(crate) async fn confirm(
    attempt: Attempt<'_>,
    mut outcomes: Vec<ChunkOutcome>,
) -> Result<Vec<ChunkOutcome>, RunError> {
    let mut named = BTreeSet::new();
    let mut looks = Vec::new();
    for outcome in &mut outcomes {
        for file in &mut outcome.files {
            let path = place(attempt, file, outcome.number)?;
            let path = path.filter(|_| named.insert(file.path.clone()));
            let Some(path) = path else {
                let what = format!("{} is no file of chunk {}", file.path, outcome.number);
                return Err(RunError::transient(Reason::CountMismatch, what));
            };
            looks.push(look(attempt, file, path).boxed());
        }
    }
    stream::iter(looks).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    Ok(outcomes)
}

/// Where the file lies, if that is where its chunk and its partition values put it.
fn place(attempt: Attempt<'_>, file: &DataFile, chunk: u32) -> Result<Option<DataPath>, RunError> {
    let object = object_of_log_path(&file.path)?;
    let name = object.filename().and_then(FileName::parse);
    let generations = attempt.origin()..=attempt.generation;
    let is_own =
        |name: &FileName| name.is_of_run(&attempt.config.ledger, generations.clone(), chunk);
    let columns = &attempt.layout.spec.partition_columns;
    let value =
        |column: &String| Some((column.clone(), file.partition_values.get(column)?.clone()));
    let values: Option<Vec<_>> = columns.iter().map(value).collect();
    let values = values.filter(|values| values.len() == file.partition_values.len());
    let path = name.filter(is_own).zip(values).map(|(name, values)| DataPath::new(&values, &name));
    Ok(path.filter(|path| path.in_log() == file.path))
}

async fn look(attempt: Attempt<'_>, file: &mut DataFile, path: DataPath) -> Result<(), RunError> {
    let Attempt { store, layout, .. } = attempt;
    let footer = match read_footer(&store.data, path.object()).await {
        Ok(footer) => footer,
        Err(error) => return Err(unreadable(store, file, path.object(), error).await),
    };
    let found = describe_footer(&footer, &path, &layout.file_schema)?;
    if (found.size, found.rows) != (file.size, file.rows) {
        let what = format!(
            "{} should have {} bytes and {} rows, and has {} and {}",
            file.path, file.size, file.rows, found.size, found.rows
        );
        return Err(RunError::transient(Reason::CountMismatch, what));
    }
    let partition_values = std::mem::take(&mut file.partition_values);
    *file = DataFile { partition_values, ..found };
    Ok(())
}

async fn unreadable(
    store: &TableStore,
    file: &DataFile,
    object: &Path,
    error: FileError,
) -> RunError {
    if !matches!(store.data.head(object).await, Err(object_store::Error::NotFound { .. })) {
        return error.into();
    }
    let what = format!(
        "{} was written by a chunk's pod and is not in the table: all pods must reach one store, and a folder \
         of file:// is one only where they share it",
        file.path
    );
    RunError::permanent(Reason::CountMismatch, what)
}
