//! Floors that move without rows (S5), and giving back.

use std::collections::BTreeMap;

use tidegate_runtime::{RunError, failpoint};
use tidegate_table::ledger::{LedgerState, PartitionState, release_txns};
use tidegate_table::log::CommitKind;
use tidegate_types::{Epoch, PartitionId, Reason, Span};

use super::attempt::{Attempt, Plan};
use super::{Committer, Event, FloorMove, held};
use crate::batch::PartitionProgress;
use crate::decide::{CommitDecision, Held, through};

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
        let plan = Plan { kind: CommitKind::Advance, held: &held, record, files: Vec::new() };
        let txns = |this: &Self, state: &LedgerState| {
            let progress = moves.iter().flat_map(|step| {
                let before = state.partition(step.partition);
                let after = moved(step, &before, this.parts.allowed_lateness);
                this.progress(step.partition, &before, &after)
            });
            progress.collect()
        };
        let attempt = self.attempt(plan, txns).await?;
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
            let plan = Plan { kind: CommitKind::Release, held: &held, record, files: Vec::new() };
            let txns = |this: &Self, _: &LedgerState| {
                let mut txns = BTreeMap::new();
                this.release_txns(&mut txns);
                txns
            };
            let attempt = self.attempt(plan, txns).await?;
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

/// A partition behind a move.
fn moved(step: &FloorMove, before: &PartitionState, allowed_lateness: Span) -> PartitionState {
    PartitionState {
        floor: Some(step.to),
        // The message there is not of this partition.
        fingerprint: 0,
        stuck: 0,
        through: through(step.complete, allowed_lateness, before.through),
        ..*before
    }
}

#[cfg(test)]
mod tests {
    use tidegate_types::{Position, StreamTime};

    use super::*;

    #[test]
    fn s5_an_idle_floor_tells_how_far_its_partition_is_complete() {
        let known = PartitionState {
            floor: Some(Position(3)),
            fingerprint: 8,
            stuck: 1,
            time: StreamTime(40),
            ..PartitionState::default()
        };
        for (complete, before, after) in [
            (100_000, None, Some(70_000)),
            (100_000, Some(60_000), Some(70_000)),
            (100_000, Some(80_000), Some(80_000)),
            // Nobody has answered yet.
            (0, None, None),
            (0, Some(60_000), Some(60_000)),
        ] {
            let before = PartitionState { through: before, ..known };
            let step = FloorMove {
                partition: PartitionId(0),
                base: Position(3),
                to: Position(9),
                complete: StreamTime(complete),
            };
            let expected = PartitionState {
                floor: Some(Position(9)),
                fingerprint: 0,
                stuck: 0,
                through: after,
                ..before
            };
            assert_eq!(moved(&step, &before, Span::millis(30)), expected, "{complete}");
        }
    }
}
