//! What the broker says about a stream.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tidegate_types::{Incarnation, StreamTime};

use crate::connection::Connection;
use crate::error::SourceError;

/// Metadata key of streams that Tidegate made.
pub(crate) const OWNED_KEY: &str = "tidegate.owned";

/// When messages leave a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetentionKind {
    /// When a limit says so.
    Limits,
    /// When the one consumer acknowledged them.
    WorkQueue,
    /// When every consumer acknowledged them.
    Interest,
}

/// A rewriting of subjects when messages are stored.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SubjectTransform {
    /// Which subjects.
    #[serde(rename = "src", default)]
    pub source: String,
    /// What becomes of them.
    #[serde(rename = "dest", default)]
    pub destination: String,
}

/// One look at a stream: configuration and state, as the stream's leader sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamFacts {
    /// The stream's name.
    pub name: String,
    /// When it was created, as the broker prints it (RFC 3339). A restored copy keeps it.
    pub created: String,
    /// The broker's clock at the answer, before which everything published that will ever be in the stream
    /// is there; none: old servers do not tell, or the stream copies others ([`StreamFacts::copies`]).
    pub as_of: Option<StreamTime>,
    /// The sequence of the first message; one more than the last when there is none.
    pub first_sequence: u64,
    /// The highest sequence ever used.
    pub last_sequence: u64,
    /// When the last message was stored.
    pub last_time: Option<StreamTime>,
    /// Messages.
    pub messages: u64,
    /// Holes between first and last sequence.
    pub holes: u64,
    /// Bytes.
    pub bytes: u64,
    /// When messages leave.
    pub retention: RetentionKind,
    /// Whether a full stream throws its oldest messages away.
    pub discard_old: bool,
    /// Messages kept for each subject; none: no limit.
    pub max_messages_per_subject: Option<u64>,
    /// Whether publishers may set a time to live.
    pub allow_message_ttl: bool,
    /// Whether publishers may replace older messages.
    pub allow_rollup: bool,
    /// Whether single messages can be deleted through the API: true forbids it.
    pub deny_delete: bool,
    /// Whether the stream can be purged through the API: true forbids it.
    pub deny_purge: bool,
    /// Most bytes; none: no limit.
    pub max_bytes: Option<u64>,
    /// Oldest message; none: no limit.
    pub max_age: Option<Duration>,
    /// Copies.
    pub replicas: u32,
    /// Whether messages are only in memory.
    pub in_memory: bool,
    /// Whether the broker acknowledges before writing (`persist_mode: async`).
    pub persists_late: bool,
    /// The broker's own duplicate window.
    pub duplicate_window: Duration,
    /// The rewriting of subjects.
    pub subject_transform: Option<SubjectTransform>,
    /// Subjects.
    pub subjects: Vec<String>,
    /// Metadata.
    pub metadata: BTreeMap<String, String>,
    /// The version of the server that we talk to.
    pub server_version: String,
    /// Whether Tidegate made the stream.
    pub owned: bool,
    /// Whether it is a mirror or has sources: messages keep the time at which the other stream stored them,
    /// so older ones may still come.
    pub copies: bool,
    /// Whether the broker writes through at every message; none: it does not tell clients.
    pub sync_always: Option<bool>,
}

impl StreamFacts {
    /// Which life of the stream this is; `resets` is how often the user accepted another one.
    #[must_use]
    pub fn incarnation(&self, resets: u32) -> Incarnation {
        Incarnation::derive(&self.name, &self.created, resets)
    }
}

/// Reads the facts.
///
/// # Errors
///
/// [`SourceError::StreamMissing`], or what hindered the request.
pub async fn stream_facts(
    connection: &Connection,
    stream: &str,
) -> Result<StreamFacts, SourceError> {
    let answer: InfoAnswer = connection.ask(&format!("STREAM.INFO.{stream}"), &json!({})).await?;
    Ok(facts(answer, connection.server_version()))
}

/// The highest sequence that the stream's leader used so far.
///
/// # Errors
///
/// As [`stream_facts`].
pub async fn leader_last_sequence(
    connection: &Connection,
    stream: &str,
) -> Result<u64, SourceError> {
    Ok(stream_facts(connection, stream).await?.last_sequence)
}

/// The sequences of the holes, ascending.
pub(crate) async fn deleted_sequences(
    connection: &Connection,
    stream: &str,
) -> Result<Vec<u64>, SourceError> {
    let request = json!({"deleted_details": true});
    let answer: InfoAnswer = connection.ask(&format!("STREAM.INFO.{stream}"), &request).await?;
    let mut deleted = answer.state.deleted.unwrap_or_default();
    deleted.sort_unstable();
    Ok(deleted)
}

/// The configuration as the broker holds it, with the fields that this program does not know: an
/// update must send them back.
pub(crate) async fn raw_configuration(
    connection: &Connection,
    stream: &str,
) -> Result<Value, SourceError> {
    let answer: RawAnswer = connection.ask(&format!("STREAM.INFO.{stream}"), &json!({})).await?;
    Ok(answer.config)
}

/// A duration as the broker takes and prints it: in whole nanoseconds.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The time that the broker prints, in nanoseconds since 1970.
pub(crate) fn parse_nanos(text: &str) -> Option<i64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok()
}

/// The time that the broker prints; `None` for the zero that stands for "never".
pub(crate) fn parse_time(text: &str) -> Option<StreamTime> {
    let time: jiff::Timestamp = text.parse().ok()?;
    (time.as_microsecond() > 0).then(|| StreamTime(time.as_microsecond()))
}

