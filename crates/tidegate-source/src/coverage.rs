//! Whether every message of the stream belongs to a partition (S3), and how many wait.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;
use tidegate_types::Position;

use crate::connection::Connection;
use crate::consumer::{DeliverFrom, probe};
use crate::error::SourceError;
use crate::stream_facts::{RetentionKind, StreamFacts, stream_facts};

/// How often the count is repeated on a stream that moves while it is taken.
const ATTEMPTS: u32 = 5;
/// Most subjects that are looked through one by one; the broker sends up to a hundred thousand a page.
const MOST_SUBJECTS: usize = 2_000_000;

/// What a count over all filters says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coverage {
    /// Every message is under exactly one filter.
    Exact,
    /// The stream moved while it was counted; the count is possible.
    Possible,
    /// At least so many messages are under no filter.
    Outside(u64),
    /// At least so many messages are under more than one filter.
    Twice(u64),
}

/// Judges the sum of what is pending under each filter against a look before and a look after. What
/// stood in the stream the whole time must have been counted; what never stood in it cannot have been.
fn judge_coverage(before: &StreamFacts, after: &StreamFacts, counted: u64) -> Coverage {
    let still = before.first_sequence == after.first_sequence
        && before.last_sequence == after.last_sequence
        && before.messages == after.messages;
    let holes = before.holes.max(after.holes);
    let (least, most) = if still {
        (before.messages, before.messages)
    } else {
        let throughout = (before.last_sequence + 1).saturating_sub(after.first_sequence);
        let at_any_time = (after.last_sequence + 1).saturating_sub(before.first_sequence);
        (throughout.saturating_sub(holes), at_any_time)
    };
    match counted {
        n if n < least => Coverage::Outside(least - n),
        n if n > most => Coverage::Twice(n - most),
        _ if still => Coverage::Exact,
        _ => Coverage::Possible,
    }
}

/// Checks that every message is under one of `filters` (one for each partition; none in it: the whole
/// stream). WorkQueue and Interest streams are not checked: a second consumer is refused there or
/// would keep messages.
///
/// # Errors
///
/// [`SourceError::SubjectsOutsidePartitions`], or what hindered the requests.
pub async fn check_coverage(
    connection: &Connection,
    stream: &str,
    filters: &[Option<String>],
) -> Result<Coverage, SourceError> {
    let mut coverage = Coverage::Exact;
    for _ in 0..ATTEMPTS {
        let before = stream_facts(connection, stream).await?;
        if before.retention != RetentionKind::Limits || filters.iter().any(Option::is_none) {
            return Ok(Coverage::Exact);
        }
        let mut counted = 0;
        for filter in filters {
            let info = probe(connection, stream, DeliverFrom::Start, filter.as_deref()).await?;
            counted += info.num_pending;
        }
        let after = stream_facts(connection, stream).await?;
        coverage = judge_coverage(&before, &after, counted);
        match coverage {
            Coverage::Possible => {}
            Coverage::Outside(outside) => {
                let stream = stream.to_owned();
                return Err(SourceError::SubjectsOutsidePartitions { stream, outside });
            }
            Coverage::Exact | Coverage::Twice(_) => return Ok(coverage),
        }
    }
    // What arrives while the filters are counted hides as many messages that are under none of them, and
    // a busy stream never rests: there the subjects tell.
    match under_no_filter(connection, stream, filters).await? {
        0 => Ok(coverage),
        outside => {
            let stream = stream.to_owned();
            Err(SourceError::SubjectsOutsidePartitions { stream, outside })
        }
    }
}

/// Messages whose subject no filter takes.
async fn under_no_filter(
    connection: &Connection,
    stream: &str,
    filters: &[Option<String>],
) -> Result<u64, SourceError> {
    let taken = |subject: &str| filters.iter().flatten().any(|filter| takes(filter, subject));
    let (mut seen, mut outside) = (0, 0);
    while seen < MOST_SUBJECTS {
        let request = json!({"subjects_filter": ">", "offset": seen});
        let page: SubjectsPage = connection.ask(&format!("STREAM.INFO.{stream}"), &request).await?;
        let subjects = page.state.subjects.unwrap_or_default();
        if subjects.is_empty() {
            break;
        }
        seen += subjects.len();
        outside +=
            subjects.iter().filter(|(subject, _)| !taken(subject)).map(|(_, n)| n).sum::<u64>();
    }
    Ok(outside)
}

#[derive(Deserialize)]
struct SubjectsPage {
    state: Subjects,
}

#[derive(Deserialize)]
struct Subjects {
    subjects: Option<BTreeMap<String, u64>>,
}

/// Whether a filter with the broker's wildcards takes a subject.
fn takes(filter: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for wanted in filter.split('.') {
        match (wanted, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (wanted, Some(token)) if wanted == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

/// How many messages of a partition lie behind `floor`: the lag while nobody reads (S4).
///
/// # Errors
///
/// What hindered the request.
pub async fn pending_after(
    connection: &Connection,
    stream: &str,
    filter: Option<&str>,
    floor: Position,
) -> Result<u64, SourceError> {
    let from = DeliverFrom::Sequence(floor.next());
    Ok(probe(connection, stream, from, filter).await?.num_pending)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream_facts::tests::safe_facts;

    fn look(first: u64, last: u64) -> StreamFacts {
        let mut facts = safe_facts();
        (facts.first_sequence, facts.last_sequence) = (first, last);
        facts.messages = last + 1 - first;
        facts
    }

    #[test]
    fn a_filter_takes_what_the_broker_says() {
        for (filter, subject, expected) in [
            ("a.>", "a.b", true),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            ("a.*", "a.b", true),
            ("a.*", "a.b.c", false),
            ("*.b", "a.b", true),
            ("a.b", "a.b", true),
            ("a.b", "a.b.c", false),
            ("a.b", "a", false),
            ("1.>", "11.a", false),
            (">", "a", true),
        ] {
            assert_eq!(takes(filter, subject), expected, "{filter} {subject}");
        }
    }

    #[test]
    fn s3_a_message_under_no_filter_is_counted() {
        let cases = [
            // A stream at rest must match to the message.
            (look(1, 10), look(1, 10), 10, Coverage::Exact),
            (look(1, 10), look(1, 10), 9, Coverage::Outside(1)),
            (look(1, 10), look(1, 10), 12, Coverage::Twice(2)),
            // It grew: what was there from the beginning must have been counted.
            (look(1, 10), look(1, 15), 10, Coverage::Possible),
            (look(1, 10), look(1, 15), 15, Coverage::Possible),
            (look(1, 10), look(1, 15), 9, Coverage::Outside(1)),
            (look(1, 10), look(1, 15), 16, Coverage::Twice(1)),
            // It was trimmed meanwhile: what went away may or may not have been counted.
            (look(1, 10), look(6, 10), 5, Coverage::Possible),
            (look(1, 10), look(6, 10), 4, Coverage::Outside(1)),
            (look(1, 10), look(11, 10), 0, Coverage::Possible),
        ];
        for (before, after, counted, expected) in cases {
            assert_eq!(judge_coverage(&before, &after, counted), expected, "{counted}");
        }
    }
}
