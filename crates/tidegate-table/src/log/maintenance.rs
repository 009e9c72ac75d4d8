//! Keeping the log quick to read.

use super::CommitLog;
use super::error::LogError;
use super::snapshot::TableSnapshot;

impl CommitLog {
    /// Writes a checkpoint at the snapshot's version, so that readers need not replay the log from
    /// its start. Does nothing when there is one.
    ///
    /// # Errors
    ///
    /// [`LogError`] when it cannot be written; the table is as good as before.
    pub async fn checkpoint(&self, snapshot: &TableSnapshot) -> Result<(), LogError> {
        let kernel = snapshot.kernel.clone();
        self.with_kernel("write a checkpoint", move |engine| {
            kernel.checkpoint(engine, None).map(drop)
        })
        .await
    }

    /// Writes the checksum of the snapshot's version, which spares the next reader the replay of
    /// `txn` actions. Best effort: a failure is logged and nothing else.
    pub async fn write_checksum(&self, snapshot: &TableSnapshot) {
        let kernel = snapshot.kernel.clone();
        let written = self
            .with_kernel("write a checksum", move |engine| kernel.write_checksum(engine).map(drop))
            .await;
        if let Err(error) = written {
            tracing::debug!(
                table = %self.root,
                version = snapshot.version(),
                error = &error as &dyn std::error::Error,
                "no checksum was written"
            );
        }
    }
}
