//! Accepted ids by slices of stream time, so that expiry drops whole slices and never sweeps.

use std::collections::BTreeMap;

use tidegate_types::{Span, StreamTime};

use crate::generation::{Generation, table_bytes};
use crate::key::Fingerprint;
use crate::options::{WindowError, WindowOptions};
use crate::run::{SpillError, SpillFolder};
use crate::slot::{OFFSET_LIMIT, Slot};

/// Slices of one window: a twelfth of the ids is kept longer than needed, and a lookup of a new id
/// asks thirteen tables.
const SLICES: i64 = 12;

/// The ids of a window whose keys take `N` bytes.
pub(crate) struct Generations<const N: usize> {
    /// Length of a slice in microseconds.
    width: i64,
    /// By number: slice `n` holds the times `[n × width, (n + 1) × width)`.
    slices: BTreeMap<i64, Generation<N>>,
    memory_limit: usize,
    folder: Option<SpillFolder>,
}

impl<const N: usize> Generations<N> {
    pub(crate) fn new(options: &WindowOptions) -> Self {
        Self {
            width: slice_width(options.window),
            slices: BTreeMap::new(),
            memory_limit: options.memory_limit,
            folder: options.spill_dir.clone().map(SpillFolder::new),
        }
    }

    /// For each id the latest time at which it was accepted. Goes through the slices from the newest
    /// with all ids at once: the loads of one table are independent of each other, so the processor
    /// waits for many of them together.
    pub(crate) fn latest(
        &self,
        ids: impl Iterator<Item = Option<Fingerprint>>,
    ) -> Result<Vec<Option<StreamTime>>, SpillError> {
        let keys: Vec<Option<[u8; N]>> = ids.map(|id| id.map(key_of)).collect();
        let mut latest = vec![None; keys.len()];
        let keyed = keys.iter().enumerate();
        let mut open: Vec<_> = keyed.filter_map(|(at, key)| key.map(|key| (at, key))).collect();
        for (slice, generation) in self.slices.iter().rev() {
            let mut unknown = Vec::with_capacity(open.len());
            for (at, key) in open {
                match generation.latest(&key)? {
                    Some(offset) => latest[at] = Some(self.time(*slice, offset)),
                    None => unknown.push((at, key)),
                }
            }
            open = unknown;
        }
        Ok(latest)
    }

    /// Takes up `accepted` and forgets what lies at or before `horizon`. When memory does not suffice
    /// nothing was changed (but some ids may lie on disk now).
    pub(crate) fn admit(
        &mut self,
        accepted: &[(Fingerprint, StreamTime)],
        horizon: StreamTime,
    ) -> Result<(), WindowError> {
        let live = || accepted.iter().filter(|(_, time)| *time > horizon);
        let mut additions = BTreeMap::<i64, usize>::new();
        live().for_each(|(_, time)| *additions.entry(self.slice(*time)).or_default() += 1);
        self.make_room(&additions, horizon)?;
        self.expire(horizon);
        for (slice, more) in additions {
            self.slices.entry(slice).or_default().reserve(more);
        }
        for (id, time) in live() {
            let slot = Slot::new(key_of(*id), self.offset(*time));
            self.slices.entry(self.slice(*time)).or_default().insert(slot);
        }
        Ok(())
    }

    /// Drops the slices that end at or before `horizon`.
    pub(crate) fn expire(&mut self, horizon: StreamTime) {
        let first_live = self.first_live(horizon);
        while let Some(oldest) = self.slices.first_entry().filter(|s| *s.key() < first_live) {
            oldest.remove();
        }
    }

