//! The failures of one watch: how long to wait after each, and when it is well again.

use std::time::Duration;

use tokio::time::Instant;

/// The pauses between two tries of a watch that broke; the last one stays.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
];
/// How long a watch may fail before what it has seen counts as out of date.
const FAILS_FOR: Duration = Duration::from_secs(60);
/// A watch that has not failed for so long is well again: that it was begun says nothing by itself, and
/// a try takes less than this to fail.
const WELL_AFTER: Duration = Duration::from_secs(20);

/// The failures of a watch since it was last well.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    failures: usize,
    since: Option<Instant>,
    last: Option<Instant>,
    told: bool,
}

/// One failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    /// It was well before.
    pub(super) first: bool,
    /// It has failed for too long; told once.
    pub(super) lasts: bool,
    /// How long to wait before the next try.
    pub(super) pause: Duration,
}

impl Trouble {
    /// Notes a failure.
    pub(super) fn failed(&mut self, now: Instant) -> Fault {
        let since = *self.since.get_or_insert(now);
        let too_long = now.saturating_duration_since(since) >= FAILS_FOR;
        let fault = Fault {
            first: self.failures == 0,
            lasts: too_long && !self.told,
            pause: PAUSES[self.failures.min(PAUSES.len() - 1)],
        };
        self.told |= too_long;
        self.failures = self.failures.saturating_add(1);
        self.last = Some(now + fault.pause);
        fault
    }

    /// Forgets what there was, and tells whether there was any.
    pub(super) fn ended(&mut self) -> bool {
        std::mem::take(self).since.is_some()
    }

    /// Comes when it has not failed for long enough; never when it has not failed.
    pub(super) async fn passes(&self) {
        match self.last {
            Some(last) => tokio::time::sleep_until(last + WELL_AFTER).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_fails_for_a_minute_is_told_once_and_is_well_after_a_quiet_time() {
        let mut trouble = Trouble::default();
        let begun = Instant::now();
        let mut faults = Vec::new();
        while begun.elapsed() < FAILS_FOR * 2 {
            let fault = trouble.failed(Instant::now());
            faults.push((begun.elapsed(), fault));
            let next = Instant::now() + fault.pause;
            tokio::select! {
                () = trouble.passes() => panic!("it is not well while it fails"),
                () = tokio::time::sleep_until(next) => {}
            }
        }
        let told: Vec<_> = faults.iter().filter(|(_, fault)| fault.lasts).collect();
        assert!(matches!(&told[..], [(at, _)] if *at >= FAILS_FOR), "{told:?}");
        assert_eq!(faults.iter().filter(|(_, fault)| fault.first).count(), 1);
        let pauses: Vec<Duration> = faults.iter().take(5).map(|(_, fault)| fault.pause).collect();
        assert_eq!((&pauses[..4], pauses[4]), (&PAUSES[..], PAUSES[3]), "it does not begin anew");
        trouble.passes().await;
        assert!(trouble.ended() && !trouble.ended());
        assert!(trouble.failed(Instant::now()).first);
    }
}
