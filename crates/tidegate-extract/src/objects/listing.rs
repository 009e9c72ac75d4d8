//! The files of a run, listed once and pinned.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use serde::{Deserialize, Serialize};
use tidegate_types::Reason;
use xxhash_rust::xxh3::Xxh3;

use super::glob::Glob;
use super::store_error::unreadable;
use crate::ExtractError;

/// Most files of a run: each costs about 300 bytes here and in the plan.
const MAX_FILES: usize = 100_000;
/// Folders that are listed side by side.
const AT_ONCE: usize = 8;

/// One object, as it was when it was listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PinnedFile {
    /// Where it is, relative to the source's address.
    pub(crate) path: String,
    /// What tells its content from others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) etag: Option<String>,
    /// Its bytes.
    pub(crate) size: u64,
    /// When it was written, in microseconds since 1970; what pins it in a store without etags.
    pub(crate) modified: i64,
}

impl PinnedFile {
    fn new(meta: ObjectMeta) -> Self {
        Self {
            path: meta.location.to_string(),
            etag: meta.e_tag,
            size: meta.size,
            modified: meta.last_modified.timestamp_micros(),
        }
    }

    /// Its place in the store.
    pub(crate) fn location(&self) -> Path {
        // A listed path is in the store's own spelling already.
        Path::parse(&self.path).unwrap_or_else(|_| Path::from(self.path.as_str()))
    }
}

/// The files that `glob` means, by path.
///
/// # Errors
///
/// When the store cannot be listed, or there are too many.
pub(crate) async fn list(
    store: &Arc<dyn ObjectStore>,
    glob: &Glob,
) -> Result<Vec<PinnedFile>, ExtractError> {
    let folders = glob.prefixes().into_iter().map(folder).collect::<Result<Vec<_>, _>>()?;
    let listed = stream::iter(folders).map(|folder| store.list(folder.as_ref()));
    let mut listed = listed.flatten_unordered(AT_ONCE);
    let failed = |error| unreadable("the files could not be listed", error);
    let (mut files, mut tables) = (Vec::new(), BTreeSet::new());
    while let Some(meta) = listed.try_next().await.map_err(failed)? {
        tables.extend(table_of(meta.location.as_ref()));
        if !glob.matches(meta.location.as_ref()) {
            continue;
        }
        files.push(PinnedFile::new(meta));
        if files.len() > MAX_FILES {
            return Err(too_many());
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    check_no_table(&files, &tables)?;
    Ok(files)
}

/// The folder of the Delta table whose log the path is part of, with the slash behind it.
fn table_of(path: &str) -> Option<String> {
    let at = path.find("_delta_log/")?;
    let folder = &path[..at];
    (folder.is_empty() || folder.ends_with('/')).then(|| folder.to_owned())
}

/// Refuses files of a Delta table: those that its log has replaced lie beside those that are its rows, and
/// where it is the pipeline's own, each run would double it.
fn check_no_table(files: &[PinnedFile], tables: &BTreeSet<String>) -> Result<(), ExtractError> {
    let within = |file: &PinnedFile| tables.iter().find(|table| file.path.starts_with(*table));
    let Some((file, table)) = files.iter().find_map(|file| Some((file, within(file)?))) else {
        return Ok(());
    };
    let what = format!(
        "{} belongs to the Delta table in {:?}, whose folder also has files that are no longer its rows; \
         let the glob name other folders",
        file.path,
        table.trim_end_matches('/')
    );
    Err(ExtractError::permanent(Reason::InvalidConfiguration, what))
}

/// Where to list; none is everywhere.
fn folder(prefix: &str) -> Result<Option<Path>, ExtractError> {
    if prefix.is_empty() {
        return Ok(None);
    }
    Path::parse(prefix).map(Some).map_err(|error| {
        let what = format!("the glob's folder {prefix:?} cannot be in a store");
        ExtractError::permanent(Reason::InvalidConfiguration, what).because(error)
    })
}

fn too_many() -> ExtractError {
    let what = format!(
        "the glob means more than {MAX_FILES} files; write fields of the interval into it, such as dt=%Y-%m-%d, or gather the files into larger ones"
    );
    ExtractError::permanent(Reason::InvalidConfiguration, what)
}

/// 32 hexadecimal digits that change when a file comes, goes or changes (B8).
pub(crate) fn fingerprint(files: &[PinnedFile]) -> String {
    let mut hash = Xxh3::new();
    for file in files {
        // Lengths in front keep neighbours apart.
        for text in [file.path.as_str(), file.etag.as_deref().unwrap_or_default()] {
            hash.update(&(text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        }
        hash.update(&file.size.to_le_bytes());
        if file.etag.is_none() {
            hash.update(&file.modified.to_le_bytes());
        }
    }
    format!("{:032x}", hash.digest128())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, etag: &str, size: u64) -> PinnedFile {
        PinnedFile { path: path.into(), etag: Some(etag.into()), size, modified: 0 }
    }

    #[test]
    fn the_fingerprint_changes_with_every_file_and_with_nothing_else() {
        let files = [file("a", "1", 5), file("b", "2", 6)];
        let touched = PinnedFile { modified: 9, ..files[0].clone() };
        assert_eq!(fingerprint(&files), fingerprint(&[touched, files[1].clone()]));
        for other in [
            vec![file("a", "1", 5)],
            vec![file("a", "1", 5), file("b", "3", 6)],
            vec![file("a", "1", 5), file("b", "2", 7)],
            vec![file("a", "1", 5), file("c", "2", 6)],
            vec![file("a1", "", 5), file("b", "2", 6)],
            vec![],
        ] {
            assert_ne!(fingerprint(&files), fingerprint(&other), "{other:?}");
        }
    }
}
