//! The table's side of a run: the claim commit and the one commit of its rows.

use std::time::Duration;

use tidegate_runtime::{Random, RunError};
use tidegate_table::files::DataFile;
use tidegate_table::ledger::{
    Claim, Done, Effect, IntervalKey, Intervals, LedgerField, TxnName, claim_notes, done_txns,
    has_dead_letters, run_claim_txns,
};
use tidegate_table::log::{
    BootTime, CommitKind, CommitLog, CommitRequest, CommitTag, Outcome, RetryPolicy, Rewinds,
    TableSnapshot,
};
use tidegate_table::replace::{Replacement, Replacer};
use tidegate_types::{Ledger, Nonce, Reason};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::decide::{
    ClaimDecision, ClaimFacts, FenceDecision, FenceFacts, RunClaim, check_shrink,
    committed_earlier, decide_claim, decide_fence, named, plans_again,
};
use crate::fit::{check_known, ledger_state};
use crate::options::TransferOptions;
use crate::repair::{Recorded, Repair, RepairWork};
use crate::rewound::check_not_rewound;
use crate::steps::Steps;

/// How often a commit is tried on a new snapshot before the attempt is given up: others that commit
/// several times a second without pause leave room in between.
const TRIES: u32 = 1_000;
/// Versions that are read back for an earlier attempt's commit.
const LOOK_BACK: u64 = 1_000;
/// A checkpoint each this many versions keeps the log short to read.
const CHECKPOINT_EACH: u64 = 20;

/// The table, as far as this run has read it.
pub(crate) struct RunTable {
    pub(crate) log: CommitLog,
    pub(crate) snapshot: TableSnapshot,
    pub(crate) ledger: Ledger,
    /// The table's identity when it was opened.
    table_id: String,
    /// The version at which a checkpoint was last looked for.
    seen_version: u64,
    random: Random,
    cancel: CancellationToken,
}

/// How a claim ended.
pub(crate) enum Claimed {
    /// It is in the log.
    Yes(RunClaim),
    /// There is nothing to do.
    AlreadyComplete { generation: Option<u64>, what: String },
}

/// What a run's commit carries.
pub(crate) struct RunResult<'a> {
    pub(crate) claim: &'a RunClaim,
    pub(crate) files: Vec<DataFile>,
    pub(crate) rows: u64,
    pub(crate) dead_letters: Option<Nonce>,
    pub(crate) fingerprint: Option<u64>,
    /// The generation that the rows carry; none: that of the claim (B5).
    pub(crate) origin: Option<u64>,
    /// What the interval's bounds meant at the database (B7).
    pub(crate) cursor: Option<u64>,
    pub(crate) allow_shrink: bool,
    /// When reading began.
    pub(crate) begun: BootTime,
    /// How old the oldest file was then: one that an earlier attempt wrote.
    pub(crate) age: Duration,
}

/// A commit that is in the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Committed {
    pub(crate) version: u64,
    /// Rows that it took out of the table.
    pub(crate) replaced: u64,
}

/// What the log of a repaired table shows of strangers (T1), read on with each try.
#[derive(Default)]
struct RepairedHistory {
    rewinds: Rewinds,
    /// The version that is read next.
    next: Option<u64>,
}

impl RepairedHistory {
    /// Refuses to repair a table that was rewound behind an earlier repair: the rows that are back would be
    /// counted as replaced a second time. Without an earlier one, a worker sees what is missing.
    async fn check(&mut self, table: &RunTable) -> Result<(), RunError> {
        if !was_repaired(&table.snapshot) {
            return Ok(());
        }
        let newest = table.snapshot.version();
        let from = self.next.unwrap_or(newest.saturating_sub(LOOK_BACK));
        if from <= newest {
            for entry in table.log.history(from).await? {
                self.rewinds.read(&entry);
                self.next = Some(entry.version + 1);
            }
        }
        let Some((version, what)) = self.rewinds.standing() else { return Ok(()) };
        let what = format!(
            "the table was rewound by {what} at version {version}, behind a repair: restore version {}, then \
             repair again",
            version.saturating_sub(1)
        );
        Err(RunError::permanent(Reason::TableRewound, what))
    }
}

/// Whether the log names the record of a repair.
fn was_repaired(snapshot: &TableSnapshot) -> bool {
    let is_record = |app_id: &str| {
        matches!(TxnName::parse(app_id), Some(TxnName::Ledger(_, LedgerField::Record)))
    };
    snapshot.txns().iter().any(|(app_id, _)| is_record(app_id))
}

impl RunTable {
    pub(crate) fn new(
        log: CommitLog,
        snapshot: TableSnapshot,
        ledger: Ledger,
        cancel: CancellationToken,
    ) -> Self {
        let table_id = snapshot.metadata_id().to_owned();
        let seen_version = snapshot.version();
        Self {
            log,
            snapshot,
            ledger,
            table_id,
            seen_version,
            random: Random::from_system(),
            cancel,
        }
    }

