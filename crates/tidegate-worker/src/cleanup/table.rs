//! Deleting the table.

use tidegate_config::PipelineConfig;
use tidegate_table::removal::{Removal, RemovalError, remove_table};
use tracing::info;

use super::Ended;
use crate::error::WorkerError;
use crate::secrets::Secrets;
use crate::setup;

pub(super) async fn remove(
    config: &PipelineConfig,
    secrets: &Secrets,
) -> Result<Ended, WorkerError> {
    let store = setup::open_store(config, secrets)?;
    Ok(match remove_table(&store, &config.ledger).await? {
        Removal::Refused { because } => Ended::Left(because),
        Removal::Gone { deleted, strangers: 0, .. } => {
            info!(deleted, "no object is left");
            Ended::Gone
        }
        Removal::Gone { deleted, strangers, such_as } => {
            info!(deleted, strangers, "objects of somebody else are left");
            let such_as = such_as.join(", ");
            Ended::Left(format!("{strangers} objects that are not the table's, such as {such_as}"))
        }
    })
}

impl From<RemovalError> for WorkerError {
    fn from(error: RemovalError) -> Self {
        let what = "the table could not be deleted";
        let error_is_transient = error.is_transient();
        let reason = error.reason();
        let made = match error_is_transient {
            true => Self::transient(reason, what),
            false => Self::permanent(reason, what),
        };
        made.because(error)
    }
}
