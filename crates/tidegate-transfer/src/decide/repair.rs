//! Whether an interval of a streamed table may be repaired now (B10).
//!
//! What the stream may still bring for the interval on time must be in the table already, or it would be
//! lost with the rows that go; and no row may go that the stream still compares ids with (D1).

use std::collections::BTreeMap;

use jiff::Timestamp;
use tidegate_config::Repairs;
use tidegate_table::ledger::{PartitionState, StreamFloors};
use tidegate_types::{DataInterval, PartitionId, Reason, StreamTime};

/// Everything the decision rests on.
#[derive(Debug, Clone, Copy)]
pub struct RepairFacts<'a> {
    /// What is to be written anew.
    pub interval: DataInterval,
    /// Whose rows.
    pub repairs: &'a Repairs,
    /// Where the stream stands in the snapshot.
    pub floors: &'a StreamFloors,
    /// When the newest message was published whose row would go; none when that is not known, or none goes.
    pub newest_removed: Option<StreamTime>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepairDecision {
    /// It may be repaired.
    Go,
    /// It may not.
    Refuse {
        /// The word for it.
        reason: Reason,
        /// Whether time will bring it.
        retry: bool,
        /// Why, and what to do.
        what: String,
    },
}

/// Decides whether the interval may be repaired on the snapshot.
#[must_use]
pub fn decide_repair(facts: &RepairFacts<'_>) -> RepairDecision {
    let Repairs { pipeline, ledger, partitions, .. } = facts.repairs;
    if facts.floors.lives.is_empty() {
        let what = format!(
            "the table has no rows of ledger {ledger}, under which {pipeline} streams; let that pipeline \
             run first"
        );
        return RepairDecision::Refuse { reason: Reason::LedgerMismatch, retry: false, what };
    }
    let reached = match reached(facts.floors, *partitions) {
        Ok(reached) => reached,
        Err(partition) => {
            return wait(format!("{pipeline} has not read anything of partition {partition} yet"));
        }
    };
    match first_obstacle(facts, reached.0) {
        Some(what) => wait(what),
        None => RepairDecision::Go,
    }
}

fn wait(what: String) -> RepairDecision {
    RepairDecision::Refuse { reason: Reason::RepairTooEarly, retry: true, what }
}

/// Why the stream has not come far enough, of which all is past at `reached`.
fn first_obstacle(facts: &RepairFacts<'_>, reached: i64) -> Option<String> {
    let Repairs { pipeline, allowed_lateness, window, .. } = facts.repairs;
    let (interval, end) = (facts.interval, facts.interval.end().as_microsecond());
    let needed = end.saturating_add(allowed_lateness.as_micros());
    if reached < needed {
        let (reached, needed) = (instant(reached), instant(needed));
        return Some(format!(
            "messages of {interval} may be on time until {needed} (its end and allowedLateness), and \
             {pipeline} has read its stream up to {reached}: it must advance \
             past {needed} in every partition"
        ));
    }
    let oldest_compared = reached.saturating_sub(window.as_ref()?.as_micros());
    let at = instant(oldest_compared);
    if end > oldest_compared {
        return Some(format!(
            "{pipeline} compares ids with all rows since {at} (dedup.window), and {interval} ends later"
        ));
    }
    let newest = facts.newest_removed.filter(|newest| newest.0 > oldest_compared)?;
    let newest = instant(newest.0);
    Some(format!(
        "a row of {interval} was published at {newest}, and {pipeline} compares ids with all rows since \
         {at} (dedup.window)"
    ))
}

/// The instant up to which all of the stream is in the table: nothing of any partition comes from before.
/// The partition of which nothing is known, otherwise.
fn reached(floors: &StreamFloors, partitions: u32) -> Result<StreamTime, PartitionId> {
    let each = (0..partitions).map(PartitionId).map(|k| passed(floors, k).ok_or(k));
    each.reduce(|one, other| Ok(one?.min(other?))).unwrap_or(Err(PartitionId(0)))
}

/// When the next message of a partition is published at the earliest.
fn passed(floors: &StreamFloors, partition: PartitionId) -> Option<StreamTime> {
    floors.lives.values().filter_map(|life| passed_in(life, partition)).max()
}

/// Sequences count the whole stream, so that it comes after everything that other partitions read up to the
/// same floor. And nothing that was published before `through` is missing, whatever moved the floor.
fn passed_in(
    life: &BTreeMap<PartitionId, PartitionState>,
    partition: PartitionId,
) -> Option<StreamTime> {
    let own = life.get(&partition)?;
    let before = life.values().filter(|other| other.floor <= own.floor).map(|other| other.time);
    before.chain(own.through.map(StreamTime)).max()
}

