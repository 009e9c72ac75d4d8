//! One commit: decided, put, settled, and decided anew when another writer was faster (I1, P5, P8).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use tidegate_runtime::{RunError, failpoint};
use tidegate_table::files::DataFile;
use tidegate_table::ledger::LedgerState;
use tidegate_table::log::{
    BootTime, CommitKind, CommitRequest, CommitTag, ForeignEdit, Outcome, PreparedCommit,
    PutOutcome, RetryPolicy,
};
use tidegate_telemetry::CommitOutcomeLabel;
use tidegate_types::{Nonce, Reason};
use tracing::warn;

use super::Committer;
use crate::decide::{CommitDecision, CommitFacts, Held, decide_commit};

/// A commit that takes longer and was put again shows as in doubt.
const DOUBT_SHOWN_AFTER: Duration = Duration::from_secs(1);

/// How one put ended.
pub(super) enum Put {
    Won,
    Lost,
    /// Not known, and not to be asked again (X5).
    GivenUp,
}

/// How an attempt ended.
pub(super) enum Attempt {
    Won(u64),
    Void(CommitDecision),
    /// Under AtMostOnce: not repeated, whatever became of it (X5).
    GivenUp,
}

/// A commit that is to be made, but for the `txn` actions, which depend on what it extends.
pub(super) struct Plan<'a> {
    pub(super) kind: CommitKind,
    /// What it is valid for.
    pub(super) held: &'a [Held],
    /// The repair record that its verdicts knew.
    pub(super) record: Option<Nonce>,
    pub(super) files: Vec<DataFile>,
}

impl Committer {
    /// Decides, puts, settles; again on a new snapshot when another writer was faster, for as long as
    /// the decision says that the commit is still valid.
    pub(super) async fn attempt(
        &mut self,
        plan: Plan<'_>,
        txns: impl Fn(&Self, &LedgerState) -> BTreeMap<String, i64>,
    ) -> Result<Attempt, RunError> {
        let Plan { kind, held, record, files } = plan;
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

    pub(super) fn decide(
        &self,
        held: &[Held],
        record: Option<Nonce>,
        state: &LedgerState,
    ) -> CommitDecision {
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
            rewound: self.rewound.as_deref(),
        })
    }

    pub(super) async fn put(
        &mut self,
        kind: CommitKind,
        txns: BTreeMap<String, i64>,
        adds: Vec<DataFile>,
    ) -> Result<Put, RunError> {
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
    pub(super) async fn put_until_known(&self, prepared: &PreparedCommit) -> Result<Put, RunError> {
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
                Err(RunError::transient(Reason::CommitInDoubt, what))
            }
        }
    }

    /// Shows the doubt while it lasts.
    pub(super) async fn say_when_in_doubt(&self, prepared: &PreparedCommit) -> Infallible {
        loop {
            tokio::time::sleep(DOUBT_SHOWN_AFTER).await;
            if prepared.attempts() > 1 {
                self.parts.metrics.set_state(Reason::CommitInDoubt);
            }
        }
    }

    /// Under AtMostOnce a put whose answer is lost is not repeated (X5).
    pub(super) async fn put_once(&self, prepared: &PreparedCommit) -> Put {
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
    pub(super) async fn refresh(&mut self) -> Result<(), RunError> {
        let (snapshot, entries) = self.parts.log.refresh(&self.parts.snapshot).await?;
        for entry in &entries {
            match self.strangers.read(entry) {
                None | Some(ForeignEdit::Append) => {}
                Some(ForeignEdit::Edit(what)) => {
                    warn!(version = entry.version, operation = %what, "somebody else edited the table");
                }
                Some(ForeignEdit::Rewind(what)) => self.rewound = Some(what),
            }
        }
        self.parts.snapshot = snapshot;
        Ok(())
    }

    pub(super) async fn back_off(&mut self) {
        let millis = 5 + self.parts.random.up_to(45);
        tokio::time::sleep(Duration::from_millis(u64::from(millis))).await;
    }
}
