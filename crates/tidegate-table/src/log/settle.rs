//! Ending doubt (P5): a PUT that was answered with an error may have landed, or may land later. The
//! commit is known only when its version exists, so the same bytes are put until it does.

use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::Duration;

use object_store::{ObjectStore as _, PutMode, PutOptions, PutPayload};

use super::CommitLog;
use super::boot_time::BootTime;
use super::entry::LogEntry;
use super::error::LogError;
use super::hole::check_base_age;
use super::prepare::PreparedCommit;
use crate::files::layout::log_entry;

/// How long to wait between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Before the second attempt; doubled for each further one.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl Default for RetryPolicy {
    /// 50 ms to 5 s: a store that is back is used within seconds, one that is away gets 720
    /// requests an hour.
    fn default() -> Self {
        Self { first: Duration::from_millis(50), longest: Duration::from_secs(5) }
    }
}

impl RetryPolicy {
    /// The wait after attempt number `attempt` (from 1): between half and all of the doubled
    /// value, by `jitter`, whose bits the caller makes.
    #[must_use]
    pub fn wait(&self, attempt: u32, jitter: u64) -> Duration {
        let doubled = self.first.saturating_mul(1 << attempt.saturating_sub(1).min(20));
        let full = doubled.min(self.longest);
        let share = u32::try_from(jitter % 1_024).unwrap_or(0);
        full / 2 + (full / 2).saturating_mul(share) / 1_024
    }
}

/// What one PUT was answered with.
#[derive(Debug)]
pub enum PutOutcome {
    /// The store took it.
    Stored,
    /// The store says that the version exists, or (409) that somebody is writing it.
    Exists,
    /// Anything else: it may have landed, it may land later.
    Unknown(object_store::Error),
}

/// [`PutOutcome`] without its cause: what the decision depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PutAnswer {
    /// See [`PutOutcome::Stored`].
    Stored,
    /// See [`PutOutcome::Exists`].
    Exists,
    /// See [`PutOutcome::Unknown`].
    Unknown,
}

/// What stands at the version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadBack {
    /// This very commit.
    Ours,
    /// Another one.
    Other,
    /// Nothing (yet).
    Absent,
    /// The store did not say.
    Unreadable,
}

/// What to do about a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextStep {
    /// It is in the log.
    Won,
    /// Another one is in its place.
    Lost,
    /// Read the version back.
    Read,
    /// Put the same bytes again.
    PutAgain,
}

/// Decides about a commit from the answer to the last PUT and what was read back after it, if
/// anything was (P5). Absent is never "not landed": the only way out is that the version exists.
pub(super) fn decide_put(put: PutAnswer, read: Option<ReadBack>) -> NextStep {
    match (put, read) {
        (PutAnswer::Stored, _) | (_, Some(ReadBack::Ours)) => NextStep::Won,
        (_, Some(ReadBack::Other)) => NextStep::Lost,
        (_, Some(ReadBack::Absent | ReadBack::Unreadable)) => NextStep::PutAgain,
        (PutAnswer::Exists | PutAnswer::Unknown, None) => NextStep::Read,
    }
}

/// How a commit ended.
#[derive(Debug)]
pub enum Outcome {
    /// It is in the log.
    Won,
    /// Another commit has its version.
    Lost(Box<LogEntry>),
    /// Cancelled before it was known. It may be in the log now or later: the same prepared commit
    /// must be settled, or its version seen, before anything that contradicts it is done.
    InDoubt,
}

