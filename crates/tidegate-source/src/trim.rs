//! Removing committed messages from the stream (S10).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;
use tidegate_types::Position;

use crate::connection::Connection;
use crate::error::SourceError;
use crate::registration::{Reader, Registration};

/// What trimming is decided on.
#[derive(Debug, Clone)]
pub struct TrimFacts<'a> {
    /// The table whose log holds the floors.
    pub table_url: &'a str,
    /// The lowest floor of each ledger of this table that reads this stream, over all its partitions;
    /// a ledger whose partitions do not all have a floor yet is left out.
    pub floors: &'a BTreeMap<String, Position>,
    /// Every registered ledger.
    pub registrations: &'a [Registration],
    /// Every consumer.
    pub readers: &'a [Reader],
    /// The first sequence that the stream holds.
    pub first_sequence: u64,
    /// Whether messages leave the stream only by limits.
    pub limits_retention: bool,
    /// The first message that must stay because it is younger than `trim.keep`.
    pub keep_from_sequence: u64,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrimDecision {
    /// Remove every message below this sequence.
    Purge {
        /// The first sequence that stays.
        below: u64,
    },
    /// There is nothing to remove.
    Nothing,
    /// Somebody else may still have to read (`TrimBlocked`).
    Blocked {
        /// Who.
        other: String,
    },
}

/// Decides. Nothing is removed unless every registered ledger and every consumer belongs to this
/// table's log, and every ledger keeps the message at its floor and the one below (S6, S10).
#[must_use]
pub fn trim_decision(facts: &TrimFacts<'_>) -> TrimDecision {
    if let Some(other) = blocking(facts) {
        return TrimDecision::Blocked { other };
    }
    let Some(lowest) = facts.floors.values().min() else { return TrimDecision::Nothing };
    let below = lowest.0.saturating_sub(1).min(facts.keep_from_sequence);
    if facts.limits_retention && below > facts.first_sequence {
        TrimDecision::Purge { below }
    } else {
        TrimDecision::Nothing
    }
}

fn blocking(facts: &TrimFacts<'_>) -> Option<String> {
    let ours = |registration: &Registration| {
        registration.table_url == facts.table_url && facts.floors.contains_key(&registration.ledger)
    };
    let ledger = facts.registrations.iter().find(|registration| !ours(registration));
    if let Some(Registration { ledger, table_url }) = ledger {
        return Some(format!("ledger {ledger} of table {table_url}"));
    }
    let stranger =
        facts.readers.iter().find(|reader| !reader.registration.as_ref().is_some_and(ours));
    stranger.map(|reader| format!("consumer {}", reader.consumer))
}

#[derive(Deserialize)]
struct PurgeAnswer {
    #[serde(default)]
    purged: u64,
}

/// Removes every message below `keep_from_sequence` and says how many these were. Sequences stay.
///
/// # Errors
///
/// What hindered the request.
pub async fn trim(
    connection: &Connection,
    stream: &str,
    keep_from_sequence: u64,
) -> Result<u64, SourceError> {
    if keep_from_sequence <= 1 {
        // The broker reads `seq: 0` as "everything".
        return Ok(0);
    }
    let request = json!({"seq": keep_from_sequence});
    let answer: PurgeAnswer = connection.ask(&format!("STREAM.PURGE.{stream}"), &request).await?;
    Ok(answer.purged)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TABLE: &str = "file:///lake/clicks";

    fn registered(ledger: &str, table_url: &str) -> Registration {
        Registration { ledger: ledger.into(), table_url: table_url.into() }
    }

    fn consumer(registration: Option<Registration>) -> Reader {
        Reader { consumer: "c".into(), registration }
    }

    struct Case {
        floors: Vec<(&'static str, u64)>,
        registrations: Vec<Registration>,
        readers: Vec<Reader>,
        keep_from: u64,
        first: u64,
    }

    fn decide(case: &Case) -> TrimDecision {
        let floors =
            case.floors.iter().map(|(name, floor)| ((*name).into(), Position(*floor))).collect();
        trim_decision(&TrimFacts {
            table_url: TABLE,
            floors: &floors,
            registrations: &case.registrations,
            readers: &case.readers,
            first_sequence: case.first,
            limits_retention: true,
            keep_from_sequence: case.keep_from,
        })
    }

    fn quiet() -> Case {
        Case {
            floors: vec![("a", 100), ("b", 60)],
            registrations: vec![registered("a", TABLE), registered("b", TABLE)],
            readers: vec![consumer(Some(registered("a", TABLE)))],
            keep_from: 1_000,
            first: 1,
        }
    }

    #[test]
    fn s10_the_lowest_floor_and_the_age_decide() {
        assert_eq!(decide(&quiet()), TrimDecision::Purge { below: 59 });
        assert_eq!(decide(&Case { keep_from: 20, ..quiet() }), TrimDecision::Purge { below: 20 });
        assert_eq!(decide(&Case { first: 59, ..quiet() }), TrimDecision::Nothing);
        assert_eq!(
            decide(&Case { floors: vec![("a", 0), ("b", 0)], ..quiet() }),
            TrimDecision::Nothing
        );
    }

    #[test]
    fn s10_nothing_is_removed_while_somebody_else_may_read() {
        let blocked = |case: Case, who: &str| match decide(&case) {
            TrimDecision::Blocked { other } => assert!(other.contains(who), "{other}"),
            other => panic!("{other:?}"),
        };
        let with = |extra| {
            let mut case = quiet();
            case.registrations.push(extra);
            case
        };
        blocked(with(registered("c", "s3://elsewhere")), "ledger c of table s3://elsewhere");
        // Registered here, but its floors are not known yet.
        blocked(with(registered("c", TABLE)), "ledger c");
        blocked(Case { readers: vec![consumer(None)], ..quiet() }, "consumer c");
        blocked(
            Case { readers: vec![consumer(Some(registered("a", "s3://elsewhere")))], ..quiet() },
            "consumer c",
        );
    }

    proptest! {
        #[test]
        fn s6_a_purge_keeps_the_message_at_every_floor_and_one_below(
            a in 0_u64..1_000, b in 0_u64..1_000, keep_from in 0_u64..1_000, first in 0_u64..1_000,
        ) {
            let case = Case { floors: vec![("a", a), ("b", b)], keep_from, first, ..quiet() };
            if let TrimDecision::Purge { below } = decide(&case) {
                prop_assert!(below < a.min(b) && below <= keep_from && below > first);
            }
        }
    }
}
