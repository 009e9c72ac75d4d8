//! What verdicts have to know of repairs (B10).

use tidegate_runtime::RunError;
use tidegate_table::ledger::RepairRecord;
use tidegate_types::Nonce;

use super::Engine;
use super::turn::showing_life;
use crate::batch::FileSettings;

impl Engine {
    /// From here on verdicts know what was repaired up to the record of the claim (B10). While anything is
    /// read under an older one it stays: the commit that it leads to is refused (I1), and all is read again.
    pub(super) async fn know_repairs(&mut self, record: Option<Nonce>) -> Result<(), RunError> {
        if !self.active.is_empty() || record == self.record {
            return Ok(());
        }
        let FileSettings { store, ledger, .. } = &self.parts.files;
        let load = RepairRecord::repaired(store.as_ref(), ledger, record);
        let repaired = showing_life(&self.parts.metrics, load).await?;
        self.parts.judge.know_repaired(repaired.stretches())?;
        self.record = record;
        Ok(())
    }
}
