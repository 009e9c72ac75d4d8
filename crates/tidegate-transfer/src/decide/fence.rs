//! Whether a run's commit is still valid on the snapshot that it would extend (B2, B3, P8).
//!
//! The check runs before every attempt to commit, retries included. Streaming commits and runs of other
//! intervals in between do not matter.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_table::ledger::{Intervals, LedgerState, check_overwrite, conflict};
use tidegate_table::log::MAX_BASE_AGE;
use tidegate_types::{DataInterval, Explained, Ledger, Reason};

use super::claim::{RunClaim, held_within, named};

/// Files older than this are written anew, never committed (P8): a collector may be after them.
const MAX_FILE_AGE: Duration = Duration::from_secs(24 * 3600);

/// A plan that took longer is made once more on a newer snapshot, so that the commit's base is young enough
/// when it is put. The second is short: what was read and written for the first is known.
const MAX_PLAN_AGE: Duration = Duration::from_secs(300);

/// Whether what leaves the table is to be planned anew on a newer snapshot; `base_age` is the age of the one
/// that the plan was made on, now that it is there.
#[must_use]
pub fn plans_again(base_age: Duration) -> bool {
    base_age > MAX_PLAN_AGE
}

/// Everything the decision rests on.
#[derive(Debug, Clone, Copy)]
pub struct FenceFacts<'a> {
    /// What this attempt claimed.
    pub claim: &'a RunClaim,
    /// What the log holds of the ledger in the snapshot.
    pub log: &'a Intervals,
    /// Whose the run is.
    pub ledger: &'a Ledger,
    /// What the snapshot holds of streams.
    pub state: &'a LedgerState,
    /// How old the snapshot is, suspends included.
    pub base_age: Duration,
    /// How long ago the first file was begun, suspends included.
    pub files_age: Duration,
    /// The table's identity when the run claimed.
    pub table_id: &'a str,
    /// The table's identity in the snapshot.
    pub table_id_now: &'a str,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FenceDecision {
    /// Commit.
    Commit,
    /// Read the log again first; the snapshot is too old.
    Refresh,
    /// The attempt is void.
    Refuse {
        /// The word for it.
        reason: Reason,
        /// Whether another attempt may do.
        retry: bool,
        /// Why.
        what: String,
    },
}

/// Decides whether the attempt may be committed on the snapshot.
#[must_use]
pub fn decide_fence(facts: &FenceFacts<'_>) -> FenceDecision {
    let refuse = |reason, retry, what| FenceDecision::Refuse { reason, retry, what };
    if facts.table_id != facts.table_id_now {
        let (before, now) = (facts.table_id, facts.table_id_now);
        let what = format!("the table's identity changed from {before} to {now} during the run");
        return refuse(Reason::TableRewound, false, what);
    }
    if facts.base_age > MAX_BASE_AGE {
        return FenceDecision::Refresh;
    }
    if facts.files_age > MAX_FILE_AGE {
        let what =
            "the attempt took more than a day; its first files may be gone by now".to_owned();
        return refuse(Reason::BaseTooOld, true, what);
    }
    let claim = facts.claim.claim;
    if !claim.is_held(facts.log) {
        let (mine, newest) = (claim.generation, claim.newest_generation(facts.log));
        let what = format!(
            "this attempt is generation {mine} of {}, of which the log holds generation {newest} by now",
            named(claim.key)
        );
        return refuse(Reason::GenerationLost, true, what);
    }
    if let Err(beside) = check_overwrite(facts.ledger, facts.state, claim.effect) {
        return refuse(beside.reason(), false, beside.to_string());
    }
    match conflict(facts.log, claim.key, claim.effect) {
        Err(conflict) => refuse(conflict.reason(), false, conflict.to_string()),
        // What was committed since the claim is newer than what this attempt read.
        Ok(contained) => match changed(facts, &held_within(facts.log, &contained)) {
            Some(what) => refuse(Reason::GenerationLost, true, what),
            None => FenceDecision::Commit,
        },
    }
}

fn changed(facts: &FenceFacts<'_>, now: &BTreeMap<DataInterval, u64>) -> Option<String> {
    let before = &facts.claim.within;
    let (interval, generation) =
        now.iter().find(|(interval, generation)| before.get(interval) != Some(generation))?;
    let whole = named(facts.claim.claim.key);
    Some(format!(
        "{interval}, within {whole}, was loaded as generation {generation} after this attempt had begun"
    ))
}

