//! Floors that move without rows (S5), and giving back.

use std::collections::BTreeMap;

use tidegate_runtime::{RunError, failpoint};
use tidegate_table::ledger::{PartitionState, release_txns};
use tidegate_table::log::CommitKind;
use tidegate_types::{Epoch, PartitionId, Reason};

use super::attempt::Attempt;
use super::{Committer, Event, FloorMove, held};
use crate::batch::PartitionProgress;
use crate::decide::{CommitDecision, Held};

impl Committer {
    pub(super) async fn advance(&mut self, moves: Vec<FloorMove>) -> Result<(), RunError> {
        let mut held = Vec::new();
        for FloorMove { partition, base, .. } in moves.iter().copied() {
            let Some(epoch) = self.held.get(&partition).copied() else {
                return self.rewind(&[]).await;
            };
            held.push(Held { partition, epoch, base });
        }
        let record = self.state()?.record;
        let attempt = self
            .attempt(CommitKind::Advance, &held, record, Vec::new(), |this, state| {
                moves
                    .iter()
                    .flat_map(|step| {
                        let before = state.partition(step.partition);
                        let floor = Some(step.to);
                        // The message there is not of this partition: it has no fingerprint.
                        let through = this.through(step.complete, &before);
                        let after =
                            PartitionState { floor, fingerprint: 0, stuck: 0, through, ..before };
                        this.progress(step.partition, &before, &after)
                    })
                    .collect()
            })
            .await?;
        match attempt {
            Attempt::Won(_) => {
                for step in &moves {
                    self.parts.metrics.set_floor(step.partition, step.to);
                }
                self.tell(Event::Advanced(moves)).await
            }
            Attempt::Void(CommitDecision::Lost(lost)) => self.rewind(&lost).await,
            Attempt::Void(CommitDecision::Halt(what)) => {
                Err(RunError::permanent(Reason::TableRewound, what))
            }
            Attempt::GivenUp | Attempt::Void(_) => self.rewind(&[]).await,
        }
    }

    pub(super) async fn release(&mut self) -> Result<(), RunError> {
        loop {
            let held = self.all_held(&BTreeMap::new())?;
            if held.is_empty() {
                return Ok(());
            }
            let record = self.state()?.record;
            failpoint::hit("release.before_put");
            let attempt = self
                .attempt(CommitKind::Release, &held, record, Vec::new(), |this, _| {
                    let mut txns = BTreeMap::new();
                    this.release_txns(&mut txns);
                    txns
                })
                .await?;
            failpoint::hit("release.after_put");
            match attempt {
                // What somebody took meanwhile is no reason to keep the rest.
                Attempt::Void(CommitDecision::Lost(lost)) => {
                    self.held.retain(|k, _| lost.iter().all(|lost| lost.partition() != *k));
                }
                // Whether it wins or not, nothing of ours is open any more.
                _ => return Ok(()),
            }
        }
    }

    pub(super) fn release_txns(&self, txns: &mut BTreeMap<String, i64>) {
        for partition in self.held.keys() {
            txns.extend(release_txns(&self.parts.ledger, *partition));
        }
    }

    /// Every held partition, with the batch's base where it has one and the log's floor elsewhere.
    pub(super) fn all_held(
        &self,
        progress: &BTreeMap<PartitionId, PartitionProgress>,
    ) -> Result<Vec<Held>, RunError> {
        let state = self.state()?;
        let idle = |partition: PartitionId, epoch: Epoch| {
            let base = state.partition(partition).floor.unwrap_or_default();
            Held { partition, epoch, base }
        };
        let held = self.held.iter().map(|(k, epoch)| match progress.get(k) {
            Some(progress) => held(*k, progress),
            None => idle(*k, *epoch),
        });
        Ok(held.collect())
    }
}
