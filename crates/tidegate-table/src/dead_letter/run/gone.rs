//! Dead-letter files that somebody removed.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;
use tidegate_types::Nonce;

use super::{RunDeadLetterError, RunDeadLetters, pending_runs, shown_runs};
use crate::files::FileError;
use crate::files::layout::DataPath;
use crate::ledger::Intervals;
use crate::log::TableSnapshot;

/// Files that are looked for at once.
const AT_ONCE: usize = 16;

impl RunDeadLetters {
    /// The files that were to be rolled forward and are not there, as far as that was tried.
    #[must_use]
    pub fn gone(&self) -> Vec<String> {
        self.gone.iter().map(|file| DataPath::dead_letters(&self.ledger, *file).in_log()).collect()
    }

    /// Looks for all files that the main table names and the dead-letter table lacks; how many are not there.
    /// Nothing is written.
    ///
    /// # Errors
    ///
    /// [`RunDeadLetterError`] when one of the tables cannot be read.
    pub async fn count_gone(&self, main: &TableSnapshot) -> Result<usize, RunDeadLetterError> {
        let named = Intervals::read(main.txns(), &self.ledger)?;
        if named.iter().all(|(_, known)| known.dead_letters.is_none()) {
            return Ok(0);
        }
        let shown = self.log.load().await?;
        let shown = shown.map(|table| shown_runs(table.txns(), &self.ledger)).unwrap_or_default();
        Ok(self.not_there(&pending_runs(&named, &shown)).await?.len())
    }

    /// Which of the files the store has not.
    pub(super) async fn not_there(
        &self,
        files: &[Nonce],
    ) -> Result<BTreeSet<Nonce>, RunDeadLetterError> {
        let look = async |file: Nonce| {
            let gone = self.is_gone(file).await?;
            Ok::<_, RunDeadLetterError>(gone.then_some(file))
        };
        let looks = futures::stream::iter(files.to_vec()).map(look).buffer_unordered(AT_ONCE);
        looks.try_filter_map(async |gone| Ok(gone)).try_collect().await
    }

    pub(super) async fn is_gone(&self, file: Nonce) -> Result<bool, RunDeadLetterError> {
        let path = DataPath::dead_letters(&self.ledger, file);
        match self.log.store().head(path.object()).await {
            Ok(_) => Ok(false),
            Err(object_store::Error::NotFound { .. }) => Ok(true),
            Err(source) => Err(FileError::Store { path: path.in_log(), source }.into()),
        }
    }
}
