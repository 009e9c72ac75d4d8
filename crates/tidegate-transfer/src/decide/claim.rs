//! Whether a run may begin (B1, B2, B3).

use std::collections::BTreeMap;

use tidegate_config::WriteMode;
use tidegate_table::ledger::{Claim, Effect, IntervalKey, IntervalState, Intervals, conflict};
use tidegate_types::{DataInterval, Explained, Reason};

use super::cursor::{is_of_other, not_again_in_words, other_in_words, other_neighbour};

/// Everything the decision rests on.
#[derive(Debug, Clone, Copy)]
pub struct ClaimFacts<'a> {
    /// What the run is about; none: everything.
    pub interval: Option<DataInterval>,
    /// What its commit will do to rows that are there.
    pub write_mode: WriteMode,
    /// Whether an interval that is done is done again.
    pub again: bool,
    /// Whether the rows are those of files named for the interval, and nobody asked for them though there are
    /// newer ones.
    pub of_its_time: bool,
    /// What the interval's bounds mean at the database (B7), where no person vouches that those of its
    /// neighbours meant the same.
    pub cursor: Option<u64>,
    /// The run's mark: attempts of one run have the same.
    pub run: u64,
    /// What the log holds of the ledger.
    pub log: &'a Intervals,
}

/// What a run claims, and what must not change until its commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunClaim {
    /// Interval and generation.
    pub claim: Claim,
    /// The generations of the done intervals within.
    pub within: BTreeMap<DataInterval, u64>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimDecision {
    /// Nothing: the log holds it, as this generation.
    AlreadyComplete {
        /// Of the rows in the table; none when several intervals make it up.
        generation: Option<u64>,
        /// How come, for people.
        what: String,
    },
    /// Nothing: it must not be done.
    Refuse {
        /// The word for it.
        reason: Reason,
        /// Why, and what to do.
        what: String,
    },
    /// Claim it.
    Claim(RunClaim),
}

/// Decides whether a run may begin.
#[must_use]
pub fn decide_claim(facts: &ClaimFacts<'_>) -> ClaimDecision {
    let key = facts.interval.map_or(IntervalKey::All, IntervalKey::Of);
    if let Some((generation, what)) = complete(facts, facts.log.get(key)) {
        return ClaimDecision::AlreadyComplete { generation, what };
    }
    let effect = effect(facts.write_mode);
    if let Some(what) = older_than_the_table(facts) {
        return ClaimDecision::Refuse { reason: Reason::IntervalConflict, what };
    }
    let contained = match conflict(facts.log, key, effect) {
        Ok(contained) => contained,
        Err(conflict) => {
            return ClaimDecision::Refuse { reason: conflict.reason(), what: conflict.to_string() };
        }
    };
    if let Some(what) = means_something_else(facts) {
        return ClaimDecision::Refuse { reason: Reason::InvalidConfiguration, what };
    }
    let within = held_within(facts.log, &contained);
    let claim = Claim::next(facts.log, key, effect);
    ClaimDecision::Claim(RunClaim { claim, within })
}

/// Why the files' rows must not take the place of everything: the table has those of newer files.
fn older_than_the_table(facts: &ClaimFacts<'_>) -> Option<String> {
    let own = facts.interval.filter(|_| facts.of_its_time)?;
    if facts.write_mode != WriteMode::Overwrite {
        return None;
    }
    let newer = facts.log.held().find(|held| held.start() >= own.end())?;
    Some(format!(
        "the table holds the newer files of {newer}, which those of {own} would replace; run it with \
         trigger Manual if that is wanted"
    ))
}

/// Why rows may be in no interval or in two: the bounds of those beside meant something else.
fn means_something_else(facts: &ClaimFacts<'_>) -> Option<String> {
    let (own, mark) = (facts.interval?, facts.cursor?);
    // What replaces everything has no neighbours.
    if facts.write_mode == WriteMode::Overwrite {
        return None;
    }
    if facts.again {
        return is_of_other(facts.log, mark, own).then(|| not_again_in_words(own));
    }
    let other = other_neighbour(facts.log, mark, Some(own))?;
    Some(other_in_words(other, Some(own), facts.write_mode))
}

/// What a commit does to rows that are there, in the words of the log.
pub(crate) fn effect(write_mode: WriteMode) -> Effect {
    match write_mode {
        WriteMode::Append => Effect::Append,
        WriteMode::ReplaceInterval => Effect::ReplaceInterval,
        WriteMode::Overwrite => Effect::Overwrite,
    }
}

