use jiff::Timestamp;
use proptest::prelude::*;
use tidegate_types::Incarnation;

use super::*;
use crate::log::Txns;

fn ledger() -> Ledger {
    Ledger::new("l").expect("valid")
}

/// An interval in hours.
fn hours(start: i64, end: i64) -> DataInterval {
    let at = |hour: i64| Timestamp::from_second(hour * 3600).expect("in range");
    DataInterval::new(at(start), at(end)).expect("not empty")
}

fn key(start: i64, end: i64) -> IntervalKey {
    IntervalKey::Of(hours(start, end))
}

/// A log, as runs see it.
#[derive(Default)]
struct Log(Txns);

impl Log {
    fn intervals(&self) -> Intervals {
        Intervals::read(&self.0, &ledger()).expect("valid")
    }

    fn claim(&mut self, key: IntervalKey, effect: Effect) -> Claim {
        let intervals = self.intervals();
        let claim = Claim::next(&intervals, key, effect);
        self.0.apply(&run_claim_txns(&ledger(), &claim));
        self.0.apply(&claim_notes(&ledger(), &intervals, &claim, None));
        claim
    }

    fn commit(&mut self, claim: &Claim, done: &Done) -> Result<(), IntervalConflict> {
        let txns = done_txns(&ledger(), &self.intervals(), claim, done)?;
        self.0.apply(&txns);
        Ok(())
    }

    fn run(&mut self, key: IntervalKey, effect: Effect) -> Result<(), IntervalConflict> {
        conflict(&self.intervals(), key, effect)?;
        let claim = self.claim(key, effect);
        assert!(claim.is_held(&self.intervals()));
        self.commit(&claim, &Done::default())
    }

    fn state(&self, key: IntervalKey) -> Option<(u64, RunState)> {
        self.intervals().get(key).map(|known| (known.generation, known.state))
    }
}

fn nonce(number: i64) -> Nonce {
    Nonce::from_txn(number).expect("positive")
}

#[test]
fn b2_every_claim_is_a_generation_of_its_own_and_only_the_newest_is_held() {
    let mut log = Log::default();
    let first = log.claim(key(0, 1), Effect::ReplaceInterval);
    let second = log.claim(key(0, 1), Effect::ReplaceInterval);
    assert_eq!((first.generation, second.generation), (1, 2));
    assert!(!first.is_held(&log.intervals()) && second.is_held(&log.intervals()));
    log.commit(&second, &Done { empty: true, ..Done::default() }).expect("no conflict");
    assert_eq!(log.state(key(0, 1)), Some((2, RunState::DoneEmpty)));
    assert!(!second.is_held(&log.intervals()), "a commit ends the hold");
    assert_eq!(log.claim(key(0, 1), Effect::ReplaceInterval).generation, 3);
}

#[test]
fn b2_loads_of_everything_have_one_counter_so_that_an_older_one_cannot_commit_after_a_newer_one() {
    let mut log = Log::default();
    let older = log.claim(key(0, 1), Effect::Overwrite);
    let newer = log.claim(key(1, 2), Effect::Overwrite);
    assert!(newer.generation > older.generation);
    assert!(!older.is_held(&log.intervals()), "its own interval is claimed, but not `all`");
    log.commit(&newer, &Done::default()).expect("no conflict");
    assert_eq!(log.state(IntervalKey::All), Some((2, RunState::Done)));
    assert_eq!(log.state(key(0, 1)), Some((1, RunState::Claimed)));
    log.run(key(2, 3), Effect::Overwrite).expect("the load before is no obstacle");
    log.run(IntervalKey::All, Effect::Overwrite).expect("nor are intervals");
    assert!(log.state(key(2, 3)).is_some_and(|(_, state)| state.is_done()));
}

#[test]
fn b3_overlapping_is_refused_with_both_named_and_containing_replaces() {
    let mut log = Log::default();
    log.run(key(0, 2), Effect::ReplaceInterval).expect("the first");
    log.run(key(2, 4), Effect::ReplaceInterval).expect("beside it");
    for (start, end) in [(1, 3), (0, 1), (3, 5), (1, 2)] {
        let error = log.run(key(start, end), Effect::ReplaceInterval).expect_err("overlaps");
        let text = error.to_string();
        assert!(text.contains(&hours(start, end).to_string()), "{text}");
        let known = if start < 2 { hours(0, 2) } else { hours(2, 4) };
        assert!(text.contains(&known.to_string()), "{text}");
        assert_eq!(error.reason(), Reason::IntervalConflict);
    }
    log.run(key(0, 4), Effect::ReplaceInterval).expect("it contains both");
    assert_eq!(log.state(key(0, 2)), Some((1, RunState::Superseded)));
    assert_eq!(log.state(key(2, 4)), Some((1, RunState::Superseded)));
    assert_eq!(log.intervals().done().collect::<Vec<_>>(), [hours(0, 4)]);
    assert!(log.run(key(0, 2), Effect::ReplaceInterval).is_err(), "superseded, and inside another");
}

