//! Who reads a stream (S10).
//!
//! Every pipeline registers its ledger with the stream until it is deleted, whether it runs or not, so
//! that nobody trims what it has not read. The entry stands in the stream's metadata, or, where the
//! right to change the stream is missing, in a consumer that is never pulled and never expires.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tidegate_types::Ledger;

use crate::backoff;
use crate::connection::Connection;
use crate::consumer::{
    self, AckPolicy, ConsumerSpec, DeliverFrom, LEDGER_KEY, ROLE_KEY, ROLE_PROBE,
    ROLE_REGISTRATION, TABLE_KEY,
};
use crate::error::SourceError;
use crate::stream_facts::{RetentionKind, raw_configuration, stream_facts};

/// Entries in the stream's metadata: this, the ledger's name, `@` and a hash of the table's address. A
/// ledger of one name may stand in several tables (a copy of a pipeline with another `url`), each with
/// floors of its own.
const PREFIX: &str = "tidegate.ledger.";
/// The broker has no compare-and-swap for configurations: an entry that another pipeline's update
/// overwrote at the same moment is written again.
const ATTEMPTS: u32 = 5;

/// A ledger that reads the stream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Registration {
    /// The ledger.
    pub ledger: String,
    /// The table whose log holds its floors.
    pub table_url: String,
}

/// A consumer of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    /// The consumer's name.
    pub consumer: String,
    /// Whose it is; none: a stranger's.
    pub registration: Option<Registration>,
}

/// Registers the ledger. Harmless when it is registered already; to be repeated now and then, because
/// somebody else's update of the stream may take the entry away.
///
/// # Errors
///
/// What hindered the request, when neither form of registration is possible.
pub async fn register_ledger(
    connection: &Connection,
    stream: &str,
    ledger: &Ledger,
    table_url: &str,
) -> Result<(), SourceError> {
    let key = entry_key(ledger, table_url);
    let written = change_entries(connection, stream, |entries| {
        let before = entries.insert(key.clone(), json!(table_url));
        before.as_ref().and_then(Value::as_str) != Some(table_url)
    });
    match written.await {
        Ok(()) => Ok(()),
        Err(error) if may_be_missing_right(&error) => {
            tracing::debug!(stream, %error, "registering by a consumer instead");
            register_by_consumer(connection, stream, ledger, table_url).await
        }
        Err(error) => Err(error),
    }
}

/// Removes the ledger's entries in both forms, whatever tables they name.
///
/// # Errors
///
/// What hindered the request.
pub async fn forget_ledger(
    connection: &Connection,
    stream: &str,
    ledger: &Ledger,
) -> Result<(), SourceError> {
    for info in consumer::list(connection, stream).await? {
        let of_ledger = registration_of(&info.config.metadata)
            .is_some_and(|registration| registration.ledger == ledger.as_str());
        if of_ledger && is_registration(&info.config.metadata) {
            consumer::delete(connection, stream, &info.name).await?;
        }
    }
    change_entries(connection, stream, |entries| {
        let before = entries.len();
        entries.retain(|key, _| ledger_of(key) != Some(ledger.as_str()));
        entries.len() != before
    })
    .await
}

/// Takes a ledger of one table off the stream for good: its entry and every consumer of it. A ledger of
/// the same name in another table stays.
///
/// # Errors
///
/// What hindered the request.
pub async fn forget_reader(
    connection: &Connection,
    stream: &str,
    ledger: &Ledger,
    table_url: &str,
) -> Result<(), SourceError> {
    let ours = Registration { ledger: ledger.to_string(), table_url: table_url.to_owned() };
    for info in consumer::list(connection, stream).await? {
        if registration_of(&info.config.metadata).as_ref() == Some(&ours) {
            consumer::delete(connection, stream, &info.name).await?;
        }
    }
    change_entries(connection, stream, |entries| {
        let before = entries.len();
        entries.retain(|key, url| {
            ledger_of(key) != Some(ledger.as_str()) || url.as_str() != Some(table_url)
        });
        entries.len() != before
    })
    .await
}

