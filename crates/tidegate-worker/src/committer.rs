//! The one place of a worker that writes to the table's log.
//!
//! An actor owns the log's snapshot and the partitions that this worker holds. Batches, claims, idle
//! advances and releases reach it one after the other; each becomes one commit, checked against the
//! snapshot that it extends, again on every retry (I1).
//!
//! # Failure points
//!
//! - Before the put: nothing happened; whoever holds the partition reads from the floor again.
//! - During the put: the outcome is settled by reading the version back (P5); nothing is deleted and
//!   nothing else is committed meanwhile.
//! - After the put, before the dead letters' own commit: the next holder rolls them forward (P4).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tidegate_source::Receipt;
use tidegate_table::files::DataFile;
use tidegate_table::ledger::{
    LedgerState, PartitionState, claim_txns, progress_txns, release_txns,
};
use tidegate_table::log::{
    BootTime, CommitKind, CommitLog, CommitRequest, CommitTag, Outcome, PreparedCommit, PutOutcome,
    RetryPolicy, TableSnapshot,
};
use tidegate_telemetry::{CommitOutcomeLabel, PipelineMetrics};
use tidegate_types::{
    Counters, Epoch, Holder, Incarnation, Ledger, Nonce, PartitionId, Position, Reason, Span,
};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::batch::{PartitionProgress, SealedBatch};
use crate::dead_letters::DeadLetters;
use crate::decide::{
    ClaimDecision, ClaimFacts, CommitDecision, CommitFacts, ForeignEdit, Held, LostPartition,
    StuckFacts, classify_foreign, decide_claim, decide_commit, next_stuck, patience,
};
use crate::error::WorkerError;
use crate::failpoint;
use crate::random::Random;
use crate::window::WindowStore;

/// How many requests may wait: one batch in the making behind the one being committed, plus an advance.
pub(crate) const REQUESTS: usize = 2;
/// How often partitions that somebody else holds are looked at.
const CLAIM_PERIOD: Duration = Duration::from_secs(2);
/// A commit that takes longer and was put again shows as in doubt.
const DOUBT_SHOWN_AFTER: Duration = Duration::from_secs(1);
/// A checkpoint each this many versions keeps the log short to read.
const CHECKPOINT_EACH: u64 = 50;

/// What the engine asks for.
pub(crate) enum Request {
    /// Commit a batch.
    Commit(Box<SealedBatch>),
    /// Move an idle partition's floor (S5).
    Advance { lineage: u64, partition: PartitionId, base: Position, to: Position },
    /// Give everything back and end.
    Release,
}

/// What the engine is told.
pub(crate) enum Event {
    /// These partitions are ours from the given state on.
    Claimed(Vec<ClaimedPartition>),
    /// A batch is in the table.
    Committed(Committed),
    /// A floor moved without rows.
    Advanced { partition: PartitionId, to: Position },
    /// Everything uncommitted is void: `lost` are somebody else's, the others are to be read again from
    /// their floors. `lineage` numbers what is read from now on.
    Rewound { lineage: u64, lost: Vec<LostPartition>, again: Vec<ClaimedPartition> },
    /// Everything was given back.
    Released,
    /// The worker must stop.
    Failed(WorkerError),
}

/// A partition that was claimed.
#[derive(Debug, Clone)]
pub(crate) struct ClaimedPartition {
    pub(crate) partition: PartitionId,
    pub(crate) epoch: Epoch,
    pub(crate) state: PartitionState,
    pub(crate) snapshot: TableSnapshot,
    /// The last repair record that verdicts have to know (B10).
    pub(crate) record: Option<Nonce>,
}

/// What a commit brought.
#[derive(Debug, Clone)]
pub(crate) struct Committed {
    pub(crate) version: u64,
    pub(crate) counters: Counters,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) receipts: Vec<(PartitionId, Receipt)>,
    pub(crate) record: Option<Nonce>,
}

