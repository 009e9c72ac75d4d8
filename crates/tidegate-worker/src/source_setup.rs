//! From the configuration to a connection, a stream and its identity.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tidegate_config::{JetStreamSource, OnSourceReset, Partitioning, PipelineConfig, StartFrom};
use tidegate_runtime::secrets::Secrets;
use tidegate_runtime::{RunError, private_ca};
use tidegate_source::{
    ConnectOptions, Connection, Credentials, KnownMessage, ReadMode, RetentionKind, SourceError,
    StartAt, StreamFacts, StreamSpec, TlsFiles, ensure_stream, known_message, partition_filter,
    stream_facts,
};
use tidegate_table::ledger::LedgerState;
use tidegate_table::log::Txns;
use tidegate_types::{Guarantee, Incarnation, PartitionId, Position, Reason};
use tokio::time::Instant;
use tracing::warn;

/// How long a worker waits for the one that makes the stream.
const MAKER_PATIENCE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// How many accepted resets of one stream are told apart.
const MAX_RESETS: u32 = 1_000;

/// Connects with the worker's or the administrator's credentials.
pub(crate) async fn connect(
    source: &JetStreamSource,
    secrets: &Secrets,
    administrator: bool,
    client_name: String,
) -> Result<Connection, RunError> {
    if source.servers.is_empty() {
        return Err(RunError::permanent(
            Reason::InvalidConfiguration,
            "source.jetStream.servers is empty: only `tidegate run` starts a server of its own",
        ));
    }
    let admin = source.admin_credentials.as_ref().filter(|_| administrator);
    let credentials = match admin.or(source.credentials.as_ref()) {
        Some(name) => Some(credentials(name, secrets)?),
        None => None,
    };
    let tls = match &source.tls {
        Some(tls) => Some(TlsFiles {
            authorities: tls
                .ca
                .as_ref()
                .map(|file| secrets.path(&file.name, &file.key))
                .transpose()?,
            client: match &tls.client_secret {
                Some(name) => {
                    Some((secrets.path(name, "tls.crt")?, secrets.path(name, "tls.key")?))
                }
                None => None,
            },
        }),
        None => None,
    };
    let options = ConnectOptions {
        servers: source.servers.clone(),
        credentials,
        tls,
        private_authorities: private_ca::authorities()?,
        client_name,
    };
    Ok(Connection::connect(options).await?)
}

fn credentials(name: &str, secrets: &Secrets) -> Result<Credentials, RunError> {
    if let Some(creds) = secrets.read_optional(name, "creds")? {
        return Ok(Credentials::CredentialsFile(creds.expose().clone()));
    }
    if let Some(seed) = secrets.read_optional(name, "nkey")? {
        return Ok(Credentials::Nkey(seed.expose().clone()));
    }
    if let Some(token) = secrets.read_optional(name, "token")? {
        return Ok(Credentials::Token(token.expose().clone()));
    }
    let user = secrets.read(name, "username")?.expose().clone();
    let password = secrets.read(name, "password")?.expose().clone();
    Ok(Credentials::UserPassword { user, password })
}

