//! Deleting the table.

use tidegate_config::PipelineConfig;
use tidegate_runtime::secrets::Secrets;
use tidegate_runtime::{RunError, open_store};
use tidegate_table::removal::{Removal, remove_table};
use tracing::info;

use super::Ended;

pub(super) async fn remove(config: &PipelineConfig, secrets: &Secrets) -> Result<Ended, RunError> {
    let store = open_store(&config.sink, secrets)?;
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
