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
use tidegate_table::files::layout::{FileName, object_of_log_path};
use tidegate_table::files::reader::read_footer;
use tidegate_table::files::{DataFile, FileError};
use tidegate_table::store::TableStore;
use tidegate_types::{Ledger, Reason};

use crate::chunks::ChunkOutcome;

/// Files that are looked at side by side.
const AT_ONCE: usize = 16;

/// Looks at every file. Each is named once and as its chunk's, and has the bytes and rows that its reader
/// says.
///
/// # Errors
///
/// When one is not there or is another one, or the store does not answer.
pub(crate) async fn confirm(
    store: &TableStore,
    ledger: &Ledger,
    generation: u64,
    outcomes: &[ChunkOutcome],
) -> Result<(), RunError> {
    let mut named = BTreeSet::new();
    let mut looks = Vec::new();
    for outcome in outcomes {
        for file in &outcome.files {
            let object = object_of_log_path(&file.path)?;
            let own = FileName::is_of_run(&object, ledger, generation, outcome.number);
            if !own || !named.insert(&file.path) {
                let what = format!("{} is no file of chunk {}", file.path, outcome.number);
                return Err(RunError::transient(Reason::CountMismatch, what));
            }
            looks.push(look(store, file, object).boxed());
        }
    }
    stream::iter(looks).buffer_unordered(AT_ONCE).try_collect().await
}

async fn look(store: &TableStore, file: &DataFile, object: Path) -> Result<(), RunError> {
    let footer = match read_footer(&store.data, &object).await {
        Ok(footer) => footer,
        Err(error) => return Err(unreadable(store, file, &object, error).await),
    };
    let rows = footer.metadata.file_metadata().num_rows().unsigned_abs();
    let found = (footer.object.size, rows);
    if found == (file.size, file.rows) {
        return Ok(());
    }
    let what = format!(
        "{} should have {} bytes and {} rows, and has {} and {}",
        file.path, file.size, file.rows, found.0, found.1
    );
    Err(RunError::transient(Reason::CountMismatch, what))
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
