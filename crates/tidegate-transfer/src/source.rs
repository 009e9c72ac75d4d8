//! The source, behind a seam: what a run needs of it, so that its protocol can be tested without one.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use serde_json::Value;
use tidegate_config::{BadFilePolicy, BulkSource, TransferConfig};
use tidegate_extract::{ExtractError, ReadRequest, Snapshot};
use tidegate_runtime::RunError;
use tidegate_runtime::secrets::Secrets;
use tidegate_schedule::{Grid, Template};
use tidegate_types::{DataInterval, Reason};
use tracing::warn;

use crate::decide::Memory;

/// How long giving back the source's snapshot may take; it ends with the connection anyway.
const CLOSING: Duration = Duration::from_secs(5);
/// Between two looks whether stopped readers have let go of the snapshot.
const LETTING_GO: Duration = Duration::from_millis(5);

/// Opens sources.
pub(crate) trait Sources: Send + Sync {
    /// Whether the secret that leads to a source can be read.
    fn check_secret(&self, source: &BulkSource, secrets: &Secrets) -> Result<(), ExtractError>;

    /// Opens what is asked for and fixes its snapshot.
    fn open(&self, request: ReadRequest) -> BoxFuture<'_, Result<Box<dyn Snapshot>, ExtractError>>;

    /// Joins a snapshot that another process holds open.
    fn join(
        &self,
        request: ReadRequest,
        ticket: Value,
    ) -> BoxFuture<'_, Result<Box<dyn Snapshot>, ExtractError>>;
}

/// The real ones.
pub(crate) struct RealSources;

impl Sources for RealSources {
    fn check_secret(&self, source: &BulkSource, secrets: &Secrets) -> Result<(), ExtractError> {
        tidegate_extract::check_secret(source, secrets)
    }

    fn open(&self, request: ReadRequest) -> BoxFuture<'_, Result<Box<dyn Snapshot>, ExtractError>> {
        Box::pin(tidegate_extract::open(request))
    }

    fn join(
        &self,
        request: ReadRequest,
        ticket: Value,
    ) -> BoxFuture<'_, Result<Box<dyn Snapshot>, ExtractError>> {
        Box::pin(tidegate_extract::join(request, ticket))
    }
}

/// Whether the secret that leads to the pipeline's source can be read: looked at before the first of several
/// runs, so that what is missing is told once and nothing is begun.
///
/// # Errors
///
/// `SecretMissing` where it is not there; a permanent one where it cannot be an address.
pub fn check_source_secret(
    config: &TransferConfig,
    secrets_dir: Option<PathBuf>,
) -> Result<(), RunError> {
    Ok(RealSources.check_secret(&config.source, &Secrets::new(secrets_dir))?)
}

/// What is asked of the source for one run.
pub(crate) fn request(
    config: &TransferConfig,
    secrets: &Secrets,
    interval: Option<DataInterval>,
) -> ReadRequest {
    let memory = Memory::shares(config);
    let on_bad_file = match &config.source {
        BulkSource::ObjectStore(source) => source.on_bad_file,
        BulkSource::Postgres(_) | BulkSource::MySql(_) => BadFilePolicy::default(),
    };
    ReadRequest {
        source: config.source.clone(),
        secrets: secrets.clone(),
        application: format!("tidegate/{}", config.ledger),
        fields: config.fields.clone(),
        interval,
        time_zone: config.schedule.as_ref().map(|schedule| schedule.time_zone.clone()),
        incremental: config.incremental.clone(),
        chunking: config.chunking.clone(),
        on_error: config.on_error,
        on_bad_file,
        batch_rows: memory.batch_rows,
        batch_bytes: memory.batch_bytes,
    }
}

/// Whether the interval has ended: what comes later would belong to an interval that is done.
pub(crate) fn check_ended(interval: DataInterval, now: Timestamp) -> Result<(), RunError> {
    if interval.end() <= now {
        return Ok(());
    }
    let what = format!("{interval} has not ended yet, so that rows of it may still come");
    Err(RunError::transient(Reason::WaitingForTick, what))
}

/// Whether files that are named for the time are the interval's alone. Most of it was seen when the pipeline
/// was accepted; this is about the day itself.
pub(crate) fn check_names(
    config: &TransferConfig,
    grid: &Grid,
    interval: DataInterval,
) -> Result<(), RunError> {
    let BulkSource::ObjectStore(source) = &config.source else { return Ok(()) };
    let checked =
        Template::new(&source.glob).and_then(|template| template.check_interval(grid, interval));
    checked.map_err(|error| RunError::permanent(Reason::InvalidConfiguration, error.to_string()))
}

/// Gives the source's snapshot back, once readers that were stopped have let go of it.
pub(crate) async fn close(snapshot: Arc<Box<dyn Snapshot>>) {
    let giving_back = async {
        let mut held = snapshot;
        loop {
            match Arc::try_unwrap(held) {
                Ok(snapshot) => return snapshot.close().await,
                Err(shared) => held = shared,
            }
            tokio::time::sleep(LETTING_GO).await;
        }
    };
    if tokio::time::timeout(CLOSING, giving_back).await.is_err() {
        warn!("the source took too long to give its snapshot back");
    }
}
