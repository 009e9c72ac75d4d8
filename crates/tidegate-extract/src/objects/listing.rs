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
use super::store_error::{is_refusal, unreadable};
use crate::ExtractError;

/// Most files of a run: each costs about 300 bytes here and in the plan.
const MAX_FILES: usize = 100_000;
/// Folders that are listed side by side.
const AT_ONCE: usize = 8;
/// The folder of a Delta table's log.
const DELTA_LOG: &str = "_delta_log";
/// How names begin that writers leave beside their files.
const MARKERS: [&str; 7] = [
    "_SUCCESS",
    "_committed_",
    "_started_",
    "_temporary",
    "_metadata",
    "_common_metadata",
    DELTA_LOG,
];

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
    let (mut files, mut hidden) = (Vec::new(), Hidden::default());
    let mut tables = tables_above(store, glob).await?;
    while let Some(meta) = listed.try_next().await.map_err(failed)? {
        tables.extend(table_of(meta.location.as_ref()));
        if !glob.matches(meta.location.as_ref()) {
            hidden.note(glob, &meta);
            continue;
        }
        files.push(PinnedFile::new(meta));
        if files.len() > MAX_FILES {
            return Err(too_many());
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    check_no_table(&files, &tables)?;
    hidden.tell();
    Ok(files)
}

/// Files that are left out for their names alone.
#[derive(Default)]
struct Hidden {
    count: u64,
    first: Option<String>,
}

impl Hidden {
    /// Counts what people may have meant: no empty file, and none that is known for a marker.
    fn note(&mut self, glob: &Glob, meta: &ObjectMeta) {
        let path = meta.location.as_ref();
        let is_marker = |part: &str| MARKERS.iter().any(|marker| part.starts_with(marker));
        if meta.size > 0
            && glob.matches_but_for_hiding(path)
            && !path.ends_with(".crc")
            && !path.split('/').any(is_marker)
        {
            self.count += 1;
            self.first.get_or_insert_with(|| path.to_owned());
        }
    }

    fn tell(&self) {
        let Some(first) = &self.first else { return };
        let what = "files whose names, or a folder's, begin with _ or . are left out; begin such a name in the glob to read them";
        tracing::warn!(files = self.count, first, "{what}");
    }
}

/// The tables whose folders lie above those that are listed, so that the listing does not show their logs.
async fn tables_above(
    store: &Arc<dyn ObjectStore>,
    glob: &Glob,
) -> Result<BTreeSet<String>, ExtractError> {
    let mut above = BTreeSet::new();
    for prefix in glob.prefixes() {
        above.extend(prefix.match_indices('/').map(|(at, _)| prefix[..=at].to_owned()));
        above.extend((!prefix.is_empty()).then(String::new));
    }
    let asked = stream::iter(above).map(|folder| async move {
        let log = self::folder(&format!("{folder}{DELTA_LOG}"))?;
        let first = store.list(log.as_ref()).try_next().await;
        match first {
            Ok(found) => Ok(found.is_some().then_some(folder)),
            // Rights may end at the folder that is listed.
            Err(error) if is_refusal(&error) => Ok(None),
            Err(error) => Err(unreadable("the files could not be listed", error)),
        }
    });
    let found: Vec<Option<String>> = asked.buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

/// The folder of the Delta table whose log the path is part of, with the slash behind it.
fn table_of(path: &str) -> Option<String> {
    let mut found = path.match_indices(DELTA_LOG).map(|(at, name)| path.split_at(at + name.len()));
    let (to_log, _) = found.find(|(to_log, behind)| {
        let folder = to_log.strip_suffix(DELTA_LOG).unwrap_or_default();
        (folder.is_empty() || folder.ends_with('/')) && behind.starts_with('/')
    })?;
    to_log.strip_suffix(DELTA_LOG).map(str::to_owned)
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
    fn a_table_is_known_by_the_folder_of_its_log() {
        for (path, table) in [
            ("_delta_log/0.json", Some("")),
            ("a/b/_delta_log/0.json", Some("a/b/")),
            ("a/my_delta_log/_delta_log/0.json", Some("a/my_delta_log/")),
            ("a/my_delta_log/0.json", None),
            ("a/_delta_log", None),
        ] {
            assert_eq!(table_of(path).as_deref(), table, "{path}");
        }
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