#[test]
fn b3_a_claim_that_never_committed_is_no_obstacle_and_a_rerun_of_what_is_there_is_one() {
    let mut log = Log::default();
    log.claim(key(0, 2), Effect::ReplaceInterval);
    log.claim(key(0, 2), Effect::ReplaceInterval);
    assert!(conflict(&log.intervals(), key(1, 3), Effect::ReplaceInterval).is_ok());
    log.run(key(0, 2), Effect::ReplaceInterval).expect("alone");
    log.claim(key(0, 2), Effect::ReplaceInterval);
    let found = conflict(&log.intervals(), key(1, 3), Effect::ReplaceInterval);
    assert!(found.is_err(), "the rows of the run before are still there");
}

#[test]
fn b3_a_longer_interval_takes_the_claim_of_a_shorter_one_that_is_under_way() {
    let mut log = Log::default();
    let inner = log.claim(key(0, 1), Effect::ReplaceInterval);
    log.run(key(0, 2), Effect::ReplaceInterval).expect("it contains the other");
    assert!(!inner.is_held(&log.intervals()));
    // The other way round: what has become visible meanwhile stands in the way of the commit itself.
    let outer = log.claim(key(4, 6), Effect::ReplaceInterval);
    log.run(key(5, 7), Effect::ReplaceInterval).expect("the other has no rows yet");
    assert!(log.commit(&outer, &Done::default()).is_err());
}

#[test]
fn b3_append_cannot_take_the_place_of_anything() {
    let mut log = Log::default();
    log.run(key(0, 1), Effect::Append).expect("the first");
    let error = log.run(key(0, 2), Effect::Append).expect_err("it would add rows again");
    assert!(matches!(error, IntervalConflict::Contains { .. }), "{error}");
    log.run(key(1, 2), Effect::Append).expect("beside it");
}

#[test]
fn b3_an_interval_within_a_load_of_everything_is_refused() {
    let mut log = Log::default();
    log.run(IntervalKey::All, Effect::ReplaceInterval).expect("the first");
    let error = log.run(key(0, 1), Effect::ReplaceInterval).expect_err("its rows are there");
    assert!(matches!(error, IntervalConflict::InAll { .. }), "{error}");
}

#[test]
fn b1_the_generation_before_is_forgotten_once_its_rows_are_gone() {
    let mut log = Log::default();
    let before = |log: &Log| log.intervals().get(key(0, 1)).expect("known").before;
    for generation in [None, Some(1), Some(2)] {
        let claim = log.claim(key(0, 1), Effect::ReplaceInterval);
        assert_eq!(before(&log), generation, "they stay until the commit");
        log.commit(&claim, &Done::default()).expect("no conflict");
        assert_eq!(before(&log), None);
    }
    log.claim(key(0, 1), Effect::ReplaceInterval);
    log.run(key(0, 2), Effect::ReplaceInterval).expect("it contains the other one");
    assert_eq!((before(&log), log.state(key(0, 1))), (None, Some((4, RunState::Superseded))));
}

#[test]
fn b6a_a_run_names_its_dead_letters_and_no_longer_those_that_it_replaces() {
    let mut log = Log::default();
    let with = |number| Done { dead_letters: Some(nonce(number)), ..Done::default() };
    for (start, number) in [(0, 5), (1, 6)] {
        let claim = log.claim(key(start, start + 1), Effect::ReplaceInterval);
        assert!(!has_dead_letters(&log.intervals(), &claim));
        log.commit(&claim, &with(number)).expect("no conflict");
    }
    let outer = log.claim(key(0, 2), Effect::ReplaceInterval);
    assert!(has_dead_letters(&log.intervals(), &outer), "those of both intervals within");
    log.commit(&outer, &with(7)).expect("no conflict");
    let named: Vec<_> = log.intervals().iter().filter_map(|(_, k)| k.dead_letters).collect();
    assert_eq!(named, [nonce(7)]);
    let load = log.claim(key(4, 5), Effect::Overwrite);
    assert!(has_dead_letters(&log.intervals(), &load), "a load of everything replaces all");
    assert_eq!(load.dead_letter_key(), IntervalKey::All);
    let append = log.claim(key(0, 2), Effect::Append);
    assert!(!has_dead_letters(&log.intervals(), &append));
}

#[test]
fn b8_the_fingerprint_of_files_is_kept_in_63_bits() {
    let mut log = Log::default();
    let claim = log.claim(key(0, 1), Effect::ReplaceInterval);
    let done = Done { fingerprint: Some(u64::MAX), ..Done::default() };
    log.commit(&claim, &done).expect("no conflict");
    let known = log.intervals().get(key(0, 1)).expect("known");
    assert_eq!(known.fingerprint, Some(u64::MAX >> 1));
}