/// Every registered ledger, whatever form its entry has.
///
/// # Errors
///
/// What hindered the request.
pub async fn registered_ledgers(
    connection: &Connection,
    stream: &str,
) -> Result<Vec<Registration>, SourceError> {
    let facts = stream_facts(connection, stream).await?;
    let mut found: Vec<_> = facts
        .metadata
        .iter()
        .filter_map(|(key, table_url)| {
            let ledger = ledger_of(key)?.to_owned();
            Some(Registration { ledger, table_url: table_url.clone() })
        })
        .collect();
    for info in consumer::list(connection, stream).await? {
        if is_registration(&info.config.metadata) {
            found.extend(registration_of(&info.config.metadata));
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// Every consumer that reads the stream: probes, which only count, are left out.
///
/// # Errors
///
/// What hindered the request.
pub async fn readers(connection: &Connection, stream: &str) -> Result<Vec<Reader>, SourceError> {
    let consumers = consumer::list(connection, stream).await?;
    let reader = |info: consumer::ConsumerInfo| {
        let metadata = info.config.metadata;
        let is_probe = metadata.get(ROLE_KEY).is_some_and(|role| role == ROLE_PROBE);
        (!is_probe)
            .then(|| Reader { consumer: info.name, registration: registration_of(&metadata) })
    };
    Ok(consumers.into_iter().filter_map(reader).collect())
}

fn is_registration(metadata: &BTreeMap<String, String>) -> bool {
    metadata.get(ROLE_KEY).is_some_and(|role| role == ROLE_REGISTRATION)
}

fn registration_of(metadata: &BTreeMap<String, String>) -> Option<Registration> {
    let ledger = metadata.get(LEDGER_KEY)?.clone();
    Some(Registration { ledger, table_url: metadata.get(TABLE_KEY)?.clone() })
}

/// Metadata of a consumer that belongs to a ledger.
pub(crate) fn owner_metadata(ledger: &Ledger, table_url: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (LEDGER_KEY.to_owned(), ledger.to_string()),
        (TABLE_KEY.to_owned(), table_url.to_owned()),
    ])
}

/// `change` says whether it changed something.
async fn change_entries(
    connection: &Connection,
    stream: &str,
    change: impl Fn(&mut Map<String, Value>) -> bool,
) -> Result<(), SourceError> {
    for attempt in 0..=ATTEMPTS {
        let mut config = raw_configuration(connection, stream).await?;
        if !config["metadata"].is_object() {
            config["metadata"] = json!({});
        }
        let Some(entries) = config["metadata"].as_object_mut() else { break };
        if !change(entries) {
            return Ok(());
        }
        if attempt == ATTEMPTS {
            break;
        }
        connection.ask_once::<Value>(&format!("STREAM.UPDATE.{stream}"), &config).await?;
        let pause = std::time::Duration::from_millis(20);
        tokio::time::sleep(backoff::pause(attempt, pause, pause * 8, backoff::random())).await;
    }
    Err(SourceError::NoProgress {
        stream: stream.to_owned(),
        consumer: "of the registration".to_owned(),
        detail: "others keep changing the stream's metadata".to_owned(),
    })
}

fn entry_key(ledger: &Ledger, table_url: &str) -> String {
    format!("{PREFIX}{ledger}@{:016x}", xxhash_rust::xxh3::xxh3_64(table_url.as_bytes()))
}

/// The ledger that an entry of the stream's metadata is of.
fn ledger_of(key: &str) -> Option<&str> {
    let name = key.strip_prefix(PREFIX)?;
    Some(name.split_once('@').map_or(name, |(ledger, _)| ledger))
}

/// A missing right shows as silence or as a refusal, depending on the broker's configuration.
fn may_be_missing_right(error: &SourceError) -> bool {
    matches!(error, SourceError::TimedOut { .. } | SourceError::Refused { .. })
}

/// One for each ledger and table.
fn registration_name(ledger: &Ledger, table_url: &str) -> String {
    format!("tg-ledger-{:016x}", owner_hash(ledger, table_url))
}

/// Tells the consumers of one ledger and table from all others of the stream.
pub(crate) fn owner_hash(ledger: &Ledger, table_url: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(format!("{ledger}\n{table_url}").as_bytes())
}

async fn register_by_consumer(
    connection: &Connection,
    stream: &str,
    ledger: &Ledger,
    table_url: &str,
) -> Result<(), SourceError> {
    let facts = stream_facts(connection, stream).await?;
    if facts.retention != RetentionKind::Limits {
        // A second consumer would be refused (WorkQueue) or keep every message (Interest); such
        // streams are never trimmed either.
        return Ok(());
    }
    let mut metadata = owner_metadata(ledger, table_url);
    metadata.insert(ROLE_KEY.to_owned(), ROLE_REGISTRATION.to_owned());
    let spec = ConsumerSpec {
        name: registration_name(ledger, table_url),
        from: DeliverFrom::Start,
        acks: AckPolicy::None,
        filter: None,
        headers_only: true,
        lifetime: None,
        durable: true,
        metadata,
    };
    consumer::create(connection, stream, &spec).await.map(drop)
}
