//! Making and keeping a stream.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::connection::Connection;
use crate::error::SourceError;
use crate::stream_facts::{
    InfoAnswer, OWNED_KEY, StreamFacts, facts, nanos, raw_configuration, stream_facts,
};

/// How a stream is split into ordered partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Partitioning {
    /// One partition: the whole stream.
    None,
    /// The stream's subject transform puts the partition in front: `<k>.<subject>`. The hash is over
    /// the subject, not over the id (S11).
    Subject {
        /// How many partitions.
        partitions: u32,
    },
    /// Subjects carry the partition already.
    Declared {
        /// How many partitions.
        partitions: u32,
        /// The filter of a partition, with `{partition}` for its number.
        pattern: String,
    },
}

/// A stream that Tidegate makes and keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSpec {
    /// The stream's name.
    pub name: String,
    /// Its subjects, as publishers use them.
    pub subjects: Vec<String>,
    /// How it is split.
    pub partitioning: Partitioning,
    /// Most bytes; publishers see 503 beyond.
    pub max_bytes: Option<u64>,
    /// Oldest message.
    pub max_age: Option<Duration>,
    /// Copies.
    pub replicas: u32,
    /// The broker's own duplicate window.
    pub duplicate_window: Duration,
}

/// The consumer filter of partition `k`; none: the whole stream.
#[must_use]
pub fn partition_filter(partitioning: &Partitioning, k: u32) -> Option<String> {
    match partitioning {
        Partitioning::None => None,
        Partitioning::Subject { .. } => Some(format!("{k}.>")),
        Partitioning::Declared { pattern, .. } => {
            Some(pattern.replace("{partition}", &k.to_string()))
        }
    }
}

/// Creates the stream, or brings one that Tidegate made to what `spec` says. Nothing is written when
/// nothing differs.
///
/// # Errors
///
/// [`SourceError::NotOurs`] for a stream that somebody else made,
/// [`SourceError::PartitioningChanged`] when the partitions differ, or what hindered the request.
pub async fn ensure_stream(
    connection: &Connection,
    spec: &StreamSpec,
) -> Result<StreamFacts, SourceError> {
    match stream_facts(connection, &spec.name).await {
        Ok(found) => update(connection, spec, found).await,
        Err(SourceError::StreamMissing { .. }) => create(connection, spec).await,
        Err(error) => Err(error),
    }
}

/// Deletes a stream with every message in it; one that is not there is deleted already.
///
/// # Errors
///
/// What hindered the request.
pub async fn delete_stream(connection: &Connection, stream: &str) -> Result<(), SourceError> {
    match connection.ask::<Value>(&format!("STREAM.DELETE.{stream}"), &json!({})).await {
        Ok(_) => {
            tracing::info!(stream, "stream deleted");
            Ok(())
        }
        Err(SourceError::StreamMissing { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn create(connection: &Connection, spec: &StreamSpec) -> Result<StreamFacts, SourceError> {
    let mut config = fixed_settings(spec);
    config.extend(changeable_settings(spec));
    let subject = format!("STREAM.CREATE.{}", spec.name);
    // Creating with the same configuration twice is one creation for the broker, so that a lost
    // answer can be asked for again.
    let answer: InfoAnswer = connection.ask(&subject, &config).await?;
    tracing::info!(stream = spec.name, "stream created");
    Ok(facts(answer, connection.server_version()))
}

async fn update(
    connection: &Connection,
    spec: &StreamSpec,
    found: StreamFacts,
) -> Result<StreamFacts, SourceError> {
    if !found.owned {
        return Err(SourceError::NotOurs { stream: spec.name.clone() });
    }
    let (has, wanted) = (
        found.subject_transform.as_ref().map(|transform| transform.destination.clone()),
        transform(spec),
    );
    if has != wanted {
        let name = |transform: Option<String>| transform.unwrap_or_else(|| "one".to_owned());
        return Err(SourceError::PartitioningChanged {
            stream: spec.name.clone(),
            found: name(has),
            wanted: name(wanted),
        });
    }
    let current = raw_configuration(connection, &spec.name).await?;
    let Some(config) = merge(&current, changeable_settings(spec)) else { return Ok(found) };
    let answer: InfoAnswer =
        connection.ask(&format!("STREAM.UPDATE.{}", spec.name), &config).await?;
    tracing::info!(stream = spec.name, "stream updated");
    Ok(facts(answer, connection.server_version()))
}

/// `current` with `wanted` laid over it; `None` when that changes nothing.
fn merge(current: &Value, wanted: Map<String, Value>) -> Option<Value> {
    let mut config = current.clone();
    let object = config.as_object_mut()?;
    let mut changed = false;
    for (key, value) in wanted {
        if object.get(&key) != Some(&value) {
            changed = true;
            object.insert(key, value);
        }
    }
    changed.then_some(config)
}

fn fixed_settings(spec: &StreamSpec) -> Map<String, Value> {
    let mut config = object(json!({
        "name": spec.name,
        "retention": "limits",
        "storage": "file",
        "discard": "new",
        "max_consumers": -1,
        "max_msgs": -1,
        "max_msgs_per_subject": -1,
        "max_msg_size": -1,
        "deny_delete": true,
        "metadata": {OWNED_KEY: "true"},
    }));
    if let Some(destination) = transform(spec) {
        config.insert("subject_transform".into(), json!({"src": ">", "dest": destination}));
    }
    config
}

/// What may differ from the stream as it stands, in the form in which the broker prints it.
fn changeable_settings(spec: &StreamSpec) -> Map<String, Value> {
    let max_bytes = spec.max_bytes.and_then(|bytes| i64::try_from(bytes).ok()).unwrap_or(-1);
    object(json!({
        "subjects": spec.subjects,
        "max_bytes": max_bytes,
        "max_age": spec.max_age.map_or(0, nanos),
        "num_replicas": spec.replicas,
        "duplicate_window": nanos(spec.duplicate_window),
    }))
}

/// Where the transform puts a subject; none without one. The source is `>`, so it covers every
/// subject that the stream takes (S3).
fn transform(spec: &StreamSpec) -> Option<String> {
    match spec.partitioning {
        Partitioning::Subject { partitions } => Some(format!("{{{{partition({partitions})}}}}.>")),
        Partitioning::None | Partitioning::Declared { .. } => None,
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_has_its_filter() {
        assert_eq!(partition_filter(&Partitioning::None, 0), None);
        let by_subject = Partitioning::Subject { partitions: 8 };
        assert_eq!(partition_filter(&by_subject, 7).as_deref(), Some("7.>"));
        let declared = Partitioning::Declared { partitions: 2, pattern: "in.{partition}.*".into() };
        assert_eq!(partition_filter(&declared, 1).as_deref(), Some("in.1.*"));
    }

    #[test]
    fn an_update_keeps_what_it_does_not_know_and_nothing_is_sent_for_nothing() {
        let current = json!({"subjects": ["a"], "max_age": 5, "from_the_future": [1]});
        let same = object(json!({"subjects": ["a"], "max_age": 5}));
        assert_eq!(merge(&current, same), None);
        let other = object(json!({"max_age": 6}));
        assert_eq!(
            merge(&current, other),
            Some(json!({"subjects": ["a"], "max_age": 6, "from_the_future": [1]}))
        );
    }
}
