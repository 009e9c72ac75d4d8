//! Which pipeline is reconciled next, and when.
//!
//! A pipeline stands in the queue at most once, at the earliest time that somebody asked for, and is
//! never reconciled twice at a time: what is asked for meanwhile comes right after. So the queue is no
//! longer than there are pipelines.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use crate::key::Key;

/// Changes of a pipeline's objects come in bursts; this is how long the first one waits for the rest.
pub(crate) const GATHER: Duration = Duration::from_millis(100);
/// The pause after the first failure; it doubles with every further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// When a pipeline is to be looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// When something happens to it.
    OnChange,
    /// At a known time.
    After(Duration),
    /// After a pause that grows with every failure in a row.
    AfterFailure,
}

impl Again {
    /// The earlier of both; a failure comes first, because it is tried again with growing pauses.
    pub(crate) fn sooner(self, other: Self) -> Self {
        match (self, other) {
            (Self::AfterFailure, _) | (_, Self::AfterFailure) => Self::AfterFailure,
            (Self::After(one), Self::After(other)) => Self::After(one.min(other)),
            (Self::OnChange, other) => other,
            (one, Self::OnChange) => one,
        }
    }
}

/// The queue. Shared by the watches, which fill it, and the driver, which empties it.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    schedule: Mutex<Schedule>,
    changed: Notify,
}

impl Queue {
    /// Asks for a reconcile at `at`, or earlier when somebody asked for that.
    pub(crate) fn add(&self, key: Key, at: Instant) {
        self.with(|schedule| schedule.add(key, at));
        self.changed.notify_one();
    }

    /// Forgets everything but `keys`, which are due now: the begin of a reign.
    pub(crate) fn restart(&self, keys: impl IntoIterator<Item = Key>, now: Instant) {
        self.with(|schedule| {
            *schedule = Schedule::default();
            keys.into_iter().for_each(|key| schedule.add(key, now));
        });
        self.changed.notify_one();
    }

    /// Waits for a pipeline that is due. It counts as running until [`Queue::done`].
    pub(crate) async fn next(&self) -> Key {
        loop {
            let (due, wake) = self.with(|schedule| {
                let due = schedule.take(Instant::now());
                (due, schedule.next_due())
            });
            if let Some(key) = due {
                return key;
            }
            tokio::select! {
                () = self.changed.notified() => {}
                () = sleep_until(wake) => {}
            }
        }
    }

    /// Ends a reconcile.
    pub(crate) fn done(&self, key: &Key, again: Again) {
        self.with(|schedule| schedule.done(key, again, Instant::now()));
        self.changed.notify_one();
    }