fn instant(micros: i64) -> String {
    Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use tidegate_types::{Incarnation, Ledger, Position, Span};

    use super::*;

    const MINUTE: i64 = 60_000_000;

    /// What it is about, floors and times by life, the window, the newest row that would go, the outcome.
    type Case =
        (&'static str, &'static [&'static [(u64, i64)]], Option<u64>, Option<i64>, &'static str);

    fn repairs(window: Option<u64>) -> Repairs {
        Repairs {
            pipeline: "web/clicks".to_owned(),
            ledger: Ledger::new("web.clicks").unwrap(),
            event_time: "ts".to_owned(),
            allowed_lateness: Span::seconds(30 * 60),
            window: window.map(|minutes| Span::seconds(minutes * 60)),
            partitions: 2,
        }
    }

    /// The partitions' floors and times in minutes.
    fn life(at: &[(u64, i64)]) -> BTreeMap<PartitionId, PartitionState> {
        let state = |(floor, time): &(u64, i64)| PartitionState {
            floor: Some(Position(*floor)),
            time: StreamTime(time * MINUTE),
            ..PartitionState::default()
        };
        (0..).map(PartitionId).zip(at.iter().map(state)).collect()
    }

    fn floors(lives: &[&[(u64, i64)]]) -> StreamFloors {
        let of = |number: u32| Incarnation::derive("S", "", number);
        let lives = (0..).zip(lives).map(|(n, at)| (of(n), life(at))).collect();
        StreamFloors { lives, record: None }
    }

    /// The word for what becomes of the first hour.
    fn decide(lives: &[&[(u64, i64)]], window: Option<u64>, newest: Option<i64>) -> String {
        let at = |minute: i64| Timestamp::from_microsecond(minute * MINUTE).unwrap();
        let decision = decide_repair(&RepairFacts {
            interval: DataInterval::new(at(0), at(60)).unwrap(),
            repairs: &repairs(window),
            floors: &floors(lives),
            newest_removed: newest.map(|minute| StreamTime(minute * MINUTE)),
        });
        match decision {
            RepairDecision::Go => "go".to_owned(),
            RepairDecision::Refuse { reason, retry: true, .. } => format!("{reason}, later"),
            RepairDecision::Refuse { reason, retry: false, .. } => reason.to_string(),
        }
    }

    #[test]
    fn b10_an_interval_is_repaired_once_the_stream_cannot_bring_more_of_it_on_time() {
        let early = "RepairTooEarly, later";
        let cases: [Case; 14] = [
            ("nobody streams there", &[], None, None, "LedgerMismatch"),
            ("a partition was never read", &[&[(9, 500)]], None, None, early),
            ("both are past the lateness", &[&[(8, 90), (9, 90)]], None, None, "go"),
            ("one is not", &[&[(9, 90), (8, 89)]], None, None, early),
            ("the other read less of it", &[&[(9, 89), (8, 90)]], None, None, "go"),
            ("both stand at one floor", &[&[(9, 0), (9, 90)]], None, None, "go"),
            ("idle behind the other", &[&[(3, 0), (9, 900)]], None, None, early),
            ("in an earlier life", &[&[(9, 900), (9, 900)], &[(0, 0), (0, 0)]], None, None, "go"),
            ("each in another life", &[&[(9, 900)], &[(0, 0), (2, 900)]], None, None, "go"),
            ("within the window", &[&[(9, 119), (9, 119)]], Some(60), None, early),
            ("just older than it", &[&[(9, 120), (9, 120)]], Some(60), None, "go"),
            ("a row came within it", &[&[(9, 120), (9, 120)]], Some(60), Some(61), early),
            ("or just before", &[&[(9, 120), (9, 120)]], Some(60), Some(60), "go"),
            ("no ids are compared", &[&[(9, 90), (9, 90)]], None, Some(90), "go"),
        ];
        for (name, lives, window, newest, expected) in cases {
            assert_eq!(decide(lives, window, newest), expected, "{name}");
        }
    }

    #[test]
    fn an_idle_partition_has_passed_what_its_leader_said_there_was_nothing_of() {
        let mut floors = floors(&[&[(3, 0), (9, 900)]]);
        let life = floors.lives.values_mut().next().unwrap();
        for (through, expected) in [(Some(89), 89), (Some(90), 90), (None, 0)] {
            life.get_mut(&PartitionId(0)).unwrap().through = through.map(|minute| minute * MINUTE);
            let floors =
                StreamFloors { lives: BTreeMap::from([(of_first(), life.clone())]), record: None };
            assert_eq!(reached(&floors, 2), Ok(StreamTime(expected * MINUTE)));
        }
    }

    fn of_first() -> Incarnation {
        Incarnation::derive("S", "", 0)
    }

    #[test]
    fn what_is_missing_is_told_with_its_instants() {
        let at = |minute: i64| Timestamp::from_microsecond(minute * MINUTE).unwrap();
        let facts = RepairFacts {
            interval: DataInterval::new(at(0), at(60)).unwrap(),
            repairs: &repairs(None),
            floors: &floors(&[&[(9, 80), (9, 80)]]),
            newest_removed: None,
        };
        let RepairDecision::Refuse { what, .. } = decide_repair(&facts) else {
            panic!("too early")
        };
        for told in ["advance past 1970-01-01T01:30:00Z", "1970-01-01T01:20:00Z", "web/clicks"] {
            assert!(what.contains(told), "{what}");
        }
    }
}