/// What the committer is made from.
pub(crate) struct CommitterParts {
    pub(crate) log: CommitLog,
    pub(crate) snapshot: TableSnapshot,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) windows: Arc<WindowStore>,
    pub(crate) ledger: Ledger,
    pub(crate) incarnation: Incarnation,
    pub(crate) me: Holder,
    pub(crate) generation: Option<i64>,
    pub(crate) wanted: BTreeSet<PartitionId>,
    pub(crate) initial_floor: Position,
    pub(crate) max_interval: Duration,
    pub(crate) allowed_lateness: Span,
    pub(crate) position_in_log: bool,
    pub(crate) repeat_in_doubt: bool,
    /// How long a commit may stay in doubt; none: until it is known.
    pub(crate) doubt_limit: Option<Duration>,
    pub(crate) metrics: Arc<PipelineMetrics>,
    pub(crate) random: Random,
}

/// The actor.
pub(crate) struct Committer {
    parts: CommitterParts,
    /// Epoch of each partition that we hold.
    held: BTreeMap<PartitionId, Epoch>,
    lost_before: BTreeSet<PartitionId>,
    /// For each partition that somebody else holds the state last seen, and since when it stands.
    watched: BTreeMap<PartitionId, (PartitionState, Instant)>,
    lineage: u64,
    foreign: Vec<ForeignEdit>,
    /// Hashes of the paths that commits since our start removed: one that comes back is a rewind (T1).
    removed: HashSet<u64>,
    table_id: String,
    events: mpsc::Sender<Event>,
}

/// How one put ended.
enum Put {
    Won,
    Lost,
    /// Not known, and not to be asked again (X5).
    GivenUp,
}

/// How an attempt ended.
enum Attempt {
    Won(u64),
    Void(CommitDecision),
    /// Under AtMostOnce: not repeated, whatever became of it (X5).
    GivenUp,
}

impl Committer {
    pub(crate) fn new(parts: CommitterParts, events: mpsc::Sender<Event>) -> Self {
        let table_id = parts.snapshot.metadata_id().to_owned();
        Self {
            parts,
            held: BTreeMap::new(),
            lost_before: BTreeSet::new(),
            watched: BTreeMap::new(),
            lineage: 0,
            foreign: Vec::new(),
            removed: HashSet::new(),
            table_id,
            events,
        }
    }