/// What a run is of, for people.
pub(crate) fn named(key: IntervalKey) -> String {
    match key {
        IntervalKey::Of(interval) => format!("interval {interval}"),
        IntervalKey::All => "the load of everything".to_owned(),
    }
}

/// Of intervals within another those that have rows in the table, with their generations.
pub(crate) fn held_within(
    log: &Intervals,
    contained: &[DataInterval],
) -> BTreeMap<DataInterval, u64> {
    let held = |inner: &DataInterval| {
        let generation = log.get(IntervalKey::Of(*inner))?.held()?;
        Some((*inner, generation))
    };
    contained.iter().filter_map(held).collect()
}

/// The generation and an explanation, when there is nothing to do.
fn complete(facts: &ClaimFacts<'_>, own: Option<IntervalState>) -> Option<(Option<u64>, String)> {
    let held = own.and_then(|own| own.held());
    if let Some(own) = own.filter(|own| own.state.is_done() && own.run == Some(facts.run)) {
        let what = "an earlier attempt of this run committed it".to_owned();
        return Some((Some(own.generation), what));
    }
    let interval = facts.interval?;
    if held.is_some() && !facts.again {
        return Some((held, "the table holds it".to_owned()));
    }
    if held.is_some() && facts.write_mode == WriteMode::Append {
        let what = "the table holds it, and writeMode Append would add its rows once more; with \
                    writeMode ReplaceInterval it can be run again";
        return Some((held, what.to_owned()));
    }
    let covered = !facts.again && covers(facts.log.held(), interval);
    covered.then(|| (None, "the table holds it as part of other intervals".to_owned()))
}

