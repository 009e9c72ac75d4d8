//! Whether a stream is still the one that was read before (S6), and what it may have lost (S1, S2).

use serde_json::json;
use tidegate_types::Position;

use crate::connection::Connection;
use crate::error::{IdentityFinding, SourceError, code};
use crate::safety::unsafe_settings;
use crate::stored::GetAnswer;
use crate::stream_facts::{StreamFacts, stream_facts};

/// A message that was read, remembered by its fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownMessage {
    /// Its sequence.
    pub sequence: u64,
    /// Its [`fingerprint`].
    pub fingerprint: i64,
}

/// 63 bits over what a message cannot share with another one at the same sequence of another copy of
/// the stream: sequence, store time, `Nats-Msg-Id` and payload length. Never zero.
#[must_use]
pub fn fingerprint(
    sequence: u64,
    stored_at_nanos: i64,
    message_id: Option<&[u8]>,
    payload_length: usize,
) -> i64 {
    let mut bytes = Vec::with_capacity(64);
    bytes.extend_from_slice(&sequence.to_le_bytes());
    bytes.extend_from_slice(&stored_at_nanos.to_le_bytes());
    bytes.extend_from_slice(&(payload_length as u64).to_le_bytes());
    bytes.extend_from_slice(message_id.unwrap_or_default());
    let hash = xxhash_rust::xxh3::xxh3_64(&bytes) >> 1;
    i64::try_from(hash.max(1)).unwrap_or(i64::MAX)
}

/// The message at `sequence` as the stream's leader holds it; none when it is not stored any more.
///
/// # Errors
///
/// What hindered the request.
pub async fn known_message(
    connection: &Connection,
    stream: &str,
    sequence: u64,
) -> Result<Option<KnownMessage>, SourceError> {
    if sequence == 0 {
        return Ok(None);
    }
    let subject = format!("STREAM.MSG.GET.{stream}");
    match connection.ask::<GetAnswer>(&subject, &json!({"seq": sequence})).await {
        Ok(answer) => answer.message.known().map(Some).ok_or_else(|| SourceError::Protocol {
            operation: subject,
            source: "the message is not well-formed".into(),
        }),
        Err(error) if error.has_code(code::NO_MESSAGE_FOUND) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is held against the facts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected<'a> {
    /// The creation time that is known.
    pub(crate) created: &'a str,
    /// What was read and handed on before the batch at hand.
    pub(crate) cursor: Position,
    /// Whether settings that can lose messages are refused.
    pub(crate) exactly_once: bool,
    /// Whether messages leave the stream only by limits, so that a missing one is a loss.
    pub(crate) positions_count: bool,
}

/// Judges one look at the stream: identity (S6), settings (S1), loss at the front (S2), in this order,
/// because the later findings of another stream would mean nothing.
pub(crate) fn judge(facts: &StreamFacts, expected: Expected<'_>) -> Result<(), SourceError> {
    let stream = || facts.name.clone();
    let identity = |finding| SourceError::Identity { stream: stream(), finding };
    if facts.created != expected.created {
        let (known, found) = (expected.created.to_owned(), facts.created.clone());
        return Err(identity(IdentityFinding::Created { known, found }));
    }
    let cursor = expected.cursor.0;
    if facts.last_sequence < cursor {
        let last = facts.last_sequence;
        return Err(identity(IdentityFinding::EndsBefore { cursor, last }));
    }
    if expected.exactly_once {
        let problems = unsafe_settings(facts);
        if !problems.is_empty() {
            return Err(SourceError::Unsafe { stream: stream(), problems });
        }
    }
    if expected.positions_count && facts.first_sequence > expected.cursor.next() {
        let (from, to) = (expected.cursor.next(), facts.first_sequence - 1);
        return Err(SourceError::Gap { stream: stream(), from, to });
    }
    Ok(())
}

/// Compares a remembered message with what the stream holds at its place (S6). A message that is not
/// stored any more proves nothing.
pub(crate) async fn check_known(
    connection: &Connection,
    stream: &str,
    known: KnownMessage,
) -> Result<(), SourceError> {
    match known_message(connection, stream, known.sequence).await? {
        Some(found) if found != known => Err(SourceError::Identity {
            stream: stream.to_owned(),
            finding: IdentityFinding::OtherMessage { sequence: known.sequence },
        }),
        _ => Ok(()),
    }
}

/// Whether the stream is still the one that `read` was read from (S6); a message without a fingerprint
/// counts by its sequence.
///
/// # Errors
///
/// [`SourceError::Identity`], or what hindered the requests.
pub async fn check_same_stream(
    connection: &Connection,
    stream: &str,
    created: &str,
    read: &[KnownMessage],
) -> Result<(), SourceError> {
    let facts = stream_facts(connection, stream).await?;
    let cursor = Position(read.iter().map(|known| known.sequence).max().unwrap_or(0));
    let expected = Expected { created, cursor, exactly_once: false, positions_count: false };
    judge(&facts, expected)?;
    for known in read.iter().copied().filter(|known| known.fingerprint != 0) {
        check_known(connection, stream, known).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream_facts::tests::safe_facts;

    fn expected(created: &str, cursor: u64) -> Expected<'_> {
        Expected { created, cursor: Position(cursor), exactly_once: true, positions_count: true }
    }

    #[test]
    fn s6_another_stream_is_not_taken_for_the_known_one() {
        let facts = safe_facts();
        assert!(judge(&facts, expected(&facts.created, 10)).is_ok());
        let other = judge(&facts, expected("2025-01-01T00:00:00Z", 10));
        assert!(matches!(
            other,
            Err(SourceError::Identity { finding: IdentityFinding::Created { .. }, .. })
        ));
        let shorter = judge(&facts, expected(&facts.created, 11));
        assert!(matches!(
            shorter,
            Err(SourceError::Identity {
                finding: IdentityFinding::EndsBefore { cursor: 11, last: 10 },
                ..
            })
        ));
    }

    #[test]
    fn s2_the_range_that_is_gone_is_exact() {
        let mut facts = safe_facts();
        facts.first_sequence = 8;
        assert!(judge(&facts, expected(&facts.created, 7)).is_ok());
        assert!(matches!(
            judge(&facts, expected(&facts.created, 3)),
            Err(SourceError::Gap { from: 4, to: 7, .. })
        ));
        let acknowledged = Expected { positions_count: false, ..expected(&facts.created, 3) };
        assert!(judge(&facts, acknowledged).is_ok(), "acknowledged messages leave the stream");
    }

    #[test]
    fn s1_an_unsafe_setting_is_refused_only_for_exactly_once() {
        let mut facts = safe_facts();
        facts.deny_delete = false;
        let strict = expected(&facts.created, 3);
        assert!(matches!(judge(&facts, strict), Err(SourceError::Unsafe { .. })));
        assert!(judge(&facts, Expected { exactly_once: false, ..strict }).is_ok());
    }

    #[test]
    fn each_part_of_a_message_changes_its_fingerprint() {
        let base = fingerprint(1, 2, Some(b"a"), 3);
        assert!(base > 0);
        assert_ne!(base, fingerprint(2, 2, Some(b"a"), 3));
        assert_ne!(base, fingerprint(1, 3, Some(b"a"), 3));
        assert_ne!(base, fingerprint(1, 2, Some(b"b"), 3));
        assert_ne!(base, fingerprint(1, 2, None, 3));
        assert_ne!(base, fingerprint(1, 2, Some(b"a"), 4));
    }
}