    /// Works until a release or a failure.
    pub(crate) async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        if let Err(error) = self.work(&mut requests).await {
            // The engine may be gone already; then nobody is left to be told.
            let _ = self.events.send(Event::Failed(error)).await;
        }
    }

    async fn work(&mut self, requests: &mut mpsc::Receiver<Request>) -> Result<(), WorkerError> {
        self.roll_dead_letters_forward().await?;
        loop {
            let wait = self.claim_what_can_be().await?;
            let request = tokio::select! {
                request = requests.recv() => request,
                () = tokio::time::sleep(wait) => continue,
            };
            match request {
                Some(Request::Commit(batch)) if batch.lineage == self.lineage => {
                    let (release, lineage) = (batch.release, self.lineage);
                    self.commit_batch(*batch).await?;
                    // After a rewind the engine says whether to go on or to give back.
                    if release && lineage == self.lineage {
                        return self.tell(Event::Released).await;
                    }
                }
                // Read before a rewind: void, and its uploads are aborted as it is dropped.
                Some(Request::Commit(_)) => {}
                Some(Request::Advance { lineage, partition, base, to })
                    if lineage == self.lineage =>
                {
                    self.advance(partition, base, to).await?;
                }
                Some(Request::Advance { .. }) => {}
                Some(Request::Release) => {
                    self.release().await?;
                    return self.tell(Event::Released).await;
                }
                None => return Ok(()),
            }
        }
    }

    async fn tell(&self, event: Event) -> Result<(), WorkerError> {
        let gone = |_| WorkerError::transient(Reason::Fenced, "the worker's engine is gone");
        self.events.send(event).await.map_err(gone)
    }

    fn state(&self) -> Result<LedgerState, WorkerError> {
        let txns = self.parts.snapshot.txns();
        Ok(LedgerState::read(txns, &self.parts.ledger, self.parts.incarnation)?)
    }

    // --- claims (P6, P7)

    /// Claims every wanted partition that may be claimed; answers when to look again.
    async fn claim_what_can_be(&mut self) -> Result<Duration, WorkerError> {
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
                self.claimed(&claims).await?;
            } else {
                self.back_off().await;
                self.refresh().await?;
            }
        }
    }

    fn decide_claims(
        &mut self,
        missing: &[PartitionId],
        state: &LedgerState,
    ) -> (Vec<(PartitionId, Epoch)>, Duration) {
        let patience = patience(self.parts.max_interval, self.parts.random.up_to(1_000));
        let mut claims = Vec::new();
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
                generation: self.parts.generation,
                lost_before: self.lost_before.contains(&partition),
                silent_for: self.silent_for(partition, &now),
                patience,
            };
            match decide_claim(&facts) {
                ClaimDecision::Claim(epoch) => claims.push((partition, epoch)),
                ClaimDecision::Wait(rest) => wait = wait.min(rest),
                ClaimDecision::Superseded => {}
            }
        }
        (claims, wait.max(Duration::from_millis(100)))
    }

    /// How long the partition's state has stood as it stands.
    fn silent_for(&mut self, partition: PartitionId, now: &PartitionState) -> Duration {
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
    fn claim_changes(
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

    fn progress(
        &self,
        partition: PartitionId,
        before: &PartitionState,
        after: &PartitionState,
    ) -> Vec<(String, i64)> {
        progress_txns(&self.parts.ledger, self.parts.incarnation, partition, before, after)
    }

    async fn claimed(&mut self, claims: &[(PartitionId, Epoch)]) -> Result<(), WorkerError> {
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

    fn claimed_partition(
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

    // --- batches

    async fn commit_batch(&mut self, mut batch: SealedBatch) -> Result<(), WorkerError> {
        failpoint::hit("files.before_finish");
        let files = finish_files(&mut batch).await?;
        failpoint::hit("files.after_finish");
        let dead_nonce = self.write_dead_letters(&batch).await?;
        for snapshot in &batch.snapshots {
            self.parts.windows.save(snapshot).await?;
            failpoint::hit("window.snapshot_written");
        }
        let held: Vec<_> = if batch.release {
            self.all_held(&batch.progress)?
        } else {
            batch.progress.iter().map(|(k, p)| held(*k, p)).collect()
        };
        let attempt = self
            .attempt(CommitKind::Data, &held, batch.record, files.clone(), |this, state| {
                this.batch_txns(&batch, dead_nonce, state)
            })
            .await?;
        match attempt {
            Attempt::Won(version) => self.batch_won(&batch, &files, version).await,
            Attempt::GivenUp => self.rewind(&[]).await,
            Attempt::Void(CommitDecision::Lost(lost)) => self.rewind(&lost).await,
            Attempt::Void(CommitDecision::Rejudge) => self.rewind(&[]).await,
            Attempt::Void(CommitDecision::Halt(what)) => {
                Err(WorkerError::permanent(Reason::TableRewound, what))
            }
            Attempt::Void(CommitDecision::Commit | CommitDecision::Refresh) => {
                unreachable!("both are carried out, not reported")
            }
        }
    }

    fn batch_txns(
        &self,
        batch: &SealedBatch,
        dead_nonce: Option<Nonce>,
        state: &LedgerState,
    ) -> BTreeMap<String, i64> {
        let mut txns = BTreeMap::new();
        for (partition, progress) in &batch.progress {
            let before = state.partition(*partition);
            let cut = batch.snapshots.iter().find(|s| s.partition == *partition);
            let time = progress.time.max(before.time);
            let through = progress.complete.0 - self.parts.allowed_lateness.as_micros();
            let carries_dead = dead_nonce.filter(|_| progress.counters.dead > 0);
            let after = PartitionState {
                floor: Some(progress.cursor),
                fingerprint: progress.fingerprint,
                counters: before.counters + progress.counters,
                time,
                through: Some(before.through.map_or(through, |known| known.max(through))),
                snapshot: cut.map(|s| s.nonce).or(before.snapshot),
                dead_letter: carries_dead.or(before.dead_letter),
                stuck: 0,
                ..before
            };
            txns.extend(self.progress(*partition, &before, &after));
        }
        if batch.release {
            self.release_txns(&mut txns);
        }
        txns
    }

    async fn batch_won(
        &mut self,
        batch: &SealedBatch,
        files: &[DataFile],
        version: u64,
    ) -> Result<(), WorkerError> {
        let counters = batch.progress.values().fold(Counters::default(), |sum, p| sum + p.counters);
        let bytes = files.iter().map(|file| file.size).sum();
        let count = files.len() as u64;
        let seconds = batch.opened.elapsed().as_secs_f64();
        self.parts.metrics.committed(counters, count, bytes, seconds);
        for (partition, progress) in &batch.progress {
            self.parts.metrics.set_floor(*partition, progress.cursor);
        }
        self.roll_dead_letters_forward().await?;
        self.checkpoint_when_due(version).await;
        let receipts = batch.progress.iter().map(|(k, p)| (*k, p.receipt)).collect();
        let record = self.state()?.record;
        self.tell(Event::Committed(Committed { version, counters, files: count, bytes, receipts, record }))
            .await
    }

    /// Forgets everything uncommitted; the engine reads again from the floors in the log.
    async fn rewind(&mut self, lost: &[LostPartition]) -> Result<(), WorkerError> {
        self.lineage += 1;
        for each in lost {
            warn!(partition = each.partition().0, ?each, reason = %Reason::Fenced, "partition lost");
            self.held.remove(&each.partition());
            self.lost_before.insert(each.partition());
            self.watched.remove(&each.partition());
            self.parts.metrics.forget_partition(each.partition());
        }
        let state = self.state()?;
        let again =
            self.held.iter().map(|(k, epoch)| self.claimed_partition(*k, *epoch, &state)).collect();
        self.tell(Event::Rewound { lineage: self.lineage, lost: lost.to_vec(), again }).await
    }

    // --- idle floors and release

    async fn advance(
        &mut self,
        partition: PartitionId,
        base: Position,
        to: Position,
    ) -> Result<(), WorkerError> {
        let Some(epoch) = self.held.get(&partition).copied() else {
            return self.rewind(&[]).await;
        };
        let held = [Held { partition, epoch, base }];
        let record = self.state()?.record;
        let attempt = self
            .attempt(CommitKind::Advance, &held, record, Vec::new(), |this, state| {
                let before = state.partition(partition);
                // The message at the new floor is not of this partition, so there is no fingerprint.
                let after = PartitionState { floor: Some(to), fingerprint: 0, stuck: 0, ..before };
                this.progress(partition, &before, &after).into_iter().collect()
            })
            .await?;
        match attempt {
            Attempt::Won(_) => {
                self.parts.metrics.set_floor(partition, to);
                self.tell(Event::Advanced { partition, to }).await
            }
            Attempt::Void(CommitDecision::Lost(lost)) => self.rewind(&lost).await,
            Attempt::Void(CommitDecision::Halt(what)) => {
                Err(WorkerError::permanent(Reason::TableRewound, what))
            }
            Attempt::GivenUp | Attempt::Void(_) => self.rewind(&[]).await,
        }
    }

    async fn release(&mut self) -> Result<(), WorkerError> {
        let held = self.all_held(&BTreeMap::new())?;
        if held.is_empty() {
            return Ok(());
        }
        let record = self.state()?.record;
        failpoint::hit("release.before_put");
        // Whether it wins or not, nothing of ours is open any more.
        self.attempt(CommitKind::Release, &held, record, Vec::new(), |this, _| {
            let mut txns = BTreeMap::new();
            this.release_txns(&mut txns);
            txns
        })
        .await?;
        failpoint::hit("release.after_put");
        Ok(())
    }

    fn release_txns(&self, txns: &mut BTreeMap<String, i64>) {
        for partition in self.held.keys() {
            txns.extend(release_txns(&self.parts.ledger, *partition));
        }
    }

    /// Every held partition, with the batch's base where it has one and the log's floor elsewhere.
    fn all_held(
        &self,
        progress: &BTreeMap<PartitionId, PartitionProgress>,
    ) -> Result<Vec<Held>, WorkerError> {
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

    // --- one commit

    /// Decides, puts, settles; again on a new snapshot when another writer was faster, for as long as
    /// the decision says that the commit is still valid.
    async fn attempt(
        &mut self,
        kind: CommitKind,
        held: &[Held],
        record: Option<Nonce>,
        files: Vec<DataFile>,
        txns: impl Fn(&Self, &LedgerState) -> BTreeMap<String, i64>,
    ) -> Result<Attempt, WorkerError> {
        loop {
            let state = self.state()?;
            match self.decide(held, record, &state) {
                CommitDecision::Commit => {}
                CommitDecision::Refresh => {
                    self.refresh().await?;
                    continue;
                }
                void => return Ok(Attempt::Void(void)),
            }
            let changes = txns(self, &state);
            failpoint::hit("commit.before_put");
            let put = self.put(kind, changes, files.clone()).await?;
            failpoint::hit("commit.after_put");
            match put {
                Put::Won => {
                    let version = self.parts.snapshot.version() + 1;
                    self.refresh().await?;
                    return Ok(Attempt::Won(version));
                }
                Put::Lost => {
                    self.back_off().await;
                    self.refresh().await?;
                }
                Put::GivenUp => {
                    self.refresh().await?;
                    return Ok(Attempt::GivenUp);
                }
            }
        }
    }

    fn decide(&self, held: &[Held], record: Option<Nonce>, state: &LedgerState) -> CommitDecision {
        let in_log = state
            .partitions
            .iter()
            .map(|(k, now)| (*k, (now.epoch, now.floor.unwrap_or_default())))
            .collect();
        decide_commit(&CommitFacts {
            held,
            in_log: &in_log,
            position_in_log: self.parts.position_in_log,
            base_age: self.parts.snapshot.loaded_at().age(BootTime::now()),
            table_id: &self.table_id,
            table_id_now: self.parts.snapshot.metadata_id(),
            record,
            record_now: state.record,
            foreign: &self.foreign,
        })
    }

    async fn put(
        &mut self,
        kind: CommitKind,
        txns: BTreeMap<String, i64>,
        adds: Vec<DataFile>,
    ) -> Result<Put, WorkerError> {
        let nonce = self.parts.random.nonce();
        let tag = CommitTag { ledger: self.parts.ledger.clone(), kind, nonce };
        let request = CommitRequest { txns, adds, ..CommitRequest::new(tag) };
        let prepared = self.parts.log.prepare(&self.parts.snapshot, &request).await?;
        let put = if self.parts.repeat_in_doubt || kind != CommitKind::Data {
            self.put_until_known(&prepared).await?
        } else {
            self.put_once(&prepared).await
        };
        self.parts.metrics.commit_outcome(match put {
            Put::Won => CommitOutcomeLabel::Won,
            Put::Lost => CommitOutcomeLabel::Lost,
            Put::GivenUp => CommitOutcomeLabel::InDoubt,
        });
        Ok(put)
    }

    /// Only a known outcome lets the worker go on (P5). A finite run leaves a commit in doubt behind
    /// after a while: whoever comes next reads from the log what became of it.
    async fn put_until_known(&self, prepared: &PreparedCommit) -> Result<Put, WorkerError> {
        let policy = RetryPolicy::default();
        let left_behind = async {
            match self.parts.doubt_limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        let settled = self.parts.log.settle(prepared, &policy, left_behind);
        let outcome = tokio::select! {
            settled = settled => settled?,
            never = self.say_when_in_doubt(prepared) => match never {},
        };
        match outcome {
            Outcome::Won => Ok(Put::Won),
            Outcome::Lost(_) => Ok(Put::Lost),
            Outcome::InDoubt => {
                let what = format!("the outcome of version {} is not known", prepared.version());
                Err(WorkerError::transient(Reason::CommitInDoubt, what))
            }
        }
    }

    /// Shows the doubt while it lasts.
    async fn say_when_in_doubt(&self, prepared: &PreparedCommit) -> Infallible {
        loop {
            tokio::time::sleep(DOUBT_SHOWN_AFTER).await;
            if prepared.attempts() > 1 {
                self.parts.metrics.set_state(Reason::CommitInDoubt);
            }
        }
    }

    /// Under AtMostOnce a put whose answer is lost is not repeated (X5).
    async fn put_once(&self, prepared: &PreparedCommit) -> Put {
        match self.parts.log.put(prepared).await {
            PutOutcome::Stored => Put::Won,
            PutOutcome::Exists => Put::Lost,
            PutOutcome::Unknown(error) => {
                warn!(error = %error, reason = %Reason::CommitInDoubt, "commit in doubt is not repeated");
                Put::GivenUp
            }
        }
    }

    /// Reads what others and we committed since, and remembers what strangers did.
    async fn refresh(&mut self) -> Result<(), WorkerError> {
        let (snapshot, entries) = self.parts.log.refresh(&self.parts.snapshot).await?;
        for entry in &entries {
            let readded = entry.adds.iter().any(|file| self.removed.contains(&path_hash(&file.path)));
            self.removed.extend(entry.removes.iter().map(|file| path_hash(&file.path)));
            if entry.ours.is_some() {
                continue;
            }
            let edit = classify_foreign(entry.operation.as_deref(), entry.removes.len(), readded);
            if let ForeignEdit::Edit(what) = &edit {
                warn!(version = entry.version, operation = %what, "somebody else edited the table");
            }
            if edit != ForeignEdit::Append {
                self.foreign.push(edit);
            }
        }
        self.parts.snapshot = snapshot;
        Ok(())
    }

    async fn back_off(&mut self) {
        let millis = 5 + self.parts.random.up_to(45);
        tokio::time::sleep(Duration::from_millis(u64::from(millis))).await;
    }

    // --- dead letters (P4)

    async fn write_dead_letters(&mut self, batch: &SealedBatch) -> Result<Option<Nonce>, WorkerError> {
        if batch.dead.is_empty() {
            return Ok(None);
        }
        // Only the next main commit that carries dead letters waits for the last one's.
        self.roll_dead_letters_forward().await?;
        let nonce = self.parts.random.nonce();
        let partitions: Vec<_> = batch
            .progress
            .iter()
            .filter(|(_, progress)| progress.counters.dead > 0)
            .map(|(partition, _)| *partition)
            .collect();
        self.parts.dead_letters.write(nonce, &partitions, &batch.dead).await?;
        failpoint::hit("dead_letters.file_written");
        Ok(Some(nonce))
    }

    async fn roll_dead_letters_forward(&mut self) -> Result<(), WorkerError> {
        let state = self.state()?;
        self.parts.dead_letters.roll_forward(&state, &mut self.parts.random).await
    }

    /// Best effort: the log is readable without.
    async fn checkpoint_when_due(&self, version: u64) {
        if version == 0 || version % CHECKPOINT_EACH != 0 {
            return;
        }
        failpoint::hit("checkpoint.before");
        if let Err(error) = self.parts.log.checkpoint(&self.parts.snapshot).await {
            warn!(version, error = %error, "checkpoint failed, the next one will do");
        }
        failpoint::hit("checkpoint.after");
    }
}

fn path_hash(path: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(path.as_bytes())
}

fn held(partition: PartitionId, progress: &PartitionProgress) -> Held {
    Held { partition, epoch: progress.epoch, base: progress.base }
}

async fn finish_files(batch: &mut SealedBatch) -> Result<Vec<DataFile>, WorkerError> {
    let mut files = Vec::new();
    while let Some(joined) = batch.files.join_next().await {
        let file = joined.map_err(|source| {
            WorkerError::transient(Reason::SinkUnreachable, "an upload task died").because(source)
        })??;
        files.push(file);
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}