    /// Every accepted id that is later than `horizon`, in no order; an id may stand more than once.
    pub(crate) fn entries(
        &self,
        horizon: StreamTime,
    ) -> impl Iterator<Item = Result<([u8; N], StreamTime), SpillError>> + '_ {
        self.slices
            .iter()
            .flat_map(move |(slice, generation)| {
                generation
                    .entries()
                    .map(move |slot| slot.map(|slot| (slot.key, self.time(*slice, slot.offset()))))
            })
            .filter(move |entry| entry.as_ref().map_or(true, |(_, time)| *time > horizon))
    }

    pub(crate) fn len(&self) -> usize {
        self.slices.values().map(Generation::len).sum()
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.slices.values().map(|g| g.table_bytes() + g.index_bytes()).sum()
    }

    pub(crate) fn spilled_bytes(&self) -> usize {
        self.slices.values().map(Generation::disk_bytes).sum()
    }

    /// Moves tables to disk until `additions` fit.
    fn make_room(
        &mut self,
        additions: &BTreeMap<i64, usize>,
        horizon: StreamTime,
    ) -> Result<(), WindowError> {
        loop {
            let needed = self.needed(additions, horizon);
            if needed <= self.memory_limit {
                return Ok(());
            }
            if !self.spill_largest(horizon)? {
                return Err(WindowError::OverBudget { needed, limit: self.memory_limit });
            }
        }
    }

    /// Bytes at the worst moment of taking up `additions`: while the table that is largest after it
    /// grows, its old form exists beside the new one.
    fn needed(&self, additions: &BTreeMap<i64, usize>, horizon: StreamTime) -> usize {
        let first_live = self.first_live(horizon);
        let (mut total, mut transient) = (0_usize, 0);
        for (slice, generation) in self.slices.range(first_live..) {
            let more = additions.get(slice).copied().unwrap_or(0);
            let (before, after) = (generation.table_bytes(), generation.table_bytes_with(more));
            transient = transient.max(if after > before { before } else { 0 });
            total = total.saturating_add(after).saturating_add(generation.index_bytes());
        }
        let new = additions.iter().filter(|(slice, _)| !self.slices.contains_key(slice));
        new.fold(total, |sum, (_, more)| sum.saturating_add(table_bytes::<N>(*more)))
            .saturating_add(transient)
    }

    /// Moves the largest table to disk, the newest slice's last because it grows on; false when there
    /// is no folder or nothing left to move.
    fn spill_largest(&mut self, horizon: StreamTime) -> Result<bool, SpillError> {
        let first_live = self.first_live(horizon);
        let newest = self.slices.last_key_value().map(|(slice, _)| *slice);
        let Some(folder) = &mut self.folder else { return Ok(false) };
        let largest = self
            .slices
            .range_mut(first_live..)
            .filter(|(_, generation)| generation.table_bytes() > 0)
            .max_by_key(|(slice, generation)| (Some(**slice) != newest, generation.table_bytes()));
        let Some((_, generation)) = largest else { return Ok(false) };
        generation.spill(folder)?;
        Ok(true)
    }

    /// The first slice that holds a time after `horizon`.
    fn first_live(&self, horizon: StreamTime) -> i64 {
        self.slice(StreamTime(horizon.0.saturating_add(1)))
    }

    fn slice(&self, time: StreamTime) -> i64 {
        time.0.div_euclid(self.width)
    }

    fn offset(&self, time: StreamTime) -> u64 {
        time.0.rem_euclid(self.width).unsigned_abs()
    }

    /// The inverse of [`Self::slice`] and [`Self::offset`]. The product may lie outside of `i64` where
    /// the sum does not, and wrapping twice arrives at the right sum.
    fn time(&self, slice: i64, offset: u64) -> StreamTime {
        StreamTime(slice.wrapping_mul(self.width).wrapping_add_unsigned(offset))
    }
}

/// A twelfth of the window, as far as offsets can tell the times of a slice apart.
fn slice_width(window: Span) -> i64 {
    (window.as_micros() / SLICES).clamp(1, OFFSET_LIMIT)
}

/// The leading bytes of a fingerprint.
fn key_of<const N: usize>(id: Fingerprint) -> [u8; N] {
    let bytes = id.to_be_bytes();
    std::array::from_fn(|place| bytes[place])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_the_same_after_being_cut_into_slices() {
        for window in
            [Span::default(), Span::millis(7), Span::seconds(3_600), Span::millis(u64::MAX)]
        {
            let generations = Generations::<16>::new(&WindowOptions::in_memory(window, 0));
            for time in [i64::MIN, i64::MIN + 1, -1, 0, 1, 1_780_000_000_000_000, i64::MAX] {
                let time = StreamTime(time);
                let (slice, offset) = (generations.slice(time), generations.offset(time));
                assert!(offset < OFFSET_LIMIT.unsigned_abs());
                assert_eq!(generations.time(slice, offset), time, "{window}");
            }
        }
    }
}