/// The broker's clock at an answer, where silence means that nothing published before it is still to come: not
/// in a stream that copies others, which lags behind them while its messages keep their times.
pub(crate) fn complete_as_of(clock: Option<&str>, copies: bool) -> Option<StreamTime> {
    clock.filter(|_| !copies).and_then(parse_time)
}

#[derive(Deserialize)]
struct RawAnswer {
    config: Value,
}

#[derive(Deserialize)]
pub(crate) struct InfoAnswer {
    config: Configuration,
    created: String,
    state: State,
    ts: Option<String>,
}

#[derive(Deserialize)]
struct State {
    messages: u64,
    bytes: u64,
    first_seq: u64,
    last_seq: u64,
    last_ts: Option<String>,
    #[serde(default)]
    num_deleted: u64,
    deleted: Option<Vec<u64>>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Configuration {
    name: String,
    subjects: Vec<String>,
    retention: String,
    discard: String,
    storage: String,
    persist_mode: Option<String>,
    max_msgs_per_subject: i64,
    max_bytes: i64,
    max_age: u64,
    num_replicas: u32,
    duplicate_window: u64,
    allow_msg_ttl: bool,
    allow_rollup_hdrs: bool,
    deny_delete: bool,
    deny_purge: bool,
    subject_transform: Option<SubjectTransform>,
    mirror: Option<Value>,
    sources: Option<Vec<Value>>,
    metadata: BTreeMap<String, String>,
}

impl Configuration {
    fn copies(&self) -> bool {
        self.mirror.is_some() || self.sources.as_ref().is_some_and(|sources| !sources.is_empty())
    }
}

pub(crate) fn facts(answer: InfoAnswer, server_version: String) -> StreamFacts {
    let InfoAnswer { config, created, state, ts } = answer;
    let copies = config.copies();
    StreamFacts {
        copies,
        owned: config.metadata.get(OWNED_KEY).is_some_and(|value| value == "true"),
        as_of: complete_as_of(ts.as_deref(), copies),
        last_time: state.last_ts.as_deref().and_then(parse_time),
        retention: match config.retention.as_str() {
            "workqueue" => RetentionKind::WorkQueue,
            "interest" => RetentionKind::Interest,
            _ => RetentionKind::Limits,
        },
        // Old is the broker's default, so everything but "new" counts as old.
        discard_old: config.discard != "new",
        max_messages_per_subject: limit(config.max_msgs_per_subject),
        max_bytes: limit(config.max_bytes),
        max_age: (config.max_age > 0).then(|| Duration::from_nanos(config.max_age)),
        in_memory: config.storage == "memory",
        persists_late: config.persist_mode.as_deref() == Some("async"),
        duplicate_window: Duration::from_nanos(config.duplicate_window),
        name: config.name,
        created,
        first_sequence: state.first_seq,
        last_sequence: state.last_seq,
        messages: state.messages,
        holes: state.num_deleted,
        bytes: state.bytes,
        allow_message_ttl: config.allow_msg_ttl,
        allow_rollup: config.allow_rollup_hdrs,
        deny_delete: config.deny_delete,
        deny_purge: config.deny_purge,
        replicas: config.num_replicas,
        subject_transform: config.subject_transform,
        subjects: config.subjects,
        metadata: config.metadata,
        server_version,
        sync_always: None,
    }
}

/// The broker prints "no limit" as -1 or 0.
fn limit(value: i64) -> Option<u64> {
    u64::try_from(value).ok().filter(|value| *value > 0)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What a stream looks like that can carry every guarantee.
    pub(crate) fn safe_facts() -> StreamFacts {
        facts(serde_json::from_value(safe_answer()).expect("valid"), "2.15.1".into())
    }

    fn safe_answer() -> Value {
        json!({
            "config": {"name": "S", "subjects": ["s.>"], "retention": "limits", "discard": "new",
                "storage": "file", "max_msgs_per_subject": -1, "max_bytes": -1, "max_age": 0,
                "num_replicas": 3, "duplicate_window": 120_000_000_000_u64, "deny_delete": true},
            "created": "2026-01-01T00:00:00.5Z",
            "state": {"messages": 10, "bytes": 100, "first_seq": 1, "last_seq": 10,
                "first_ts": "2026-01-01T00:00:01Z", "last_ts": "2026-01-01T00:00:02.000001Z"},
            "ts": "2026-01-01T00:00:03Z"
        })
    }

    #[test]
    fn what_copies_another_stream_is_never_known_to_be_complete_as_of_now() {
        for (field, value, copies) in [
            ("mirror", Value::Null, false),
            ("sources", json!([]), false),
            ("mirror", json!({"name": "ORIGIN"}), true),
            ("sources", json!([{"name": "ORIGIN"}]), true),
        ] {
            let mut answer = safe_answer();
            answer["config"][field] = value;
            let facts = facts(serde_json::from_value(answer).expect("valid"), "2.15.1".into());
            assert_eq!((facts.copies, facts.as_of.is_none()), (copies, copies), "{field}");
        }
    }

    #[test]
    fn an_answer_of_the_broker_becomes_facts() {
        let facts = safe_facts();
        assert_eq!(facts.retention, RetentionKind::Limits);
        assert!(!facts.discard_old && !facts.owned && facts.deny_delete);
        assert_eq!(
            (facts.max_bytes, facts.max_age, facts.max_messages_per_subject),
            (None, None, None)
        );
        assert_eq!(facts.last_time, Some(StreamTime(1_767_225_602_000_001)));
        assert_eq!(facts.duplicate_window, Duration::from_secs(120));
        assert_eq!(parse_time("0001-01-01T00:00:00Z"), None);
        assert_ne!(facts.incarnation(0), facts.incarnation(1));
    }
}
