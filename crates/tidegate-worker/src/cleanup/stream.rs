//! Leaving a stream, or deleting it.

use tidegate_config::PipelineConfig;
use tidegate_runtime::RunError;
use tidegate_runtime::secrets::Secrets;
use tidegate_source::{
    Connection, SourceError, StreamFacts, delete_stream, forget_reader, readers,
    registered_ledgers, stream_facts,
};

use super::Ended;
use crate::source_setup;

/// Deletes the stream when nobody else reads it; else, or when it is to stay, this ledger is taken off its
/// list of readers, so that it keeps nobody from trimming.
pub(super) async fn leave(
    config: &PipelineConfig,
    secrets: &Secrets,
    delete: bool,
) -> Result<Ended, RunError> {
    let source = &config.source;
    let name = format!("tidegate cleanup {}", config.name);
    let connection = source_setup::connect(source, secrets, true, name).await?;
    let facts = match stream_facts(&connection, &source.stream).await {
        Ok(facts) => facts,
        Err(SourceError::StreamMissing { .. }) => return Ok(Ended::Gone),
        Err(error) => return Err(error.into()),
    };
    let objection = if delete { objection(&connection, &facts, config).await? } else { None };
    if delete && objection.is_none() {
        delete_stream(&connection, &source.stream).await?;
        return Ok(Ended::Gone);
    }
    forget_reader(&connection, &source.stream, &config.ledger, &config.sink.url).await?;
    Ok(objection.map_or(Ended::Gone, Ended::Left))
}

/// Why the stream must stay.
async fn objection(
    connection: &Connection,
    facts: &StreamFacts,
    config: &PipelineConfig,
) -> Result<Option<String>, SourceError> {
    if !facts.owned {
        return Ok(Some("tidegate did not make it".to_owned()));
    }
    let (ledger, url) = (config.ledger.as_str(), config.sink.url.as_str());
    let registered = registered_ledgers(connection, &facts.name).await?;
    if let Some(other) = registered.iter().find(|r| r.ledger != ledger || r.table_url != url) {
        return Ok(Some(format!("ledger {} of {} reads it too", other.ledger, other.table_url)));
    }
    let readers = readers(connection, &facts.name).await?;
    let ours = |registration: &tidegate_source::Registration| {
        registration.ledger == ledger && registration.table_url == url
    };
    let stranger = readers.iter().find(|reader| !reader.registration.as_ref().is_some_and(ours));
    Ok(stranger.map(|reader| format!("consumer {} reads it too", reader.consumer)))
}
