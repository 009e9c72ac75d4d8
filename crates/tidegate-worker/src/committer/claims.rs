//! Who may work: claims (P6, P7).

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_runtime::{RunError, failpoint};
use tidegate_table::ledger::{LedgerState, PartitionState, claim_txns, progress_txns};
use tidegate_table::log::CommitKind;
use tidegate_types::{Epoch, Holder, PartitionId, Reason};
use tokio::time::Instant;
use tracing::{info, warn};

use super::attempt::Put;
use super::{Committer, Event};
use crate::claimed::ClaimedPartition;
use crate::decide::{ClaimDecision, ClaimFacts, StuckFacts, decide_claim, next_stuck, patience};
use crate::options::AssignmentGeneration;

/// How often partitions that somebody else holds are looked at.
const CLAIM_PERIOD: Duration = Duration::from_secs(2);

fn superseded_words(partition: PartitionId, epoch: Epoch) -> String {
    let generation = epoch.generation();
    format!(
        "partition {partition} was claimed under assignment generation {generation}, which is newer than \
         the one followed here"
    )
}

impl Committer {
    /// Claims every wanted partition that may be claimed; answers when to look again.
    pub(super) async fn claim_what_can_be(&mut self) -> Result<Duration, RunError> {
        let missing: Vec<_> =
            self.parts.wanted.iter().filter(|k| !self.held.contains_key(k)).copied().collect();
        if missing.is_empty() {
            return Ok(Duration::from_secs(3_600));
        }
        self.refresh().await?;
        loop {
            let state = self.state()?;
            let (claims, wait) = self.decide_claims(&missing, &state);
            if claims.is_empty() {
                return Ok(wait);
            }
            let changes = self.claim_changes(&claims, &state);
            failpoint::hit("claim.before_put");
            let put = self.put(CommitKind::Claim, changes, Vec::new()).await?;
            failpoint::hit("claim.after_put");
            if matches!(put, Put::Won) {
                self.refresh().await?;
                // Now nobody else brings in what the predecessor's last commit named (P4).
                self.roll_dead_letters_forward().await?;
                self.claimed(&claims).await?;
            } else {
                self.back_off().await;
                self.refresh().await?;
            }
        }
    }

    pub(super) fn decide_claims(
        &mut self,
        missing: &[PartitionId],
        state: &LedgerState,
    ) -> (Vec<(PartitionId, Epoch)>, Duration) {
        let patience = patience(self.parts.max_interval, self.parts.random.up_to(1_000));
        let mut claims = Vec::new();
        let mut superseded = None;
        let mut wait = CLAIM_PERIOD;
        for &partition in missing {
            if self.held.contains_key(&partition) {
                continue;
            }
            let now = state.partition(partition);
            let facts = ClaimFacts {
                epoch: now.epoch,
                holder: now.holder,
                me: self.parts.me,
                generation: self.parts.generation.as_ref().map(AssignmentGeneration::get),
                lost_before: self.lost_before.contains(&partition),
                silent_for: self.silent_for(partition, &now),
                patience,
            };
            match decide_claim(&facts) {
                ClaimDecision::Claim(epoch) => claims.push((partition, epoch)),
                ClaimDecision::Wait(rest) => wait = wait.min(rest),
                ClaimDecision::Superseded => superseded = Some((partition, now.epoch)),
            }
        }
        self.tell_if_superseded(superseded, patience);
        (claims, wait.max(Duration::from_millis(100)))
    }

    /// A newer assignment that has not arrived here yet is nothing to speak of. One that never arrives
    /// keeps the partition from being read, and somebody has to know.
    fn tell_if_superseded(&mut self, by: Option<(PartitionId, Epoch)>, patience: Duration) {
        let Some((partition, epoch)) = by else {
            self.superseded_since = None;
            return;
        };
        let since = *self.superseded_since.get_or_insert_with(Instant::now);
        if since.elapsed() < patience {
            return;
        }
        let message = superseded_words(partition, epoch);
        let trouble = (Reason::Fenced, message);
        if self.parts.metrics.state() != trouble {
            warn!(partition = partition.0, epoch = %epoch, reason = %trouble.0, "{}", trouble.1);
            self.parts.metrics.set_trouble(trouble.0, trouble.1);
        }
    }

    /// How long the partition's state has stood as it stands.
    pub(super) fn silent_for(&mut self, partition: PartitionId, now: &PartitionState) -> Duration {
        match self.watched.get(&partition) {
            Some((seen, since)) if seen == now => since.elapsed(),
            _ => {
                self.watched.insert(partition, (*now, Instant::now()));
                Duration::ZERO
            }
        }
    }

    /// A claim raises the epoch, names the holder and, for a partition that is new to this incarnation,
    /// commits the floor at which reading begins (P6).
    pub(super) fn claim_changes(
        &self,
        claims: &[(PartitionId, Epoch)],
        state: &LedgerState,
    ) -> BTreeMap<String, i64> {
        let mut txns = BTreeMap::new();
        for (partition, epoch) in claims {
            let before = state.partition(*partition);
            let stuck = next_stuck(StuckFacts {
                stuck: before.stuck,
                released: before.holder == Holder::RELEASED,
                claimed_before: before.epoch != Epoch::default(),
            });
            let floor = Some(before.floor.unwrap_or(self.parts.initial_floor));
            let after = PartitionState { floor, stuck, ..before };
            txns.extend(claim_txns(&self.parts.ledger, *partition, *epoch, self.parts.me));
            txns.extend(self.progress(*partition, &before, &after));
        }
        txns
    }

    pub(super) fn progress(
        &self,
        partition: PartitionId,
        before: &PartitionState,
        after: &PartitionState,
    ) -> Vec<(String, i64)> {
        progress_txns(&self.parts.ledger, self.parts.incarnation, partition, before, after)
    }

    pub(super) async fn claimed(
        &mut self,
        claims: &[(PartitionId, Epoch)],
    ) -> Result<(), RunError> {
        let state = self.state()?;
        let mut claimed = Vec::new();
        for (partition, epoch) in claims {
            let now = state.partition(*partition);
            if now.epoch != *epoch {
                continue; // claimed away already
            }
            self.held.insert(*partition, *epoch);
            self.watched.remove(partition);
            self.parts.metrics.set_epoch(*partition, *epoch);
            let floor = now.floor.unwrap_or_default();
            info!(partition = partition.0, epoch = %epoch, floor = floor.0, "claimed");
            claimed.push(self.claimed_partition(*partition, *epoch, &state));
        }
        self.tell(Event::Claimed(claimed)).await
    }

    pub(super) fn claimed_partition(
        &self,
        partition: PartitionId,
        epoch: Epoch,
        state: &LedgerState,
    ) -> ClaimedPartition {
        ClaimedPartition {
            partition,
            epoch,
            state: state.partition(partition),
            snapshot: self.parts.snapshot.clone(),
            record: state.record,
        }
    }
}