/// Whether intervals, together, cover all of `interval`.
pub(crate) fn covers(
    intervals: impl Iterator<Item = DataInterval>,
    interval: DataInterval,
) -> bool {
    let mut touching: Vec<_> = intervals.filter(|other| other.overlaps(interval)).collect();
    touching.sort_unstable();
    let mut reached = interval.start_second();
    for other in touching {
        if other.start_second() > reached {
            return false;
        }
        reached = reached.max(other.end_second());
    }
    reached >= interval.end_second()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decide::testing::{hours, log};

    /// The word for what becomes of the first hour.
    fn decide(txns: &[(&str, i64)], write_mode: WriteMode, again: bool) -> String {
        let interval = Some(hours(0, 1));
        let log = log(txns);
        let facts = ClaimFacts {
            interval,
            write_mode,
            again,
            of_its_time: false,
            cursor: None,
            run: 7,
            log: &log,
        };
        match decide_claim(&facts) {
            ClaimDecision::AlreadyComplete { generation: Some(g), .. } => format!("held as {g}"),
            ClaimDecision::AlreadyComplete { generation: None, .. } => "held".to_owned(),
            ClaimDecision::Refuse { reason, .. } => reason.to_string(),
            ClaimDecision::Claim(claim) => format!("claim {}", claim.claim.generation),
        }
    }

    #[test]
    fn b2_files_of_a_time_do_not_take_the_place_of_newer_ones_unless_a_person_asks() {
        let newer = log(&[("3600-7200", 4 * 2 + 2)]);
        let facts = ClaimFacts {
            interval: Some(hours(0, 1)),
            write_mode: WriteMode::Overwrite,
            again: false,
            of_its_time: true,
            cursor: None,
            run: 7,
            log: &newer,
        };
        let refused = |facts: &ClaimFacts<'_>| match decide_claim(facts) {
            ClaimDecision::Refuse { reason, .. } => Some(reason),
            _ => None,
        };
        assert_eq!(refused(&facts), Some(Reason::IntervalConflict));
        assert_eq!(refused(&ClaimFacts { of_its_time: false, ..facts }), None);
        assert_eq!(refused(&ClaimFacts { write_mode: WriteMode::ReplaceInterval, ..facts }), None);
        let later = Some(hours(2, 3));
        assert_eq!(refused(&ClaimFacts { interval: later, ..facts }), None);
        // What the log holds is held, whatever came after it.
        let both = log(&[("0-3600", 4 + 2), ("3600-7200", 4 * 2 + 2)]);
        let held = decide_claim(&ClaimFacts { log: &both, ..facts });
        assert!(matches!(held, ClaimDecision::AlreadyComplete { .. }), "{held:?}");
    }

    #[test]
    fn b7_bounds_that_mean_something_else_than_those_beside_are_refused_where_nobody_asked() {
        use WriteMode::{Append, Overwrite, ReplaceInterval};
        let first = log(&[("0-3600", 4 + 2), ("0-3600/cursor", 5)]);
        let (own, next) = (Some(hours(0, 1)), Some(hours(1, 2)));
        for (name, interval, write_mode, again, cursor, refused) in [
            ("the next one", next, ReplaceInterval, false, Some(6), true),
            ("appended", next, Append, false, Some(6), true),
            ("the same meaning", next, ReplaceInterval, false, Some(5), false),
            ("a person asks", next, ReplaceInterval, false, None, false),
            ("it replaces everything", next, Overwrite, false, Some(6), false),
            ("done again by itself", own, ReplaceInterval, true, Some(6), true),
            ("done again by a person", own, ReplaceInterval, true, None, false),
            ("done again, the same meaning", own, ReplaceInterval, true, Some(5), false),
            ("it is done", own, ReplaceInterval, false, Some(6), false),
        ] {
            let facts = ClaimFacts {
                interval,
                write_mode,
                again,
                of_its_time: false,
                cursor,
                run: 7,
                log: &first,
            };
            let decided = decide_claim(&facts);
            let refusal = match &decided {
                ClaimDecision::Refuse { reason, what } => {
                    Some((*reason, what.contains("timeZone")))
                }
                _ => None,
            };
            let expected = refused.then_some((Reason::InvalidConfiguration, true));
            assert_eq!(refusal, expected, "{name}: {decided:?}");
        }
    }

    #[test]
    fn b1_b2_b3_the_log_decides_whether_a_run_may_begin() {
        use WriteMode::{Append, Overwrite, ReplaceInterval};
        const DONE: (&str, i64) = ("0-3600", 4 * 2 + 2);
        const EMPTY: (&str, i64) = ("0-3600", 4 * 2 + 3);
        const BEGUN: (&str, i64) = ("0-3600", 4 * 2 + 1);
        const AGAIN: [(&str, i64); 2] = [("0-3600", 4 * 3 + 1), ("0-3600/was", 2)];
        const SUPERSEDED: [(&str, i64); 2] = [("0-3600", 4 * 2), ("0-7200", 4 + 2)];
        for (name, txns, mode, again, expected) in [
            ("nothing is known", vec![], ReplaceInterval, false, "claim 1"),
            ("begun before", vec![BEGUN], ReplaceInterval, false, "claim 3"),
            ("done", vec![DONE], ReplaceInterval, false, "held as 2"),
            ("done, and asked for again", vec![DONE], ReplaceInterval, true, "claim 3"),
            ("done without rows", vec![EMPTY], ReplaceInterval, false, "held as 2"),
            ("done, and a rerun failed", AGAIN.to_vec(), ReplaceInterval, false, "held as 2"),
            ("the same, asked for again", AGAIN.to_vec(), ReplaceInterval, true, "claim 4"),
            ("done, and appending", vec![DONE], Append, true, "held as 2"),
            ("a rerun failed, and appending", AGAIN.to_vec(), Append, true, "held as 2"),
            (
                "by an earlier attempt",
                vec![DONE, ("0-3600/run", 7)],
                ReplaceInterval,
                true,
                "held as 2",
            ),
            ("by another run", vec![DONE, ("0-3600/run", 8)], ReplaceInterval, true, "claim 3"),
            ("within another", SUPERSEDED.to_vec(), ReplaceInterval, false, "held"),
            (
                "the same, asked for again",
                SUPERSEDED.to_vec(),
                ReplaceInterval,
                true,
                "IntervalConflict",
            ),
            ("the same, overwriting", vec![("all", 4 * 9 + 2)], Overwrite, false, "claim 10"),
            (
                "beside a load of everything",
                vec![("all", 4 + 2)],
                ReplaceInterval,
                true,
                "IntervalConflict",
            ),
        ] {
            assert_eq!(decide(&txns, mode, again), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn intervals_cover_what_each_of_its_hours_is_in(
            done in prop::collection::vec((0_i64..12, 1_i64..5), 0..6),
            start in 0_i64..12,
            length in 1_i64..5,
        ) {
            let intervals = || done.iter().map(|(start, length)| hours(*start, start + length));
            let within = |hour| intervals().any(|other| other.contains(hours(hour, hour + 1)));
            let expected = (start..start + length).all(within);
            prop_assert_eq!(covers(intervals(), hours(start, start + length)), expected);
        }
    }
}