#[test]
fn b5_the_log_says_whose_number_the_rows_carry_and_not_for_longer() {
    let mut log = Log::default();
    let origin = |log: &Log, key| log.intervals().get(key).expect("known").held_origin();
    let interval = key(0, 1);
    for (generation, said, expected) in [(1, None, 1), (2, None, 2), (3, Some(2), 2), (4, None, 4)]
    {
        let claim = log.claim(interval, Effect::ReplaceInterval);
        assert_eq!(claim.generation, generation);
        let before = claim.newest_held(&log.intervals());
        assert_eq!(before, (generation > 1).then(|| generation - 1));
        log.commit(&claim, &Done { origin: said, ..Done::default() }).expect("no conflict");
        assert_eq!(origin(&log, interval), Some(expected));
    }
    // While it is claimed again the rows are those from before; under Overwrite they are of everything.
    let load = log.claim(interval, Effect::Overwrite);
    assert_eq!(origin(&log, interval), Some(4));
    log.commit(&load, &Done { origin: Some(4), ..Done::default() }).expect("no conflict");
    assert_eq!((origin(&log, interval), origin(&log, IntervalKey::All)), (Some(4), Some(4)));
    let again = log.claim(IntervalKey::All, Effect::Overwrite);
    assert_eq!((again.newest_held(&log.intervals()), origin(&log, interval)), (Some(5), Some(4)));
}

#[test]
fn b7_the_log_says_what_an_intervals_bounds_meant_of_the_rows_that_are_there() {
    let mut log = Log::default();
    let cursor = |log: &Log| log.intervals().get(key(0, 1)).expect("known").cursor;
    for said in [None, Some(7), Some(8), None] {
        let before = log.intervals().get(key(0, 1)).and_then(|known| known.cursor);
        let claim = log.claim(key(0, 1), Effect::ReplaceInterval);
        assert_eq!(cursor(&log), before, "its rows are those of before until the commit");
        log.commit(&claim, &Done { cursor: said, ..Done::default() }).expect("no conflict");
        assert_eq!(cursor(&log), said);
    }
}

#[test]
fn b9_a_load_of_everything_is_newer_than_all_intervals_whose_place_it_takes() {
    let mut log = Log::default();
    for _ in 0..3 {
        log.run(key(0, 1), Effect::ReplaceInterval).expect("alone");
    }
    log.run(IntervalKey::All, Effect::Overwrite).expect("in their place");
    assert_eq!(log.state(IntervalKey::All), Some((4, RunState::Done)));
}

#[test]
fn b9_nothing_is_overwritten_where_a_stream_writes() {
    let life = Incarnation::derive("S", "", 0);
    let of = |app_id: &str| {
        let txns = Txns::from_iter([(app_id, 6)]);
        LedgerState::read(&txns, &ledger(), life).expect("valid")
    };
    let stream = of(&format!("tidegate/clicks/{life}/0/floor"));
    let error = check_overwrite(&ledger(), &stream, Effect::Overwrite).expect_err("refused");
    assert!(error.to_string().contains("clicks"), "{error}");
    assert!(check_overwrite(&ledger(), &stream, Effect::ReplaceInterval).is_ok());
    let own = of(&format!("tidegate/l/{life}/0/floor"));
    assert!(check_overwrite(&ledger(), &own, Effect::Overwrite).is_err(), "its own earlier stream");
    let runs = of("tidegate/other/i/0-60");
    assert!(check_overwrite(&ledger(), &runs, Effect::Overwrite).is_ok(), "files of others stay");
}

proptest! {
    /// Whatever is asked for in whatever order: what the table holds never overlaps.
    #[test]
    fn b3_intervals_that_are_done_never_overlap(
        steps in prop::collection::vec((0_i64..12, 1_i64..5, 0_u8..3), 1..30),
    ) {
        let mut log = Log::default();
        let mut under_way: Vec<Claim> = Vec::new();
        for (start, length, step) in steps {
            let key = key(start, start + length);
            match step {
                0 => _ = log.run(key, Effect::ReplaceInterval),
                1 if conflict(&log.intervals(), key, Effect::ReplaceInterval).is_ok() => {
                    under_way.push(log.claim(key, Effect::ReplaceInterval));
                }
                _ => {
                    let Some(claim) = under_way.pop() else { continue };
                    if claim.is_held(&log.intervals()) {
                        _ = log.commit(&claim, &Done::default());
                    }
                }
            }
            let held: Vec<_> = log.intervals().held().collect();
            for (at, one) in held.iter().enumerate() {
                for other in &held[at + 1..] {
                    prop_assert!(!one.overlaps(*other), "{one} and {other}");
                }
            }
        }
    }
}
