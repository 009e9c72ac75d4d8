//! Ids moved out of memory: a sorted file with a filter and an index of its pages in memory.
//!
//! The file is unlinked as soon as it is open, so that a killed process leaves nothing behind; the
//! kernel frees its space when the run is dropped.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use thiserror::Error;

use crate::bloom::Bloom;
use crate::slot::{OFFSET_BYTES, Slot};

/// Ids on a page: at 21 bytes each a lookup reads 2.7 kB, and the index costs a sixteenth of a byte
/// for each id.
const PAGE_IDS: usize = 128;
/// The longest id.
const MAX_ID_BYTES: usize = 16;
/// Bytes read at once when a file is read from its beginning.
const SCAN_IDS: usize = 32 * PAGE_IDS;
/// Attempts at a file name that nobody uses; names of this process never repeat.
const NAME_ATTEMPTS: u32 = 1_000;

/// Ids could not be moved to disk or read from there.
#[derive(Debug, Error)]
#[error("unable to {action} a window file in {}", directory.display())]
pub struct SpillError {
    /// What was tried.
    pub action: &'static str,
    /// The folder for window files.
    pub directory: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// The folder that takes the files of one window.
#[derive(Debug, Clone)]
pub(crate) struct SpillFolder {
    path: PathBuf,
    next_name: u32,
}

impl SpillFolder {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, next_name: 0 }
    }

    fn create(&mut self) -> Result<File, SpillError> {
        let mut result = Err(io::Error::from(io::ErrorKind::AlreadyExists));
        for _ in 0..NAME_ATTEMPTS {
            let name = format!("window-{}-{}", std::process::id(), self.next_name);
            self.next_name = self.next_name.wrapping_add(1);
            let path = self.path.join(name);
            result = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
            match &result {
                Ok(_) => {
                    result = result.and_then(|file| std::fs::remove_file(&path).map(|()| file));
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(_) => break,
            }
        }
        result.map_err(|source| self.error("create", source))
    }

    fn error(&self, action: &'static str, source: io::Error) -> SpillError {
        SpillError { action, directory: self.path.clone(), source }
    }
}

/// One sorted file of ids with the time offsets of their rows.
pub(crate) struct Run<const N: usize> {
    file: File,
    folder: SpillFolder,
    ids: usize,
    bloom: Bloom,
    /// The first id of each page, as far as eight bytes go.
    fences: Vec<u64>,
}

impl<const N: usize> Run<N> {
    const ENTRY: usize = N + OFFSET_BYTES;

    /// Writes `slots`, which must come in ascending order of their ids, each id once.
    pub(crate) fn write(
        folder: &mut SpillFolder,
        at_most: usize,
        slots: impl Iterator<Item = Result<Slot<N>, SpillError>>,
    ) -> Result<Self, SpillError> {
        let mut writer = BufWriter::with_capacity(1 << 16, folder.create()?);
        let mut bloom = Bloom::for_ids(at_most);
        let (mut fences, mut ids) = (Vec::with_capacity(at_most.div_ceil(PAGE_IDS)), 0);
        for slot in slots {
            let slot = slot?;
            if ids % PAGE_IDS == 0 {
                fences.push(slot.hash());
            }
            ids += 1;
            bloom.add(slot.hash());
            writer
                .write_all(&slot.key)
                .and_then(|()| writer.write_all(&slot.offset))
                .map_err(|source| folder.error("write", source))?;
        }
        let file =
            writer.into_inner().map_err(|error| folder.error("write", error.into_error()))?;
        Ok(Self { file, folder: folder.clone(), ids, bloom, fences })
    }

    /// The offset with which `key` stands here.
    pub(crate) fn find(&self, key: &[u8; N], hash: u64) -> Result<Option<u64>, SpillError> {
        if !self.bloom.may_hold(hash) {
            return Ok(None);
        }
        // Several pages only when eight bytes do not tell their first ids apart.
        let first = self.fences.partition_point(|fence| *fence < hash).saturating_sub(1);
        let end = self.fences.partition_point(|fence| *fence <= hash);
        for page in first..end {
            if let Some(slot) = self.find_on(page, key)? {
                return Ok(Some(slot.offset()));
            }
        }
        Ok(None)
    }