    /// What the log holds of the ledger's intervals.
    pub(crate) fn intervals(&self) -> Result<Intervals, RunError> {
        Ok(Intervals::read(self.snapshot.txns(), &self.ledger)?)
    }

    /// Claims the run's interval by a commit of its own (B2), unless it is done already or `may_begin` says
    /// what is missing.
    pub(crate) async fn claim(
        &mut self,
        options: &TransferOptions,
        may_begin: impl Fn() -> Result<(), RunError>,
    ) -> Result<Claimed, RunError> {
        let again = options.does_again();
        let mark = options.run_mark();
        // Whoever asks for an interval by name may load what a rewind took away.
        if !again {
            let known = self.intervals()?;
            check_not_rewound(&self.log, &self.snapshot, &options.config, &known).await?;
        }
        for _ in 0..TRIES {
            let intervals = self.intervals()?;
            let claim = match decide_claim(&ClaimFacts {
                interval: options.interval,
                write_mode: options.config.write_mode,
                again,
                of_its_time: options.reads_files_of_its_time(),
                cursor: options.cursor_unasked(),
                run: mark,
                log: &intervals,
            }) {
                ClaimDecision::AlreadyComplete { generation, what } => {
                    return Ok(Claimed::AlreadyComplete { generation, what });
                }
                ClaimDecision::Refuse { reason, what } => {
                    return Err(RunError::permanent(reason, what));
                }
                ClaimDecision::Claim(claim) => claim,
            };
            if let Some(generation) = self.appended_earlier(&claim.claim, mark).await? {
                let what = "an earlier attempt of this run committed it".to_owned();
                return Ok(Claimed::AlreadyComplete { generation: Some(generation), what });
            }
            check_known(&options.config, &self.snapshot)?;
            may_begin()?;
            // A scheduled run is told by its interval; only what may be done again needs the name.
            let mark = (again || options.interval.is_none()).then_some(mark);
            let mut txns = run_claim_txns(&self.ledger, &claim.claim);
            txns.extend(claim_notes(&self.ledger, &intervals, &claim.claim, mark));
            let mut request = CommitRequest::new(self.tag(CommitKind::RunClaim));
            request.txns = txns;
            if self.put(&request).await? {
                info!(
                    what = named(claim.claim.key),
                    generation = claim.claim.generation,
                    run = options.run,
                    "claimed"
                );
                self.refresh().await?;
                self.checkpoint_when_due().await;
                return Ok(Claimed::Yes(claim));
            }
            self.back_off().await?;
        }
        Err(self.crowded())
    }

    /// The generation under which an earlier attempt of a run that appends everything committed, though
    /// other runs came after it.
    async fn appended_earlier(&self, claim: &Claim, run: u64) -> Result<Option<u64>, RunError> {
        let begun = claim.generation > 1;
        if !begun || claim.effect != Effect::Append || claim.key != IntervalKey::All {
            return Ok(None);
        }
        let from = self.snapshot.version().saturating_sub(LOOK_BACK);
        let history = self.log.history(from).await?;
        Ok(committed_earlier(&history, &self.ledger, claim.key, run))
    }

    /// Whether the commit must name a dead-letter file even without dead letters (B6a).
    pub(crate) fn replaces_dead_letters(&self, claim: &Claim) -> Result<bool, RunError> {
        Ok(has_dead_letters(&self.intervals()?, claim))
    }

    /// Makes the run's one commit: decided anew on every snapshot that it is tried on.
    pub(crate) async fn commit(
        &mut self,
        result: &RunResult<'_>,
        mut replacer: Option<Replacer>,
        repair: Option<&Repair>,
        steps: &Steps,
    ) -> Result<Committed, RunError> {
        self.refresh().await?;
        let mut history = RepairedHistory::default();
        for _ in 0..TRIES {
            if !self.may_commit(result)? {
                self.refresh().await?;
                continue;
            }
            if repair.is_some() {
                history.check(self).await?;
            }
            let replacement = match &mut replacer {
                Some(replacer) => replacer.plan(&self.snapshot).await?,
                None => Replacement::default(),
            };
            if plans_again(self.snapshot.loaded_at().age(BootTime::now())) {
                self.refresh().await?;
                continue;
            }
            check_shrink(
                replacement.rows,
                result.rows,
                result.allow_shrink,
                &named(result.claim.claim.key),
            )
            .map_err(|(reason, what)| RunError::permanent(reason, what))?;
            let replaced = replacement.rows;
            let record = match repair {
                Some(repair) => Some(self.record(repair, result, &replacement).await?),
                None => None,
            };
            let request = self.request(result, replacement, record.as_ref())?;
            steps.reach("run.before_put").await;
            let won = self.put(&request).await?;
            steps.reach("run.after_put").await;
            if won {
                record.iter().for_each(Recorded::tell);
                let version = self.snapshot.version() + 1;
                self.refresh().await?;
                self.checkpoint_when_due().await;
                return Ok(Committed { version, replaced });
            }
            self.back_off().await?;
        }
        Err(self.crowded())
    }

