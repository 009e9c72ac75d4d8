//! What a backfill would do to each interval of a range, before anything is done.

use std::fmt;

use jiff::Timestamp;
use tidegate_config::WriteMode;
use tidegate_schedule::{Grid, MOST_INTERVALS, ScheduleError};
use tidegate_table::ledger::{IntervalKey, IntervalState, Intervals, RunState, conflict};
use tidegate_types::{DataInterval, Reason};

use super::claim::{covers, effect};
use super::due::DueRun;

/// Which intervals of a range are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reprocess {
    /// Those that the table does not hold.
    #[default]
    Missing,
    /// Those whose last run was begun and never committed; the table may hold rows of the run before.
    Failed,
    /// Every one.
    All,
}

/// Whether the last run of an interval was begun and never committed. Its rows of the run before, if there
/// are any, are still in the table.
#[must_use]
pub fn has_failed(known: &IntervalState) -> bool {
    known.state == RunState::Claimed
}

/// The intervals whose last run was begun and never committed, by start, unless others brought all of their
/// time. Every tick that shares time with one of them has failed, be it longer or shorter.
pub fn failed(log: &Intervals) -> impl Iterator<Item = (DataInterval, IntervalState)> {
    let held = DataInterval::merged(log.held());
    log.iter().filter(|(_, known)| has_failed(known)).filter_map(move |(key, known)| {
        let interval = key.interval()?;
        let is_over = known.held().is_none() && held.iter().any(|held| held.contains(interval));
        (!is_over).then_some((interval, known))
    })
}

/// What happens to an interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is run.
    Run {
        /// Though the table holds it: the run has to be told to do it again.
        again: bool,
    },
    /// It was not asked for; why.
    Skip(String),
    /// It was asked for and cannot be run.
    Refuse {
        /// Why.
        why: String,
        /// Whether it can once time has passed; otherwise somebody has to change something first.
        later: bool,
    },
}

/// One interval of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Which.
    pub interval: DataInterval,
    /// What the log holds of it, for people.
    pub state: String,
    /// What happens to it.
    pub verdict: Verdict,
}

/// What a backfill would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackfillPlan {
    /// The intervals of the range, oldest first.
    pub intervals: Vec<Planned>,
}

impl BackfillPlan {
    /// The runs that would be made, oldest first.
    pub fn runs(&self) -> impl Iterator<Item = DueRun> + '_ {
        self.intervals.iter().filter_map(|planned| match planned.verdict {
            Verdict::Run { again } => Some(DueRun { interval: planned.interval, again }),
            Verdict::Skip(_) | Verdict::Refuse { .. } => None,
        })
    }

    /// How many intervals were asked for and cannot be run: those that can `later`, or the others.
    #[must_use]
    pub fn refused(&self, later: bool) -> usize {
        let refused = |planned: &&Planned| match planned.verdict {
            Verdict::Refuse { later: once_time_has_passed, .. } => once_time_has_passed == later,
            Verdict::Run { .. } | Verdict::Skip(_) => false,
        };
        self.intervals.iter().filter(refused).count()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run { .. } => f.write_str("run"),
            Self::Skip(why) => write!(f, "skip: {why}"),
            Self::Refuse { why, .. } => write!(f, "refused: {why}"),
        }
    }
}

impl fmt::Display for BackfillPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Planned { interval, state, verdict } in &self.intervals {
            writeln!(f, "{interval}  {state:<12}  {verdict}")?;
        }
        write!(f, "{} of {} intervals to run", self.runs().count(), self.intervals.len())
    }
}

/// Plans a backfill of `range`, tick by tick. What has not ended at `now` is refused: rows of it may still
/// come.
///
/// # Errors
///
/// The reason and what to do, when the range does not lie on the grid or has too many ticks.
pub fn plan_backfill(
    grid: &Grid,
    range: DataInterval,
    reprocess: Reprocess,
    write_mode: WriteMode,
    log: &Intervals,
    now: Timestamp,
) -> Result<BackfillPlan, (Reason, String)> {
    let ticks = grid.split(range).map_err(|error| (reason_of(&error), error.to_string()))?;
    plan_each(ticks, reprocess, write_mode, log, now).ok_or_else(|| {
        let what =
            format!("{range} has more than {MOST_INTERVALS} intervals; fill it in several parts");
        (Reason::RunLimitReached, what)
    })
}

/// Plans a repair of `range`, which is one run.
#[must_use]
pub fn plan_repair(
    range: DataInterval,
    reprocess: Reprocess,
    log: &Intervals,
    now: Timestamp,
) -> BackfillPlan {
    let one = std::iter::once(range);
    let plan = plan_each(one, reprocess, WriteMode::ReplaceInterval, log, now);
    plan.unwrap_or(BackfillPlan { intervals: Vec::new() })
}

