//! What a schedule owes at a moment.

use jiff::{SignedDuration, Timestamp};
use tidegate_schedule::{CatchUp, Grid, Since, due, known_since, origin};
use tidegate_types::DataInterval;

/// Everything the decision rests on.
#[derive(Debug, Clone, Copy)]
pub struct DueRunsFacts<'a> {
    /// The ticks.
    pub grid: &'a Grid,
    /// What happens to ticks that went by unseen.
    pub catch_up: CatchUp,
    /// No interval begins before it.
    pub start_at: Option<Timestamp>,
    /// When the pipeline was first there; none: nobody knows, and its log tells,
    /// or else the newest tick is the first one.
    pub created: Option<Timestamp>,
    /// How long after its tick an interval is due, in seconds.
    pub delay_seconds: i64,
    /// How many intervals before the newest are run again with it.
    pub rerun_last: u32,
    /// What the log holds, in any order.
    pub done: &'a [DataInterval],
    /// What was ever begun, done or not, in any order: it tells since when the log knows the pipeline.
    pub begun: &'a [DataInterval],
    /// The moment.
    pub now: Timestamp,
    /// Most intervals to answer.
    pub limit: usize,
}

/// A run that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueRun {
    /// Of which interval.
    pub interval: DataInterval,
    /// Whether it is done already and done again.
    pub again: bool,
}

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DueRuns {
    /// Runs to make now, oldest first.
    pub now: Vec<DueRun>,
    /// When to look again; none when the schedule has no further tick.
    pub next: Option<Timestamp>,
}

/// Decides what is due.
#[must_use]
pub fn decide_due(facts: &DueRunsFacts<'_>) -> DueRuns {
    // Where nobody knows since when it is there.
    let newest = || newest_tick(facts).unwrap_or(facts.now);
    let since = Since {
        policy: facts.catch_up,
        start_at: facts.start_at,
        created: facts.created.unwrap_or_else(newest),
        oldest: None,
    };
    let oldest = known_since(facts.done, facts.begun, origin(facts.grid, &since));
    let owed = due(&tidegate_schedule::DueFacts {
        grid: facts.grid,
        since: Since { oldest, ..since },
        delay_seconds: facts.delay_seconds,
        done: facts.done,
        now: facts.now,
        limit: facts.limit,
    });
    let reruns = reruns(facts, &owed.now);
    let first = |interval| DueRun { interval, again: false };
    // Before the newest: once that is done nothing would ask for them any more.
    let mut now: Vec<_> = owed.now.into_iter().map(first).collect();
    let newest = now.pop();
    now.extend(reruns);
    now.extend(newest);
    DueRuns { now, next: owed.next }
}

/// The newest tick whose interval is due.
fn newest_tick(facts: &DueRunsFacts<'_>) -> Option<Timestamp> {
    let ready = facts.now.checked_sub(SignedDuration::from_secs(facts.delay_seconds)).ok()?;
    facts.grid.tick_at_or_before(ready)
}

/// The intervals before the newest that are done again with it, oldest first.
fn reruns(facts: &DueRunsFacts<'_>, owed: &[DataInterval]) -> Vec<DueRun> {
    let Some(newest) = owed.last().filter(|last| Some(last.end()) == newest_tick(facts)) else {
        return Vec::new();
    };
    let mut again = Vec::new();
    let mut tick = newest.start();
    for _ in 0..facts.rerun_last {
        let Ok(interval) = facts.grid.interval_ending(tick) else { break };
        if facts.done.iter().any(|done| done.contains(interval)) {
            again.push(DueRun { interval, again: true });
        }
        tick = interval.start();
    }
    again.reverse();
    again
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: i64) -> Timestamp {
        Timestamp::from_second(hour * 3600).unwrap()
    }

    fn hour(start: i64) -> DataInterval {
        DataInterval::new(at(start), at(start + 1)).unwrap()
    }

    fn decide(done: &[DataInterval], change: impl FnOnce(&mut DueRunsFacts<'_>)) -> DueRuns {
        decide_of(done, &[], change)
    }

    fn decide_of(
        done: &[DataInterval],
        begun: &[DataInterval],
        change: impl FnOnce(&mut DueRunsFacts<'_>),
    ) -> DueRuns {
        let grid = Grid::new("0 * * * *", "UTC").unwrap();
        let mut facts = DueRunsFacts {
            grid: &grid,
            catch_up: CatchUp::All,
            start_at: None,
            created: None,
            delay_seconds: 0,
            rerun_last: 0,
            done,
            begun,
            now: at(100),
            limit: 10,
        };
        change(&mut facts);
        decide_due(&facts)
    }

    fn intervals(runs: &DueRuns) -> Vec<DataInterval> {
        runs.now.iter().map(|run| run.interval).collect()
    }

    #[test]
    fn a_pipeline_of_which_nothing_is_known_begins_with_the_newest_tick() {
        let due = decide(&[], |_| {});
        assert_eq!(intervals(&due), [hour(99)]);
        assert_eq!(due.next, Some(at(101)));
        let due = decide(&[], |facts| facts.delay_seconds = 60);
        assert_eq!(intervals(&due), [hour(98)], "the newest one is not due yet");
    }

    #[test]
    fn b1_the_oldest_interval_in_the_log_says_since_when_a_pipeline_is_there() {
        let done = [hour(95), hour(97)];
        let due = decide(&done, |_| {});
        assert_eq!(intervals(&due), [hour(96), hour(98), hour(99)], "holes are filled");
    }

    #[test]
    fn what_failed_is_due_before_anything_is_done_just_as_it_is_afterwards() {
        let begun: Vec<_> = (95..99).map(hour).collect();
        let before = decide_of(&[], &begun, |_| {});
        assert_eq!(intervals(&before), (95..100).map(hour).collect::<Vec<_>>(), "the oldest first");
        let mut left = intervals(&before);
        left.pop();
        let after = decide_of(&[hour(99)], &begun, |_| {});
        assert_eq!(intervals(&after), left, "what a plan said is what a run goes on with");
    }

    #[test]
    fn the_last_intervals_are_run_again_before_the_newest_is() {
        let done: Vec<_> = (90..99).map(hour).collect();
        let due = decide(&done, |facts| {
            facts.rerun_last = 2;
        });
        let expected = [
            DueRun { interval: hour(97), again: true },
            DueRun { interval: hour(98), again: true },
            DueRun { interval: hour(99), again: false },
        ];
        assert_eq!(due.now, expected);
        // What was never done is owed anyway, and is not done twice.
        let due = decide(&done[..8], |facts| {
            facts.rerun_last = 2;
        });
        let expected = [
            DueRun { interval: hour(98), again: false },
            DueRun { interval: hour(97), again: true },
            DueRun { interval: hour(99), again: false },
        ];
        assert_eq!(due.now, expected);
        // While the past is caught up with, nothing is done again.
        let due = decide(&done[..2], |facts| {
            facts.rerun_last = 2;
            facts.limit = 3;
        });
        assert!(due.now.iter().all(|run| !run.again), "{due:?}");
    }

    #[test]
    fn nothing_is_due_when_all_is_done() {
        let done: Vec<_> = (90..100).map(hour).collect();
        let due = decide(&done, |facts| {
            facts.rerun_last = 3;
        });
        assert_eq!((due.now, due.next), (vec![], Some(at(101))));
    }
}
