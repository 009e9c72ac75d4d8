//! How long to wait before what failed is tried again.

use std::time::Duration;

/// The first and the longest pause after a fault that may pass.
const TRANSIENT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// The same after one that somebody has to mend: it is tried all the same, since nobody tells the process
/// when it is done.
const PERMANENT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(120));
/// After a life as long as this the next fault is a new one.
const SOUND: Duration = Duration::from_secs(120);

/// Failures in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Restarts {
    count: u32,
    transient: bool,
}

impl Restarts {
    /// The pause after a life that `lasted` so long and ended with a fault; pauses double while faults of
    /// one kind follow one another.
    pub fn pause(&mut self, lasted: Duration, transient: bool) -> Duration {
        if lasted >= SOUND || transient != self.transient {
            self.count = 0;
        }
        let (first, longest) = if transient { TRANSIENT } else { PERMANENT };
        let pause = first.saturating_mul(1 << self.count.min(16)).min(longest);
        (self.count, self.transient) = (self.count.saturating_add(1), transient);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(restarts: &mut Restarts, transient: bool, lives: usize) -> Vec<u64> {
        (0..lives).map(|_| restarts.pause(Duration::ZERO, transient).as_secs()).collect()
    }

    #[test]
    fn pauses_grow_to_their_bound() {
        let mut restarts = Restarts::default();
        assert_eq!(pauses(&mut restarts, true, 7), [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(pauses(&mut Restarts::default(), false, 7), [5, 10, 20, 40, 80, 120, 120]);
        assert_eq!(pauses(&mut restarts, true, 100)[99], 30, "for ever");
    }

    #[test]
    fn another_kind_of_fault_begins_anew() {
        let mut restarts = Restarts::default();
        pauses(&mut restarts, true, 5);
        assert_eq!(pauses(&mut restarts, false, 2), [5, 10]);
        assert_eq!(pauses(&mut restarts, true, 2), [1, 2]);
    }

    #[test]
    fn a_long_life_is_forgiven() {
        let mut restarts = Restarts::default();
        pauses(&mut restarts, true, 5);
        assert_eq!(restarts.pause(SOUND, true), Duration::from_secs(1));
        assert_eq!(restarts.pause(SOUND / 2, true), Duration::from_secs(2));
    }
}