    /// Pipelines that are due and not being reconciled.
    pub(crate) fn depth(&self) -> usize {
        self.with(|schedule| schedule.depth(Instant::now()))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Schedule) -> T) -> T {
        act(&mut self.schedule.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The queue without its clock.
#[derive(Debug, Default)]
struct Schedule {
    order: BTreeSet<(Instant, Key)>,
    waiting: HashMap<Key, Instant>,
    /// With the time that was asked for meanwhile.
    running: HashMap<Key, Option<Instant>>,
    failures: HashMap<Key, u32>,
}

impl Schedule {
    fn add(&mut self, key: Key, at: Instant) {
        if let Some(asked) = self.running.get_mut(&key) {
            *asked = Some(asked.map_or(at, |before| before.min(at)));
            return;
        }
        match self.waiting.get(&key) {
            Some(before) if *before <= at => return,
            Some(before) => {
                self.order.remove(&(*before, key.clone()));
            }
            None => {}
        }
        self.order.insert((at, key.clone()));
        self.waiting.insert(key, at);
    }

    fn take(&mut self, now: Instant) -> Option<Key> {
        let (at, _) = self.order.first()?;
        if *at > now {
            return None;
        }
        let (_, key) = self.order.pop_first()?;
        self.waiting.remove(&key);
        self.running.insert(key.clone(), None);
        Some(key)
    }

    fn next_due(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    fn done(&mut self, key: &Key, again: Again, now: Instant) {
        // The end of a reconcile that a restart forgot says nothing.
        let Some(asked) = self.running.remove(key) else { return };
        let own = match again {
            Again::OnChange => None,
            Again::After(pause) => Some(now + pause),
            Again::AfterFailure => Some(now + self.pause_after_failure(key)),
        };
        if again != Again::AfterFailure {
            self.failures.remove(key);
        }
        if let Some(at) = [asked, own].into_iter().flatten().min() {
            self.add(key.clone(), at);
        }
    }

    fn pause_after_failure(&mut self, key: &Key) -> Duration {
        let failures = self.failures.entry(key.clone()).or_default();
        let pause = failure_pause(*failures);
        *failures = failures.saturating_add(1);
        spread(pause, key, *failures)
    }

    fn depth(&self, now: Instant) -> usize {
        self.order.iter().take_while(|(at, _)| *at <= now).count()
    }
}

fn failure_pause(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << failures.min(7)).min(LONGEST_PAUSE)
}

/// The pause by up to a fifth longer or shorter, so that pipelines that failed together do not come
/// back together. Derived from the key, so that nothing here is random.
pub(crate) fn spread(pause: Duration, key: &Key, salt: u32) -> Duration {
    let hash = xxh3_64(format!("{key}#{salt}").as_bytes());
    let share = f64::from(u32::try_from(hash >> 32).unwrap_or(0)) / f64::from(u32::MAX);
    pause.mul_f64(0.8 + 0.4 * share)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(name: &str) -> Key {
        Key::new("ns", name)
    }

    #[test]
    fn of_two_looks_the_earlier_one_counts_and_a_failure_before_both() {
        let after = |seconds| Again::After(Duration::from_secs(seconds));
        for (one, other, wanted) in [
            (Again::OnChange, Again::OnChange, Again::OnChange),
            (Again::OnChange, after(3), after(3)),
            (after(3), after(2), after(2)),
            (after(1), Again::AfterFailure, Again::AfterFailure),
        ] {
            assert_eq!((one.sooner(other), other.sooner(one)), (wanted, wanted));
        }
    }

    #[test]
    fn the_earliest_wish_counts_and_a_pipeline_stands_there_once() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut schedule = Schedule::default();
        schedule.add(key("a"), now + second * 10);
        schedule.add(key("a"), now + second);
        schedule.add(key("a"), now + second * 5);
        assert_eq!(schedule.take(now), None);
        assert_eq!(schedule.next_due(), Some(now + second));
        assert_eq!(schedule.take(now + second), Some(key("a")));
        assert_eq!(schedule.next_due(), None);
    }

    #[test]
    fn what_is_asked_for_during_a_reconcile_comes_after_it() {
        let now = Instant::now();
        let mut schedule = Schedule::default();
        schedule.add(key("a"), now);
        assert_eq!(schedule.take(now), Some(key("a")));
        schedule.add(key("a"), now);
        assert_eq!(schedule.take(now), None, "never twice at a time");
        schedule.done(&key("a"), Again::OnChange, now);
        assert_eq!(schedule.take(now), Some(key("a")));
        schedule.done(&key("a"), Again::OnChange, now);
        assert_eq!(schedule.next_due(), None);
    }

    #[test]
    fn pauses_grow_with_failures_in_a_row_up_to_their_limit() {
        let now = Instant::now();
        let mut schedule = Schedule::default();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            schedule.add(key("a"), now);
            schedule.take(now);
            schedule.done(&key("a"), Again::AfterFailure, now);
            let due = schedule.next_due().expect("it comes again");
            pauses.push(due - now);
        }
        for (index, pause) in pauses.iter().enumerate() {
            let plain = failure_pause(u32::try_from(index).expect("small"));
            assert!(*pause >= plain.mul_f64(0.79) && *pause <= plain.mul_f64(1.21), "{pauses:?}");
        }
        schedule.add(key("a"), now);
        schedule.take(now);
        schedule.done(&key("a"), Again::After(LONGEST_PAUSE), now);
        assert!(schedule.failures.is_empty(), "a success forgets them");
    }

    #[test]
    fn the_end_of_a_forgotten_reconcile_changes_nothing() {
        let queue = Queue::default();
        let now = Instant::now();
        queue.add(key("a"), now);
        queue.with(|schedule| schedule.take(now));
        queue.restart([key("b")], now);
        queue.done(&key("a"), Again::After(Duration::ZERO));
        assert_eq!(queue.with(|schedule| schedule.waiting.len()), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_when_something_is_due() {
        let queue = Queue::default();
        queue.add(key("later"), Instant::now() + Duration::from_secs(60));
        queue.add(key("soon"), Instant::now() + Duration::from_secs(1));
        assert_eq!(queue.next().await, key("soon"));
        assert_eq!(queue.next().await, key("later"));
        assert_eq!(queue.depth(), 0);
    }

    proptest! {
        #[test]
        fn no_wish_is_lost_and_nothing_runs_twice_at_a_time(
            steps in proptest::collection::vec((0u8..3, 0u8..4), 1..200)
        ) {
            let now = Instant::now();
            let mut schedule = Schedule::default();
            let mut running = Vec::new();
            for (what, which) in steps {
                let name = key(&which.to_string());
                match what {
                    0 => schedule.add(name.clone(), now),
                    1 => if let Some(taken) = schedule.take(now) {
                        prop_assert!(!running.contains(&taken));
                        running.push(taken);
                    },
                    _ => if let Some(done) = running.pop() {
                        schedule.done(&done, Again::OnChange, now);
                    },
                }
                if what == 0 {
                    let known = schedule.waiting.contains_key(&name)
                        || schedule.running.get(&name).is_some_and(Option::is_some);
                    prop_assert!(known);
                }
                prop_assert_eq!(schedule.order.len(), schedule.waiting.len());
            }
        }
    }
}
