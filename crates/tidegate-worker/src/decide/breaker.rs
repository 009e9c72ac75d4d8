//! The breaker: stop when too many records are dead, instead of draining the stream into dead letters.

use std::collections::VecDeque;
use std::time::Duration;

/// Fewer records than this say nothing about a share.
const MIN_RECORDS: u64 = 100;
/// The window is kept in this many slices.
const SLICES: u32 = 30;

/// Counts dead records over a sliding time.
#[derive(Debug)]
pub struct Breaker {
    max_percent: u32,
    slice: Duration,
    /// (start of slice, records, dead)
    slices: VecDeque<(Duration, u64, u64)>,
}

impl Breaker {
    /// A breaker that opens when more than `max_percent` of the records of the last `over` were dead.
    #[must_use]
    pub fn new(max_percent: u32, over: Duration) -> Self {
        let slice = (over / SLICES).max(Duration::from_millis(1));
        Self { max_percent, slice, slices: VecDeque::new() }
    }

    /// Counts `records` of which `dead` were dead at `now` (since any fixed moment), and answers the
    /// share in percent when the breaker opens.
    pub fn record(&mut self, now: Duration, records: u64, dead: u64) -> Option<u32> {
        while self.slices.front().is_some_and(|(start, ..)| *start + self.slice * SLICES < now) {
            self.slices.pop_front();
        }
        match self.slices.back_mut() {
            Some((start, all, bad)) if now < *start + self.slice => {
                *all += records;
                *bad += dead;
            }
            _ => self.slices.push_back((now, records, dead)),
        }
        self.open()
    }

    fn open(&self) -> Option<u32> {
        let (all, dead) = self.slices.iter().fold((0_u64, 0_u64), |(all, dead), slice| {
            (all.saturating_add(slice.1), dead.saturating_add(slice.2))
        });
        let too_many = u128::from(dead) * 100 > u128::from(all) * u128::from(self.max_percent);
        let percent = u32::try_from(u128::from(dead) * 100 / u128::from(all.max(1)));
        (all >= MIN_RECORDS && too_many).then(|| percent.unwrap_or(100))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVER: Duration = Duration::from_secs(300);

    #[test]
    fn the_breaker_opens_above_the_share_and_not_at_it() {
        let mut breaker = Breaker::new(5, OVER);
        assert_eq!(breaker.record(Duration::ZERO, 1_000, 50), None);
        assert_eq!(breaker.record(Duration::ZERO, 0, 1), Some(5));
    }

    #[test]
    fn a_handful_of_records_does_not_open_it() {
        assert_eq!(Breaker::new(5, OVER).record(Duration::ZERO, 99, 99), None);
    }

    #[test]
    fn old_records_are_forgotten() {
        let mut breaker = Breaker::new(5, OVER);
        assert_eq!(breaker.record(Duration::ZERO, 100, 5), None);
        assert_eq!(breaker.record(Duration::from_secs(400), 100, 5), None);
        assert_eq!(breaker.record(Duration::from_secs(401), 100, 50), Some(27));
        assert!(breaker.slices.len() <= SLICES as usize + 1);
    }
}