/// None when there are too many.
fn plan_each(
    each: impl Iterator<Item = DataInterval>,
    reprocess: Reprocess,
    write_mode: WriteMode,
    log: &Intervals,
    now: Timestamp,
) -> Option<BackfillPlan> {
    let failed: Vec<_> = failed(log).collect();
    let mut intervals = Vec::new();
    for interval in each {
        if intervals.len() == MOST_INTERVALS {
            return None;
        }
        let mut planned = plan_one(interval, reprocess, write_mode, (log, &failed));
        if interval.end() > now && matches!(planned.verdict, Verdict::Run { .. }) {
            let why = "it has not ended, so that rows of it may still come".to_owned();
            planned.verdict = Verdict::Refuse { why, later: true };
        }
        intervals.push(planned);
    }
    Some(BackfillPlan { intervals })
}

fn reason_of(error: &ScheduleError) -> Reason {
    match error {
        ScheduleError::NotAligned { .. } => Reason::IntervalNotAligned,
        _ => Reason::InvalidConfiguration,
    }
}

fn plan_one(
    interval: DataInterval,
    reprocess: Reprocess,
    write_mode: WriteMode,
    (log, failed): (&Intervals, &[(DataInterval, IntervalState)]),
) -> Planned {
    let key = IntervalKey::Of(interval);
    let held = log.get(key).and_then(|own| own.held());
    let covered = held.is_none() && covers(log.held(), interval);
    let mut overlapping = failed.iter().filter(|(failed, _)| failed.overlaps(interval));
    let begun = overlapping.next().map(|(_, begun)| begun);
    let state = match (held, begun) {
        (Some(_), Some(again)) => format!("done, then failed (g{})", again.generation),
        (Some(generation), None) => format!("done (g{generation})"),
        (None, _) if covered => "done in part of another".to_owned(),
        (None, Some(begun)) => format!("failed (g{})", begun.generation),
        (None, None) => "missing".to_owned(),
    };
    let skip = |why: &str| Verdict::Skip(why.to_owned());
    let verdict = match reprocess {
        Reprocess::Missing if held.is_some() || covered => skip("the table holds it"),
        Reprocess::Failed if begun.is_none() && (held.is_some() || covered) => {
            skip("the table holds it")
        }
        Reprocess::Failed if begun.is_none() => skip("it was never begun"),
        _ if held.is_some() && write_mode == WriteMode::Append => refuse(
            "the table holds it, and writeMode Append would add its rows once more".to_owned(),
        ),
        _ => match conflict(log, key, effect(write_mode)) {
            Err(conflict) => refuse(conflict.to_string()),
            Ok(_) => Verdict::Run { again: held.is_some() },
        },
    };
    Planned { interval, state, verdict }
}