    fn find_on(&self, page: usize, key: &[u8; N]) -> Result<Option<Slot<N>>, SpillError> {
        let mut buffer = [0; PAGE_IDS * (MAX_ID_BYTES + OFFSET_BYTES)];
        let ids = PAGE_IDS.min(self.ids - page * PAGE_IDS);
        let bytes = &mut buffer[..ids * Self::ENTRY];
        self.read(page * PAGE_IDS, bytes)?;
        let (mut low, mut high) = (0, ids);
        while low < high {
            let middle = usize::midpoint(low, high);
            let slot = Slot::<N>::from_bytes(&bytes[middle * Self::ENTRY..]);
            match slot.key.cmp(key) {
                std::cmp::Ordering::Equal => return Ok(Some(slot)),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    fn read(&self, first_id: usize, bytes: &mut [u8]) -> Result<(), SpillError> {
        self.file
            .read_exact_at(bytes, (first_id * Self::ENTRY) as u64)
            .map_err(|source| self.folder.error("read", source))
    }

    /// All entries in ascending order of their ids.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Result<Slot<N>, SpillError>> + '_ {
        (0..self.ids).step_by(SCAN_IDS).flat_map(move |first| {
            let mut bytes = vec![0; SCAN_IDS.min(self.ids - first) * Self::ENTRY];
            let read = self.read(first, &mut bytes);
            let slots = bytes.chunks_exact(Self::ENTRY).map(Slot::from_bytes).map(Ok);
            match read {
                Ok(()) => slots.collect::<Vec<_>>(),
                Err(error) => vec![Err(error)],
            }
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.ids
    }

    pub(crate) fn disk_bytes(&self) -> usize {
        self.ids * Self::ENTRY
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.bloom.memory_bytes() + self.fences.capacity() * size_of::<u64>()
    }
}

/// Merges sorted sources; an id that stands in several keeps its latest offset.
pub(crate) fn merge<'a, const N: usize>(
    sources: Vec<Box<dyn Iterator<Item = Result<Slot<N>, SpillError>> + 'a>>,
) -> impl Iterator<Item = Result<Slot<N>, SpillError>> + 'a {
    let mut sources: Vec<_> = sources.into_iter().map(Iterator::peekable).collect();
    std::iter::from_fn(move || {
        let failed = sources.iter_mut().position(|source| matches!(source.peek(), Some(Err(_))));
        if let Some(failed) = failed {
            return sources[failed].next();
        }
        let head = |source: &mut std::iter::Peekable<_>| match source.peek() {
            Some(Ok(slot)) => Some(*slot),
            Some(Err(_)) | None => None::<Slot<N>>,
        };
        let smallest = sources.iter_mut().filter_map(head).map(|slot| slot.key).min()?;
        let mut latest: Option<Slot<N>> = None;
        for source in &mut sources {
            while let Some(slot) = head(source).filter(|slot| slot.key == smallest) {
                latest = latest.filter(|known| known.offset() >= slot.offset()).or(Some(slot));
                source.next();
            }
        }
        latest.map(Ok)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(upper: u64, lower: u64, offset: u64) -> Slot<16> {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&upper.to_be_bytes());
        key[8..].copy_from_slice(&lower.to_be_bytes());
        Slot::new(key, offset)
    }

    fn written(slots: &[Slot<16>]) -> Run<16> {
        let folder = tempfile::tempdir().expect("a folder");
        let mut folder = SpillFolder::new(folder.path().to_owned());
        Run::write(&mut folder, slots.len(), slots.iter().copied().map(Ok)).expect("written")
    }

    #[test]
    fn ids_that_share_eight_bytes_are_found_over_several_pages() {
        let mut slots = vec![slot(1, 0, 1)];
        slots.extend((0..1_000).map(|n| slot(5, n, n + 10)));
        slots.push(slot(9, 0, 2));
        let run = written(&slots);
        for slot in &slots {
            assert_eq!(run.find(&slot.key, slot.hash()).expect("read"), Some(slot.offset()));
        }
        let stranger = slot(5, 1_000, 0);
        assert_eq!(run.find(&stranger.key, stranger.hash()).expect("read"), None);
        let read: Vec<_> = run.entries().collect::<Result<_, _>>().expect("read");
        assert_eq!(read, slots);
    }

    #[test]
    fn an_empty_run_holds_nothing() {
        let run = written(&[]);
        let any = slot(1, 1, 1);
        assert_eq!(run.find(&any.key, any.hash()).expect("read"), None);
        assert_eq!(run.entries().count(), 0);
    }

    #[test]
    fn merged_runs_keep_the_latest_offset_of_an_id() {
        let (a, b) =
            ([slot(1, 0, 5), slot(3, 0, 1)], [slot(1, 0, 4), slot(2, 0, 1), slot(3, 0, 9)]);
        let merged: Vec<_> =
            merge::<16>(vec![Box::new(a.into_iter().map(Ok)), Box::new(b.into_iter().map(Ok))])
                .collect::<Result<_, _>>()
                .expect("no failure");
        assert_eq!(merged, [slot(1, 0, 5), slot(2, 0, 1), slot(3, 0, 9)]);
    }

    #[test]
    fn a_missing_folder_is_an_error_and_nothing_is_left_in_a_good_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut missing = SpillFolder::new(folder.path().join("gone"));
        let failed = Run::<16>::write(&mut missing, 0, std::iter::empty());
        assert!(failed.is_err_and(|error| error.to_string().contains("unable to create")));
        let mut good = SpillFolder::new(folder.path().to_owned());
        let _run = Run::write(&mut good, 1, std::iter::once(Ok(slot(1, 1, 1)))).expect("written");
        assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 0);
    }
}