#[cfg(test)]
mod tests {
    use tidegate_table::ledger::{Claim, Effect, IntervalKey};

    use super::*;
    use crate::decide::testing::{hours, log};

    /// What becomes of generation 2 of the first two hours, where hour 0 was done as generation 1 when it
    /// was claimed.
    fn decide(
        txns: &[(&str, i64)],
        change: impl FnOnce(&mut FenceFacts<'_>),
    ) -> Result<(), (Reason, bool)> {
        let claim = RunClaim {
            claim: Claim {
                key: IntervalKey::Of(hours(0, 2)),
                effect: Effect::ReplaceInterval,
                generation: 2,
            },
            within: BTreeMap::from([(hours(0, 1), 1)]),
        };
        let (log, ledger) = (log(txns), Ledger::new("l").unwrap());
        let state = LedgerState::default();
        let mut facts = FenceFacts {
            claim: &claim,
            log: &log,
            ledger: &ledger,
            state: &state,
            base_age: Duration::ZERO,
            files_age: Duration::ZERO,
            table_id: "t",
            table_id_now: "t",
        };
        change(&mut facts);
        match decide_fence(&facts) {
            FenceDecision::Commit => Ok(()),
            FenceDecision::Refresh => Err((Reason::BaseTooOld, true)),
            FenceDecision::Refuse { reason, retry, .. } => Err((reason, retry)),
        }
    }

    #[test]
    fn b2_b3_a_commit_is_valid_only_while_its_claim_is_the_newest_and_nothing_newer_is_within() {
        const MINE: (&str, i64) = ("0-7200", 4 * 2 + 1);
        const HOUR_0: (&str, i64) = ("0-3600", 4 + 2);
        let lost = Err((Reason::GenerationLost, true));
        let conflict = Err((Reason::IntervalConflict, false));
        for (name, txns, expected) in [
            ("as it was claimed", vec![MINE, HOUR_0], Ok(())),
            ("a newer claim", vec![("0-7200", 4 * 3 + 1), HOUR_0], lost),
            ("a newer run is done", vec![("0-7200", 4 * 3 + 2), HOUR_0], lost),
            ("my own commit is in already", vec![("0-7200", 4 * 2 + 2), HOUR_0], lost),
            ("a containing run took its place", vec![("0-7200", 4 * 2), HOUR_0], lost),
            ("the log does not know me", vec![HOUR_0], lost),
            ("hour 0 was loaded anew", vec![MINE, ("0-3600", 4 * 2 + 2)], lost),
            ("hour 1 was loaded meanwhile", vec![MINE, HOUR_0, ("3600-7200", 4 + 2)], lost),
            ("hour 1 was begun meanwhile", vec![MINE, HOUR_0, ("3600-7200", 4 + 1)], Ok(())),
            ("an hour beside it", vec![MINE, HOUR_0, ("7200-10800", 4 + 2)], Ok(())),
            ("one that overlaps", vec![MINE, HOUR_0, ("3600-10800", 4 + 2)], conflict),
            ("one that overlaps, begun", vec![MINE, HOUR_0, ("3600-10800", 4 + 1)], Ok(())),
        ] {
            assert_eq!(decide(&txns, |_| {}), expected, "{name}");
        }
    }

    #[test]
    fn p8_a_plan_that_took_long_is_made_again_before_its_base_is_too_old() {
        for (seconds, again) in [(0, false), (299, false), (301, true), (3_600, true)] {
            assert_eq!(plans_again(Duration::from_secs(seconds)), again, "{seconds}");
        }
        assert!(plans_again(MAX_BASE_AGE));
    }

    #[test]
    fn p8_t1_old_bases_old_files_and_other_tables_are_refused() {
        let mine = [("0-7200", 4 * 2 + 1), ("0-3600", 4 + 2)];
        let old = |facts: &mut FenceFacts<'_>| facts.base_age = MAX_BASE_AGE * 2;
        assert_eq!(decide(&mine, old), Err((Reason::BaseTooOld, true)));
        let files = |facts: &mut FenceFacts<'_>| facts.files_age = MAX_FILE_AGE * 2;
        assert_eq!(decide(&mine, files), Err((Reason::BaseTooOld, true)));
        let other = |facts: &mut FenceFacts<'_>| facts.table_id_now = "another";
        assert_eq!(decide(&mine, other), Err((Reason::TableRewound, false)));
    }
}
