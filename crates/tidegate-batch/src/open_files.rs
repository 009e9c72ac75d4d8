//! Which files are open, and which must be closed.

use std::collections::HashMap;
use std::hash::Hash;

use tidegate_types::ByteSize;

/// The files of the current commit by partition: at most so many are open, and each is closed when it
/// has reached its target size. Only keys and sizes are kept here; the caller holds the writers and
/// closes what it is told to.
#[derive(Debug)]
pub struct OpenFiles<K> {
    max_open: usize,
    target_size: ByteSize,
    files: HashMap<K, OpenFile>,
    /// Counts uses, so that the file unused for longest is the one with the lowest.
    uses: u64,
}

#[derive(Debug, Clone, Copy)]
struct OpenFile {
    last_use: u64,
    size: ByteSize,
}

impl<K: Clone + Eq + Hash> OpenFiles<K> {
    /// No file is open. `max_open` of zero counts as one.
    #[must_use]
    pub fn new(max_open: usize, target_size: ByteSize) -> Self {
        Self { max_open: max_open.max(1), target_size, files: HashMap::new(), uses: 0 }
    }

    /// Rows for `key` are about to be written: its file is open from now on. Returns the key whose
    /// file must be closed first, the one unused for longest, when there would be too many.
    #[must_use = "the file of the returned key must be closed"]
    pub fn open(&mut self, key: &K) -> Option<K> {
        self.uses += 1;
        if let Some(file) = self.files.get_mut(key) {
            file.last_use = self.uses;
            return None;
        }
        let full = self.files.len() >= self.max_open;
        let evicted = if full { self.unused_for_longest() } else { None };
        if let Some(evicted) = &evicted {
            self.files.remove(evicted);
        }
        self.files.insert(key.clone(), OpenFile { last_use: self.uses, size: ByteSize(0) });
        evicted
    }

    /// The file of `key` is expected to become `size` bytes long. True when that reaches the target:
    /// the file is no longer open and must be closed.
    #[must_use = "a file that has reached its target must be closed"]
    pub fn wrote(&mut self, key: &K, size: ByteSize) -> bool {
        let Some(file) = self.files.get_mut(key) else { return false };
        file.size = size;
        let reached = size >= self.target_size;
        if reached {
            self.files.remove(key);
        }
        reached
    }

    /// The caller closes the file of `key` before its time.
    pub fn close(&mut self, key: &K) {
        self.files.remove(key);
    }

    /// Closes everything, the file unused for longest first: a commit names only whole files.
    #[must_use = "the files of the returned keys must be closed"]
    pub fn close_all(&mut self) -> Vec<K> {
        let mut files: Vec<_> = self.files.drain().collect();
        files.sort_unstable_by_key(|(_, file)| file.last_use);
        files.into_iter().map(|(key, _)| key).collect()
    }

    /// How many files are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether no file is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// A scan: it runs only when a file is opened beyond the limit, which is small.
    fn unused_for_longest(&self) -> Option<K> {
        self.files.iter().min_by_key(|(_, file)| file.last_use).map(|(key, _)| key.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn three_of(max_open: usize) -> OpenFiles<&'static str> {
        let mut files = OpenFiles::new(max_open, ByteSize(100));
        ["a", "b", "c"].iter().for_each(|key| assert_eq!(files.open(key), None));
        files
    }

    #[test]
    fn the_file_unused_for_longest_makes_room() {
        let mut files = three_of(3);
        assert_eq!(files.open(&"a"), None, "open already, and used again");
        assert_eq!(files.open(&"d"), Some("b"));
        assert_eq!(files.open(&"b"), Some("c"));
        assert_eq!(files.close_all(), ["a", "d", "b"]);
        assert!(files.is_empty());
    }

    #[test]
    fn a_file_that_has_reached_its_target_is_closed() {
        let mut files = three_of(3);
        assert!(!files.wrote(&"a", ByteSize(99)));
        assert!(files.wrote(&"a", ByteSize(100)));
        assert!(!files.wrote(&"a", ByteSize(500)), "it is closed already");
        assert_eq!(files.len(), 2);
    }

    proptest! {
        #[test]
        fn there_are_never_too_many_files_and_each_is_closed_once(
            max_open in 0_usize..6,
            writes in proptest::collection::vec((0_u8..10, 0_u64..120), 0..200),
        ) {
            let mut files = OpenFiles::new(max_open, ByteSize(100));
            let mut open = HashSet::new();
            for (key, size) in writes {
                if let Some(closed) = files.open(&key) {
                    prop_assert!(open.remove(&closed) && closed != key);
                }
                open.insert(key);
                if files.wrote(&key, ByteSize(size)) {
                    prop_assert!(size >= 100 && open.remove(&key));
                }
                prop_assert!(open.len() <= max_open.max(1));
                prop_assert_eq!(files.len(), open.len());
            }
            prop_assert_eq!(files.close_all().into_iter().collect::<HashSet<_>>(), open);
        }
    }
}