/// The stream as it stands; made or kept when it is ours to make.
pub(crate) async fn open_stream(
    connection: &Connection,
    config: &PipelineConfig,
    maintain: bool,
) -> Result<StreamFacts, RunError> {
    let source = &config.source;
    if maintain && !source.subjects.is_empty() {
        return Ok(ensure_stream(connection, &stream_spec(config)).await?);
    }
    let deadline = Instant::now() + MAKER_PATIENCE;
    loop {
        match stream_facts(connection, &source.stream).await {
            // Another worker of the pipeline is about to make it.
            Err(SourceError::StreamMissing { .. })
                if !source.subjects.is_empty() && Instant::now() < deadline =>
            {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Err(SourceError::StreamMissing { stream }) => return Err(stream_missing(&stream)),
            other => return Ok(other?),
        }
    }
}

fn stream_missing(stream: &str) -> RunError {
    let what =
        format!("stream {stream} does not exist; set source.jetStream.subjects to have it made");
    RunError::permanent(Reason::StreamMissing, what)
}

/// The stream that the configuration asks for.
#[must_use]
pub fn stream_spec(config: &PipelineConfig) -> StreamSpec {
    let source = &config.source;
    StreamSpec {
        name: source.stream.clone(),
        subjects: source.subjects.clone(),
        partitioning: partitioning(&source.partitioning),
        max_bytes: source.retention.max_bytes.map(|bytes| bytes.0),
        max_age: source.retention.max_age.map(|age| age.to_duration()),
        replicas: source.retention.replicas,
        duplicate_window: source.duplicate_window.to_duration(),
    }
}

fn partitioning(partitioning: &Partitioning) -> tidegate_source::Partitioning {
    match partitioning {
        Partitioning::None => tidegate_source::Partitioning::None,
        Partitioning::Subject { partitions, .. } => {
            tidegate_source::Partitioning::Subject { partitions: *partitions }
        }
        Partitioning::Declared { partitions, subject_pattern } => {
            tidegate_source::Partitioning::Declared {
                partitions: *partitions,
                pattern: subject_pattern.clone(),
            }
        }
    }
}

/// The consumer filter of every partition.
pub(crate) fn filters(source: &JetStreamSource) -> BTreeMap<PartitionId, Option<String>> {
    let plain = partitioning(&source.partitioning);
    (0..source.partitioning.count())
        .map(|k| (PartitionId(k), partition_filter(&plain, k)))
        .collect()
}

/// What the broker is told about messages that were read.
pub(crate) fn read_mode(guarantee: Guarantee, retention: RetentionKind) -> ReadMode {
    match (guarantee, retention) {
        (Guarantee::AtMostOnce, _) => ReadMode::AckOnReceipt,
        (_, RetentionKind::Limits) => ReadMode::FromFloor,
        (_, RetentionKind::WorkQueue | RetentionKind::Interest) => ReadMode::AckAfterCommit,
    }
}

pub(crate) fn start_at(start: &StartFrom) -> StartAt {
    match start {
        StartFrom::All => StartAt::All,
        StartFrom::New => StartAt::New,
        StartFrom::Sequence(sequence) => StartAt::Sequence(*sequence),
        StartFrom::Time(micros) => StartAt::Time(tidegate_types::StreamTime(*micros)),
    }
}

/// Which life of the stream this is (S6). The log may know the stream under its creation time, with
/// any number of resets that the user accepted.
///
/// # Errors
///
/// [`Reason::SourceIdentity`] when the log knows another stream and `onSourceReset` is Halt.
pub(crate) async fn incarnation(
    connection: &Connection,
    config: &PipelineConfig,
    facts: &StreamFacts,
    txns: &Txns,
) -> Result<Incarnation, RunError> {
    // Looked at after the log: meanwhile another worker may have committed what the stream has got since
    // it was looked at first, and an honest stream would seem to end before its floors.
    let facts = &stream_facts(connection, &facts.name).await?;
    let state = LedgerState::read(txns, &config.ledger, facts.incarnation(0))?;
    let Some(resets) = newest_reset(facts, |k| state.incarnations.contains_key(k)) else {
        return if state.incarnations.is_empty() {
            Ok(facts.incarnation(0))
        } else {
            let found = format!("it was created at {}, which the log does not know", facts.created);
            reset(config, &found).map(|()| facts.incarnation(0))
        };
    };
    let known = LedgerState::read(txns, &config.ledger, facts.incarnation(resets))?;
    match contradiction(connection, facts, &known).await? {
        None => Ok(facts.incarnation(resets)),
        Some(found) => reset(config, &found).map(|()| facts.incarnation(resets + 1)),
    }
}

/// How many resets of this stream the log knows; none: not even the stream.
fn newest_reset(facts: &StreamFacts, known: impl Fn(&Incarnation) -> bool) -> Option<u32> {
    (0..MAX_RESETS).take_while(|resets| known(&facts.incarnation(*resets))).last()
}

/// The incarnation under which the log knows this stream last.
pub(crate) fn newest_known(
    facts: &StreamFacts,
    known: impl Fn(&Incarnation) -> bool,
) -> Option<Incarnation> {
    newest_reset(facts, known).map(|resets| facts.incarnation(resets))
}

/// What of the stream contradicts the floors in the log.
async fn contradiction(
    connection: &Connection,
    facts: &StreamFacts,
    state: &LedgerState,
) -> Result<Option<String>, RunError> {
    for (partition, known) in &state.partitions {
        let floor = known.floor.unwrap_or_default();
        if facts.last_sequence < floor.0 {
            let last = facts.last_sequence;
            return Ok(Some(format!(
                "it ends at {last}, partition {partition} was read to {floor}"
            )));
        }
        if known.fingerprint == 0 || floor == Position(0) {
            continue;
        }
        let expected = KnownMessage { sequence: floor.0, fingerprint: known.fingerprint };
        let found = known_message(connection, &facts.name, floor.0).await?;
        if found.is_some_and(|found| found != expected) {
            return Ok(Some(format!("another message stands at sequence {floor}")));
        }
    }
    Ok(None)
}

fn reset(config: &PipelineConfig, found: &str) -> Result<(), RunError> {
    let stream = &config.source.stream;
    match config.source.on_source_reset {
        OnSourceReset::NewIncarnation => {
            warn!(stream, found, reason = %Reason::SourceIdentity, "a new incarnation begins");
            Ok(())
        }
        OnSourceReset::Halt => Err(RunError::permanent(
            Reason::SourceIdentity,
            format!(
                "stream {stream} is not the one that the table's log knows: {found}; \
                 set source.jetStream.onSourceReset: NewIncarnation to read it from its start"
            ),
        )),
    }
}

/// Connects as the stream's administrator where such credentials are given, for commands that make
/// streams.
///
/// # Errors
///
/// When a secret is missing or the broker cannot be reached.
pub async fn connect_as_admin(
    config: &PipelineConfig,
    secrets_dir: Option<&Path>,
) -> Result<Connection, RunError> {
    let secrets = Secrets::new(secrets_dir.map(Path::to_path_buf));
    connect(&config.source, &secrets, true, "tidegate".to_owned()).await
}
