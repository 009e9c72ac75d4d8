//! The accepted ids of one slice of stream time.

use hashbrown::HashTable;

use crate::run::{Run, SpillError, SpillFolder, merge};
use crate::slot::{Slot, hash_of};

/// Files of one generation before they are merged into one.
const MAX_RUNS: usize = 8;

/// Ids in memory, and those that were moved out of it.
pub(crate) struct Generation<const N: usize> {
    table: HashTable<Slot<N>>,
    runs: Vec<Run<N>>,
}

impl<const N: usize> Default for Generation<N> {
    fn default() -> Self {
        Self { table: HashTable::new(), runs: Vec::new() }
    }
}

impl<const N: usize> Generation<N> {
    /// The latest offset with which `key` was accepted.
    pub(crate) fn latest(&self, key: &[u8; N]) -> Result<Option<u64>, SpillError> {
        let hash = hash_of(key);
        let mut latest = self.table.find(hash, |slot| slot.key == *key).map(Slot::offset);
        for run in &self.runs {
            latest = latest.max(run.find(key, hash)?);
        }
        Ok(latest)
    }

    /// Adds an id, or makes its offset the later of both.
    pub(crate) fn insert(&mut self, slot: Slot<N>) {
        self.table
            .entry(slot.hash(), |known| known.key == slot.key, Slot::hash)
            .and_modify(|known| {
                if known.offset() < slot.offset() {
                    *known = slot;
                }
            })
            .or_insert(slot);
    }

    /// Makes room for `more` ids, so that the table grows once.
    pub(crate) fn reserve(&mut self, more: usize) {
        self.table.reserve(more, Slot::hash);
    }

    /// Moves the ids in memory to a file. They exist twice while it is written.
    pub(crate) fn spill(&mut self, folder: &mut SpillFolder) -> Result<(), SpillError> {
        let mut slots: Vec<_> = self.table.iter().copied().collect();
        slots.sort_unstable_by_key(|slot| slot.key);
        let own = slots.into_iter().map(Ok);
        let run = if self.runs.len() < MAX_RUNS {
            Run::write(folder, self.table.len(), own)?
        } else {
            let mut sources: Vec<Box<dyn Iterator<Item = _> + '_>> = vec![Box::new(own)];
            for run in &self.runs {
                sources.push(Box::new(run.entries()));
            }
            Run::write(folder, self.len(), merge(sources))?
        };
        if self.runs.len() == MAX_RUNS {
            self.runs.clear();
        }
        self.runs.push(run);
        self.table = HashTable::new();
        Ok(())
    }

    /// Every id with its offset, in no order; an id that was moved out and came again stands twice.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Result<Slot<N>, SpillError>> + '_ {
        self.runs.iter().flat_map(Run::entries).chain(self.table.iter().copied().map(Ok))
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len() + self.runs.iter().map(Run::len).sum::<usize>()
    }

    /// Bytes of the table, which a spill would free.
    pub(crate) fn table_bytes(&self) -> usize {
        self.table.allocation_size()
    }

    /// Bytes of the table once `more` ids are in it.
    pub(crate) fn table_bytes_with(&self, more: usize) -> usize {
        let wanted = self.table.len().saturating_add(more);
        if wanted <= self.table.capacity() { self.table_bytes() } else { table_bytes::<N>(wanted) }
    }

    /// Bytes of the indexes of files.
    pub(crate) fn index_bytes(&self) -> usize {
        self.runs.iter().map(Run::memory_bytes).sum()
    }

    pub(crate) fn disk_bytes(&self) -> usize {
        self.runs.iter().map(Run::disk_bytes).sum()
    }
}

/// Bytes of a table for `ids` ids: a power of two of places, at most seven eighths of them used, and a
/// control byte for each (and a group of them, at most 16, behind the last).
pub(crate) fn table_bytes<const N: usize>(ids: usize) -> usize {
    let places = ids.saturating_mul(8).div_ceil(7).max(16).next_power_of_two();
    places.saturating_mul(size_of::<Slot<N>>() + 1).saturating_add(32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyHasher;

    fn slot(n: u64) -> Slot<16> {
        Slot::new(KeyHasher::new(1).fingerprint(&n.to_le_bytes()).to_be_bytes(), n)
    }

    #[test]
    fn the_predicted_size_of_a_table_is_never_too_small() {
        for ids in (1..200).chain([1_000, 1_792, 1_793, 50_000, 57_344, 57_345]) {
            let mut generation = Generation::default();
            let predicted = generation.table_bytes_with(ids);
            generation.reserve(ids);
            (0..ids as u64).for_each(|n| generation.insert(slot(n)));
            assert!(generation.table_bytes() <= predicted, "{ids}");
            assert!(generation.table_bytes() * 2 + 900 >= predicted, "{ids}");
        }
    }

    #[test]
    fn ids_stay_when_files_are_merged() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut folder = SpillFolder::new(folder.path().to_owned());
        let mut generation = Generation::default();
        for round in 0..20 {
            (round * 10..round * 10 + 30).for_each(|n| generation.insert(slot(n)));
            generation.spill(&mut folder).expect("spilled");
            assert!(generation.runs.len() <= MAX_RUNS);
        }
        assert_eq!(generation.table_bytes(), 0);
        for n in 0..220 {
            assert_eq!(generation.latest(&slot(n).key).expect("read"), Some(n));
        }
        assert_eq!(generation.latest(&slot(220).key).expect("read"), None);
    }
}