impl CommitLog {
    /// Puts the commit once.
    pub async fn put(&self, prepared: &PreparedCommit) -> PutOutcome {
        prepared.attempts.fetch_add(1, Ordering::Relaxed);
        let payload = PutPayload::from_bytes(prepared.bytes.clone());
        let options = PutOptions::from(PutMode::Create);
        match self.commit_store.put_opts(&log_entry(prepared.version), payload, options).await {
            Ok(_) => PutOutcome::Stored,
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. },
            ) => PutOutcome::Exists,
            Err(error) => PutOutcome::Unknown(error),
        }
    }

    /// Puts the commit until its outcome is known, or `cancel` completes. After a win the log is
    /// checked for holes (P8).
    ///
    /// # Errors
    ///
    /// [`LogError::BaseTooOld`] before the first attempt: then nothing was written.
    /// [`LogError::Hole`] after a win that must not count; [`LogError::Malformed`] when what stands
    /// at the version is no commit.
    pub async fn settle(
        &self,
        prepared: &PreparedCommit,
        policy: &RetryPolicy,
        cancel: impl Future<Output = ()>,
    ) -> Result<Outcome, LogError> {
        if let Some(loaded_at) = prepared.base_loaded_at
            && prepared.attempts() == 0
        {
            check_base_age(loaded_at, BootTime::now())?;
        }
        let mut cancel = std::pin::pin!(cancel);
        let outcome = tokio::select! {
            // The store's answer is worth more than the wish to leave.
            biased;
            outcome = self.put_until_known(prepared, policy) => outcome?,
            () = &mut cancel => return Ok(Outcome::InDoubt),
        };
        if matches!(outcome, Outcome::Won) {
            tokio::select! {
                biased;
                checked = self.check_hole_until_known(prepared, policy) => checked?,
                () = &mut cancel => tracing::warn!(
                    table = %self.root,
                    version = prepared.version,
                    "left before the log could be checked for a hole"
                ),
            }
        }
        Ok(outcome)
    }

    async fn put_until_known(
        &self,
        prepared: &PreparedCommit,
        policy: &RetryPolicy,
    ) -> Result<Outcome, LogError> {
        loop {
            let answer = self.put_and_report(prepared).await;
            let mut found = None;
            let mut step = decide_put(answer, None);
            if step == NextStep::Read {
                let (read, bytes) = self.read_back(prepared).await;
                found = bytes;
                step = decide_put(answer, Some(read));
            }
            match (step, found) {
                (NextStep::Won, _) => return Ok(Outcome::Won),
                (NextStep::Lost, Some(bytes)) => {
                    let entry = LogEntry::parse(prepared.version, bytes)?;
                    return Ok(Outcome::Lost(Box::new(entry)));
                }
                _ => self.pause(prepared, policy).await,
            }
        }
    }

    async fn put_and_report(&self, prepared: &PreparedCommit) -> PutAnswer {
        match self.put(prepared).await {
            PutOutcome::Stored => PutAnswer::Stored,
            PutOutcome::Exists => PutAnswer::Exists,
            PutOutcome::Unknown(error) => {
                tracing::warn!(
                    table = %self.root,
                    version = prepared.version,
                    attempt = prepared.attempts(),
                    error = &error as &dyn std::error::Error,
                    "outcome of the commit is unknown, will read it back"
                );
                PutAnswer::Unknown
            }
        }
    }

    async fn read_back(&self, prepared: &PreparedCommit) -> (ReadBack, Option<bytes::Bytes>) {
        match self.read_entry(&self.commit_store, prepared.version).await {
            Ok(None) => (ReadBack::Absent, None),
            Ok(Some(bytes)) if is_ours(prepared, &bytes) => (ReadBack::Ours, Some(bytes)),
            Ok(Some(bytes)) => (ReadBack::Other, Some(bytes)),
            Err(error) => {
                tracing::warn!(
                    table = %self.root,
                    version = prepared.version,
                    error = &error as &dyn std::error::Error,
                    "unable to read the commit back, will retry"
                );
                (ReadBack::Unreadable, None)
            }
        }
    }

    async fn check_hole_until_known(
        &self,
        prepared: &PreparedCommit,
        policy: &RetryPolicy,
    ) -> Result<(), LogError> {
        loop {
            match self.check_hole(prepared.version).await {
                Err(LogError::Store { .. }) => self.pause(prepared, policy).await,
                answer => return answer,
            }
        }
    }

    /// The nonce is random and the attempts differ, so two writers do not wait in step.
    async fn pause(&self, prepared: &PreparedCommit, policy: &RetryPolicy) {
        let attempt = prepared.attempts();
        let seed = format!("{}/{attempt}", prepared.tag.nonce);
        tokio::time::sleep(policy.wait(attempt, xxhash_rust::xxh3::xxh3_64(seed.as_bytes()))).await;
    }
}

/// The bytes are ours when they are equal, or (a store or proxy may re-encode line ends) when they
/// carry our nonce.
fn is_ours(prepared: &PreparedCommit, bytes: &bytes::Bytes) -> bool {
    *bytes == prepared.bytes
        || LogEntry::parse(prepared.version, bytes.clone())
            .is_ok_and(|entry| entry.ours.is_some_and(|tag| tag.nonce == prepared.tag.nonce))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p5_a_commit_is_known_only_when_its_version_exists() {
        use NextStep::{Lost, PutAgain, Read, Won};
        use PutAnswer::{Exists, Stored, Unknown};
        use ReadBack::{Absent, Other, Ours, Unreadable};
        let table = [
            (Stored, None, Won),
            (Exists, None, Read),
            (Unknown, None, Read),
            (Exists, Some(Ours), Won),
            (Unknown, Some(Ours), Won),
            (Exists, Some(Other), Lost),
            (Unknown, Some(Other), Lost),
            // A 409 without a landed object.
            (Exists, Some(Absent), PutAgain),
            // The delayed PUT may still land: only putting again ends the doubt.
            (Unknown, Some(Absent), PutAgain),
            (Exists, Some(Unreadable), PutAgain),
            (Unknown, Some(Unreadable), PutAgain),
        ];
        for (put, read, expected) in table {
            assert_eq!(decide_put(put, read), expected, "{put:?} {read:?}");
        }
    }

    #[test]
    fn waits_grow_to_their_bound_and_differ_by_jitter() {
        let policy =
            RetryPolicy { first: Duration::from_millis(100), longest: Duration::from_secs(1) };
        assert_eq!(policy.wait(1, 0), Duration::from_millis(50));
        assert!(policy.wait(1, 1_023) < Duration::from_millis(100));
        assert_eq!(policy.wait(3, 0), Duration::from_millis(200));
        for attempt in [5, 100, u32::MAX] {
            assert_eq!(policy.wait(attempt, 0), Duration::from_millis(500));
            assert!(policy.wait(attempt, 1_023) <= Duration::from_secs(1));
        }
    }
}
