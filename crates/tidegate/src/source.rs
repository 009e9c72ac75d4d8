//! The pipeline's broker and stream, as `publish` needs them.

use std::path::Path;

use tidegate_config::PipelineConfig;
use tidegate_source::{Connection, SourceError, StreamSpec};

use crate::commands::run::worker_failed;
use crate::failure::Failure;

/// Connects as the stream's administrator where the pipeline has one, because the stream may have to
/// be made.
pub(crate) async fn connect(
    config: &PipelineConfig,
    secrets_dir: Option<&Path>,
) -> Result<Connection, Failure> {
    tidegate_worker::connect_as_admin(config, secrets_dir).await.map_err(worker_failed)
}

/// The stream that the pipeline describes.
pub(crate) fn stream_spec(config: &PipelineConfig) -> StreamSpec {
    tidegate_worker::stream_spec(config)
}

/// A broker's error with its exit code and advice.
pub(crate) fn failed(error: SourceError) -> Failure {
    let (retry, reason) = (error.is_transient(), error.reason());
    Failure::of(error).worth_retrying(retry).because_of(reason)
}
