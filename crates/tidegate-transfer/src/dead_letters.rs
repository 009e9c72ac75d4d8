//! A run's dead letters on their way to their own table (P4, B6a).

use jiff::Timestamp;
use tidegate_runtime::{Random, RunError};
use tidegate_table::dead_letter::{FOLDER, RunDeadLetter, RunDeadLetters, RunFooter};
use tidegate_table::log::{CommitLog, TableSnapshot};
use tidegate_table::store::TableStore;
use tidegate_types::{Ledger, Nonce};

use crate::chunk_outcome::ChunkOutcome;
use crate::decide::RunClaim;
use crate::steps::Steps;
use crate::table::RunTable;

/// Dead letters written at once.
const AT_ONCE: usize = 1_024;

/// The dead-letter table beside the run's table.
pub(crate) struct DeadLetters {
    table: RunDeadLetters,
    ledger: Ledger,
    random: Random,
}

impl DeadLetters {
    pub(crate) fn new(store: &TableStore, ledger: &Ledger) -> Self {
        let log = CommitLog::open(&store.below(FOLDER));
        let table = RunDeadLetters::new(log, ledger.clone());
        Self { table, ledger: ledger.clone(), random: Random::from_system() }
    }

    /// Writes the dead letters of a run as one file, perhaps an empty one, which nobody sees until the
    /// run's commit names it.
    pub(crate) async fn write(
        &mut self,
        claim: &RunClaim,
        outcomes: &[ChunkOutcome],
    ) -> Result<Nonce, RunError> {
        let nonce = self.random.nonce();
        let footer = RunFooter::new(self.ledger.clone(), &claim.claim, nonce);
        let mut file = self.table.create(footer, Timestamp::now());
        for outcome in outcomes {
            for records in outcome.dead.chunks(AT_ONCE) {
                let letters: Vec<_> = records
                    .iter()
                    .map(|record| RunDeadLetter {
                        chunk: outcome.number,
                        ordinal: record.ordinal,
                        place: record.place.clone(),
                        reason: record.reason,
                        detail: record.detail.clone(),
                        payload: record.payload.clone(),
                    })
                    .collect();
                file.write(&letters).await?;
            }
        }
        file.finish().await?;
        Ok(nonce)
    }

    /// Makes visible what the main table names and the dead-letter table lacks, whichever attempt wrote
    /// it. What somebody removed is told; it cannot be had any more, and rows are worth more than waiting.
    pub(crate) async fn catch_up(&mut self, main: &RunTable) -> Result<(), RunError> {
        let (random, told) = (&mut self.random, self.table.gone().len());
        self.table.roll_forward(&main.log, &main.snapshot, || random.nonce()).await?;
        let gone = self.table.gone();
        if let (true, Some(first)) = (gone.len() > told, gone.first()) {
            tracing::warn!(
                files = gone.len(),
                first,
                "somebody removed dead letters that runs had named; the run goes on without them, and verify \
                 calls it damage until their intervals are loaded again (backfill --reprocess All)"
            );
        }
        Ok(())
    }

    /// What is to be said of dead letters that somebody removed; nothing where all are there.
    pub(crate) async fn removed_in_words(
        &self,
        main: &TableSnapshot,
    ) -> Result<Option<String>, RunError> {
        let gone = self.table.count_gone(main).await?;
        Ok((gone > 0).then(|| {
            format!(
                "the dead letters of {gone} intervals are gone, somebody removed them from {FOLDER}; where they \
                 matter, load those intervals again with `tidegate backfill --reprocess All`"
            )
        }))
    }

    /// The same behind the commit of this attempt.
    pub(crate) async fn roll_forward(
        &mut self,
        main: &RunTable,
        steps: &Steps,
    ) -> Result<(), RunError> {
        steps.reach("run.before_dead_letters").await;
        self.catch_up(main).await?;
        steps.reach("run.after_dead_letters").await;
        Ok(())
    }
}