    /// False when the log is to be read again first.
    fn may_commit(&self, result: &RunResult<'_>) -> Result<bool, RunError> {
        let intervals = self.intervals()?;
        let state = ledger_state(&self.snapshot, &self.ledger)?;
        let now = BootTime::now();
        let decision = decide_fence(&FenceFacts {
            claim: result.claim,
            log: &intervals,
            ledger: &self.ledger,
            state: &state,
            base_age: self.snapshot.loaded_at().age(now),
            files_age: result.age + result.begun.age(now),
            table_id: &self.table_id,
            table_id_now: self.snapshot.metadata_id(),
        });
        match decision {
            FenceDecision::Commit => Ok(true),
            FenceDecision::Refresh => Ok(false),
            FenceDecision::Refuse { reason, retry: true, what } => {
                Err(RunError::transient(reason, what))
            }
            FenceDecision::Refuse { reason, retry: false, what } => {
                Err(RunError::permanent(reason, what))
            }
        }
    }

    fn request(
        &mut self,
        result: &RunResult<'_>,
        replacement: Replacement,
        record: Option<&Recorded>,
    ) -> Result<CommitRequest, RunError> {
        let done = Done {
            empty: result.rows == 0,
            dead_letters: result.dead_letters,
            fingerprint: result.fingerprint,
            origin: result.origin,
            cursor: result.cursor,
        };
        let mut txns = done_txns(&self.ledger, &self.intervals()?, &result.claim.claim, &done)?;
        let kind = if record.is_some() { CommitKind::Repair } else { CommitKind::Run };
        txns.extend(record.into_iter().flat_map(|record| record.txns.clone()));
        let (tag, new) = (self.tag(kind), result.files.iter().cloned());
        Ok(CommitRequest { txns, ..CommitRequest::replacing(tag, replacement, new) })
    }

    /// Writes the record of a repair that is allowed on this snapshot.
    async fn record(
        &mut self,
        repair: &Repair,
        result: &RunResult<'_>,
        replacement: &Replacement,
    ) -> Result<Recorded, RunError> {
        let work = RepairWork {
            by: &self.ledger,
            generation: result.claim.claim.generation,
            rows: result.rows,
            replacement,
        };
        repair.record(&self.log, &self.snapshot, &work, self.random.nonce()).await
    }

    /// Whether the commit is in the log; it is not when another one was faster.
    async fn put(&self, request: &CommitRequest) -> Result<bool, RunError> {
        let prepared = self.log.prepare(&self.snapshot, request).await?;
        let told_to_stop = self.cancel.cancelled();
        match self.log.settle(&prepared, &RetryPolicy::default(), told_to_stop).await? {
            Outcome::Won => Ok(true),
            Outcome::Lost(_) => Ok(false),
            Outcome::InDoubt => {
                let version = prepared.version();
                let what = format!(
                    "the outcome of version {version} is not known; the next attempt \
                                    reads it from the log"
                );
                Err(RunError::transient(Reason::CommitInDoubt, what))
            }
        }
    }

    fn tag(&mut self, kind: CommitKind) -> CommitTag {
        CommitTag { ledger: self.ledger.clone(), kind, nonce: self.random.nonce() }
    }

    pub(crate) async fn refresh(&mut self) -> Result<(), RunError> {
        self.snapshot = self.log.refresh(&self.snapshot).await?.0;
        Ok(())
    }

    async fn back_off(&mut self) -> Result<(), RunError> {
        let millis = u64::from(5 + self.random.up_to(45));
        tokio::time::sleep(Duration::from_millis(millis)).await;
        self.refresh().await
    }

    fn crowded(&self) -> RunError {
        let what = format!("{TRIES} commits of others to {} were faster", self.log.root());
        RunError::transient(Reason::SinkUnreachable, what)
    }

    /// Best effort: the log is readable without.
    async fn checkpoint_when_due(&mut self) {
        let version = self.snapshot.version();
        // Others' commits count too, so a round number may not be ours.
        if version / CHECKPOINT_EACH == self.seen_version / CHECKPOINT_EACH {
            return;
        }
        self.seen_version = version;
        if let Err(error) = self.log.checkpoint(&self.snapshot).await {
            tracing::debug!(
                version,
                error = &error as &dyn std::error::Error,
                "no checkpoint was written"
            );
        }
        self.log.write_checksum(&self.snapshot).await;
    }
}