fn refuse(why: String) -> Verdict {
    Verdict::Refuse { why, later: false }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use tidegate_table::log::Txns;
    use tidegate_types::Ledger;

    use super::*;
    use crate::decide::testing::hours;

    /// Hour 0 is done, 1 failed, 2 was done and failed when it was run again, 3 is missing.
    fn log() -> Intervals {
        let txns = Txns::from_iter([
            ("tidegate/l/i/0-3600", 4 + 2),
            ("tidegate/l/i/3600-7200", 4 * 3 + 1),
            ("tidegate/l/i/7200-10800", 4 * 2 + 1),
            ("tidegate/l/i/7200-10800/was", 1),
        ]);
        Intervals::read(&txns, &Ledger::new("l").unwrap()).unwrap()
    }

    fn plan(reprocess: Reprocess, write_mode: WriteMode) -> BackfillPlan {
        let grid = Grid::new("0 * * * *", "UTC").unwrap();
        plan_backfill(&grid, hours(0, 4), reprocess, write_mode, &log(), Timestamp::MAX).unwrap()
    }

    #[test]
    fn a_backfill_runs_what_it_was_asked_for() {
        use WriteMode::{Append, Overwrite, ReplaceInterval};
        for (reprocess, write_mode, expected) in [
            (Reprocess::Missing, ReplaceInterval, vec![1, 3]),
            (Reprocess::Failed, ReplaceInterval, vec![1, 2]),
            (Reprocess::All, ReplaceInterval, vec![0, 1, 2, 3]),
            (Reprocess::All, Overwrite, vec![0, 1, 2, 3]),
            (Reprocess::All, Append, vec![1, 3]),
            (Reprocess::Failed, Append, vec![1]),
        ] {
            let plan = plan(reprocess, write_mode);
            let starts: Vec<_> =
                plan.runs().map(|run| run.interval.start_second() / 3600).collect();
            assert_eq!(starts, expected, "{reprocess:?} {write_mode:?}\n{plan}");
            assert_eq!(plan.intervals.len(), 4, "the others are shown too");
        }
    }

    #[test]
    fn what_is_planned_is_what_a_run_of_it_does() {
        use super::super::claim::{ClaimDecision, ClaimFacts, decide_claim};
        for reprocess in [Reprocess::Missing, Reprocess::Failed, Reprocess::All] {
            for write_mode in [WriteMode::ReplaceInterval, WriteMode::Append] {
                for run in plan(reprocess, write_mode).runs() {
                    let decided = decide_claim(&ClaimFacts {
                        interval: Some(run.interval),
                        write_mode,
                        again: run.again,
                        of_its_time: false,
                        cursor: None,
                        run: 7,
                        log: &log(),
                    });
                    let claims = matches!(decided, ClaimDecision::Claim(_));
                    assert!(claims, "{reprocess:?} {write_mode:?} {run:?}: {decided:?}");
                }
            }
        }
    }

    #[test]
    fn what_was_asked_for_and_cannot_be_run_is_refused_and_not_left_out() {
        let append = plan(Reprocess::All, WriteMode::Append);
        assert_eq!((append.refused(false), append.refused(true)), (2, 0), "{append}");
        let missing = plan(Reprocess::Missing, WriteMode::Append);
        assert_eq!((missing.refused(false), missing.refused(true)), (0, 0), "{missing}");
        let grid = Grid::new("0 * * * *", "UTC").unwrap();
        let now = Timestamp::from_second(4 * 3600 - 1).unwrap();
        let mode = WriteMode::ReplaceInterval;
        let early =
            plan_backfill(&grid, hours(0, 4), Reprocess::Missing, mode, &log(), now).unwrap();
        assert_eq!((early.runs().count(), early.refused(true)), (1, 1), "{early}");
        assert!(early.to_string().contains("refused: it has not ended"), "{early}");
    }

    #[test]
    fn a_plan_says_of_each_interval_what_is_there_and_what_happens() {
        let text = plan(Reprocess::Missing, WriteMode::ReplaceInterval).to_string();
        for part in ["done (g1)", "failed (g3)", "done, then failed (g2)", "missing", "skip"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(text.ends_with("2 of 4 intervals to run"), "{text}");
    }

    #[test]
    fn every_tick_of_a_longer_run_that_failed_has_failed_until_others_bring_its_time() {
        let failed = |txns: &[(&'static str, i64)]| {
            let txns = Txns::from_iter(txns.iter().copied());
            let log = Intervals::read(&txns, &Ledger::new("l").unwrap()).unwrap();
            let grid = Grid::new("0 * * * *", "UTC").unwrap();
            let mode = WriteMode::ReplaceInterval;
            let failed = Reprocess::Failed;
            let plan = plan_backfill(&grid, hours(0, 3), failed, mode, &log, Timestamp::MAX);
            plan.unwrap().runs().map(|run| run.interval).collect::<Vec<_>>()
        };
        let begun = ("tidegate/l/i/0-7200", 4 + 1);
        let (first, second) = (("tidegate/l/i/0-3600", 4 + 2), ("tidegate/l/i/3600-7200", 4 + 2));
        assert_eq!(failed(&[begun]), [hours(0, 1), hours(1, 2)]);
        assert_eq!(failed(&[begun, first]), [hours(0, 1), hours(1, 2)]);
        assert_eq!(failed(&[begun, first, second]), []);
    }

    #[test]
    fn b3_an_interval_within_a_longer_one_that_is_done_is_not_run_by_itself() {
        let txns = Txns::from_iter([("tidegate/l/i/0-7200", 4 + 2)]);
        let log = Intervals::read(&txns, &Ledger::new("l").unwrap()).unwrap();
        let grid = Grid::new("0 * * * *", "UTC").unwrap();
        for reprocess in [Reprocess::Missing, Reprocess::Failed, Reprocess::All] {
            let mode = WriteMode::ReplaceInterval;
            let plan =
                plan_backfill(&grid, hours(0, 2), reprocess, mode, &log, Timestamp::MAX).unwrap();
            assert_eq!(plan.runs().count(), 0, "{reprocess:?}\n{plan}");
        }
    }

    #[test]
    fn b3_a_range_that_is_no_union_of_ticks_is_refused() {
        let grid = Grid::new("0 */2 * * *", "UTC").unwrap();
        let mode = WriteMode::ReplaceInterval;
        let (reason, what) =
            plan_backfill(&grid, hours(1, 4), Reprocess::Missing, mode, &log(), Timestamp::MAX)
                .unwrap_err();
        assert_eq!(reason, Reason::IntervalNotAligned);
        assert!(what.contains("1970-01-01T01:00:00Z"), "{what}");
        let endless =
            plan_backfill(&grid, hours(0, 200_000), Reprocess::All, mode, &log(), Timestamp::MAX);
        assert_eq!(endless.unwrap_err().0, Reason::RunLimitReached);
    }
}
