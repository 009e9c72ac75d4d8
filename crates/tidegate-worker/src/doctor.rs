//! `tidegate doctor`: one look at everything that a pipeline stands on, each with what to do about it.

use std::path::PathBuf;

use serde::Serialize;
use tidegate_config::PipelineConfig;
use tidegate_runtime::secrets::Secrets;
use tidegate_runtime::{Random, RunError, open_store};
use tidegate_source::{
    Connection, SourceError, durability_caveats, readers, registered_ledgers, stream_facts,
    unsafe_settings,
};
use tidegate_table::log::CommitLog;
use tidegate_table::store;
use tidegate_types::{Guarantee, Ledger, Reason};

use crate::{setup, source_setup};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Health {
    /// As it should be.
    Ok,
    /// It works, with a caveat.
    Caveat,
    /// It does not work.
    Failed,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// How it ended.
    pub health: Health,
    /// What was looked at.
    pub what: &'static str,
    /// What was found.
    pub found: String,
}

fn check(health: Health, what: &'static str, found: impl Into<String>) -> Check {
    Check { health, what, found: found.into() }
}

/// Looks at schema, broker, stream, its other readers, store and table. Whatever fails, the rest is
/// looked at as well.
pub async fn doctor(config: &PipelineConfig, secrets_dir: Option<PathBuf>) -> Vec<Check> {
    let secrets = Secrets::new(secrets_dir);
    let mut checks = Vec::new();
    checks.push(match setup::compile(config) {
        Ok((.., layout)) => {
            let columns = layout.spec.schema.fields().len();
            check(Health::Ok, "schema", format!("{columns} columns, filter and partitioning fit"))
        }
        Err(error) => failed("schema", &error),
    });
    let name = "tidegate doctor".to_owned();
    match source_setup::connect(&config.source, &secrets, false, name).await {
        Ok(connection) => {
            let version = connection.server_version();
            checks.push(check(Health::Ok, "broker", format!("nats-server {version} answers")));
            look_at_stream(config, &connection, &mut checks).await;
        }
        Err(error) => checks.push(failed("broker", &error)),
    }
    look_at_table(config, &secrets, &mut checks).await;
    checks
}

async fn look_at_stream(config: &PipelineConfig, connection: &Connection, checks: &mut Vec<Check>) {
    let facts = match stream_facts(connection, &config.source.stream).await {
        Ok(facts) => facts,
        Err(SourceError::StreamMissing { stream }) if !config.source.subjects.is_empty() => {
            let found = format!("{stream} is not there yet and will be made");
            return checks.push(check(Health::Ok, "stream", found));
        }
        Err(error) => return checks.push(failed("stream", &error)),
    };
    let found = format!("{} holds {} messages", facts.name, facts.messages);
    checks.push(check(Health::Ok, "stream", found));
    if config.guarantee == Guarantee::ExactlyOnce {
        let problems = unsafe_settings(&facts);
        checks.extend(problems.into_iter().map(|p| check(Health::Failed, "stream settings", p)));
    }
    let caveats = durability_caveats(&facts);
    checks.extend(caveats.into_iter().map(|c| check(Health::Caveat, "durability", c)));
    look_at_readers(config, connection, checks).await;
}

/// Trimming waits for every reader that is not of this table (S10).
async fn look_at_readers(
    config: &PipelineConfig,
    connection: &Connection,
    checks: &mut Vec<Check>,
) {
    let stream = &config.source.stream;
    let found = async {
        Ok::<_, SourceError>((
            registered_ledgers(connection, stream).await?,
            readers(connection, stream).await?,
        ))
    };
    let (registered, readers) = match found.await {
        Ok(found) => found,
        Err(error) => return checks.push(failed("readers", &error)),
    };
    for other in registered.iter().filter(|other| other.table_url != config.sink.url) {
        let found = format!(
            "ledger {} of {} reads the stream too and keeps it from being trimmed; \
             if it is gone: tidegate doctor --forget-ledger {}",
            other.ledger, other.table_url, other.ledger
        );
        checks.push(check(Health::Caveat, "readers", found));
    }
    for stranger in readers.iter().filter(|reader| reader.registration.is_none()) {
        let found = format!(
            "consumer {} is not ours and keeps the stream from being trimmed",
            stranger.consumer
        );
        checks.push(check(Health::Caveat, "readers", found));
    }
}

async fn look_at_table(config: &PipelineConfig, secrets: &Secrets, checks: &mut Vec<Check>) {
    let opened = match open_store(&config.sink, secrets) {
        Ok(opened) => opened,
        Err(error) => return checks.push(failed("store", &error)),
    };
    match store::probe(&opened, Random::from_system().nonce()).await {
        Ok(()) => {
            let found = format!("{} honours a conditional put", config.sink.url);
            checks.push(check(Health::Ok, "store", found));
        }
        Err(error) => return checks.push(failed("store", &error)),
    }
    checks.push(match CommitLog::open(&opened).load().await {
        Ok(Some(table)) => check(Health::Ok, "table", format!("version {}", table.version())),
        Ok(None) => check(Health::Ok, "table", "not there yet and will be made"),
        Err(error) => failed("table", &error),
    });
}

fn failed(what: &'static str, error: &(dyn std::error::Error + 'static)) -> Check {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let found = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    check(Health::Failed, what, found)
}

/// Takes a ledger that will never read again off the stream's list of readers (S10).
///
/// # Errors
///
/// When the name is none, or the stream cannot be changed.
pub async fn forget_ledger(
    config: &PipelineConfig,
    secrets_dir: Option<PathBuf>,
    ledger: &str,
) -> Result<(), RunError> {
    let ledger = Ledger::new(ledger).map_err(|error| {
        RunError::permanent(Reason::InvalidConfiguration, "no such ledger").because(error)
    })?;
    if ledger == config.ledger {
        let what = format!("{ledger} is this pipeline's own ledger");
        return Err(RunError::permanent(Reason::InvalidConfiguration, what));
    }
    let connection = source_setup::connect_as_admin(config, secrets_dir.as_deref()).await?;
    Ok(tidegate_source::forget_ledger(&connection, &config.source.stream, &ledger).await?)
}
