//! The one commit of a run, and what follows from it.

use tidegate_config::RunReport;
use tidegate_extract::Plan;
use tidegate_runtime::RunError;
use tidegate_table::replace::{Naming, Replacer, Selection};
use tidegate_types::Reason;
use tracing::info;
use xxhash_rust::xxh3::xxh3_64;

use super::Run;
use super::read::{Read, ReadChunks};
use crate::chunk_writer::write_options;
use crate::dead_letters::DeadLetters;
use crate::decide::{RunClaim, cursor_mark, named};
use crate::kept::forget;
use crate::table::{RunResult, RunTable};

impl Run {
    pub(super) async fn commit(
        &mut self,
        table: &mut RunTable,
        claim: &RunClaim,
        read: Read,
        mut dead_letters: DeadLetters,
    ) -> Result<RunReport, RunError> {
        let Read { plan, chunks, counted } = read;
        let ReadChunks { outcomes, kept, origin, begun, age } = chunks;
        let nonce = if counted.dead > 0 || table.replaces_dead_letters(&claim.claim)? {
            Some(dead_letters.write(claim, &outcomes).await?)
        } else {
            None
        };
        let replacer = self.replacer(table, claim);
        let result = RunResult {
            claim,
            files: outcomes.into_iter().flat_map(|chunk| chunk.files).collect(),
            rows: counted.written,
            dead_letters: nonce,
            fingerprint: plan.fingerprint.as_deref().map(fingerprint_bits),
            origin,
            cursor: cursor_mark(self.config()),
            allow_shrink: self.config().allow_shrink,
            begun,
            age,
        };
        let (repair, steps) = (self.repair.as_ref(), &self.edges.steps);
        let committed = table.commit(&result, replacer, repair, steps).await?;
        self.progress.set(|report| {
            report.version = Some(committed.version);
            report.rows_replaced = committed.replaced;
            report.rows_read = counted.read;
            report.rows_committed = counted.written;
            report.dead_letters = counted.dead;
        });
        if plan.pinned {
            forget(&self.edges.store.data, &self.config().ledger, &claim.claim).await;
        }
        self.show_dead_letters(table, dead_letters, nonce.is_some()).await?;
        info!(
            what = named(claim.claim.key),
            generation = claim.claim.generation,
            version = committed.version,
            rows = counted.written,
            replaced = committed.replaced,
            dead = counted.dead,
            "committed"
        );
        Ok(self.progress.succeeded(Reason::Ok, &remark(&plan, kept)))
    }

    /// Makes the dead letters of the commit visible, unless told to stop: then whoever runs next does.
    /// `own`: whether the commit has any; without, other runs' may still be there to be brought in.
    pub(super) async fn show_dead_letters(
        &self,
        table: &RunTable,
        mut dead_letters: DeadLetters,
        own: bool,
    ) -> Result<(), RunError> {
        tokio::select! {
            // A stop that came during the commit does not make pending what is there already.
            biased;
            shown = dead_letters.roll_forward(table, &self.edges.steps) => shown,
            () = self.options.cancel.cancelled() => {
                if !own {
                    return Ok(());
                }
                let what = "the rows are committed, and the run was told to stop before its dead \
                            letters were in their table; the next attempt brings them in";
                Err(RunError::transient(Reason::DeadLetterCommitPending, what))
            }
        }
    }

    pub(super) fn replacer(&mut self, table: &RunTable, claim: &RunClaim) -> Option<Replacer> {
        let (ledger, held) = (&table.ledger, claim.claim);
        let own = Selection::of_run(ledger, held.key, held.effect)?;
        let selection = match &self.repair {
            Some(repair) => repair.select(own),
            None => own,
        };
        let naming = Naming {
            ledger: ledger.clone(),
            generation: held.generation,
            nonce: self.random.nonce(),
        };
        Some(Replacer::new(table.log.clone(), selection, naming, write_options(self.config())))
    }
}

/// A fingerprint as it stands in the log: 63 bits.
pub(crate) fn fingerprint_bits(text: &str) -> u64 {
    xxh3_64(text.as_bytes()) >> 1
}

fn remark(plan: &Plan, kept: usize) -> String {
    match (plan.null_cursors, kept) {
        (0, 0) => String::new(),
        (0, chunks) => {
            format!("{chunks} of {} chunks were read by an earlier attempt", plan.chunks.len())
        }
        (rows, _) => format!("{rows} rows without a cursor were left out"),
    }
}
