//! The status: what it says, and when it is worth a write.
//!
//! What somebody may wait for is written at once: generation, conditions, phase, guarantee, the numbers
//! of workers, and what the scaling has to remember. Numbers that move by themselves are refreshed at
//! most once a minute, and only when one of them moved by more than a tenth, or to or from zero; the
//! words of a condition whose status and reason stay are treated like a number. The newest commit and
//! `completeThrough` may be five minutes old while records flow and an hour while they do not. So an idle
//! pipeline costs one write an hour, and none when its agent has nothing new to say.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use tidegate_api::{
    DedupStatus, GuaranteeStatus, IngestionPipelineStatus, LagStatus, LastCommitStatus, Phase,
    RecordsStatus, ScalingMode, ScalingStatus,
};
use tidegate_config::AgentReport;
use tidegate_types::Reason;

use super::conditions::conditions;
use super::memory::knows_the_log;
use super::status_facts::StatusFacts;
use crate::clock::is_over;
use crate::cluster::labels::{self, Component};
use crate::status::{READY, STALLED, Verdict, find, whole_seconds};
use crate::text::bounded;

/// The shortest time between two writes that only refresh numbers.
const NUMBERS_EVERY: Duration = Duration::from_secs(60);
/// How old commit and `completeThrough` may be while records flow.
const FLOWING: Duration = Duration::from_secs(300);
/// How old they may be while none do.
const IDLE: Duration = Duration::from_secs(3_600);

/// The status to be written; none when what stands there is good enough. After writing it set
/// `Memory::status_written`.
pub(crate) fn next_status(
    facts: &StatusFacts<'_>,
    previous: Option<&IngestionPipelineStatus>,
    now: Timestamp,
) -> Option<IngestionPipelineStatus> {
    let fresh = fresh_status(facts, previous, now);
    let Some(previous) = previous else { return Some(fresh) };
    let rested = facts.memory.status_written.is_none_or(|last| is_over(last, NUMBERS_EVERY, now));
    let due = matters(previous, &fresh) || (rested && has_moved(previous, &fresh));
    due.then_some(fresh)
}

/// What there is to say now.
fn fresh_status(
    facts: &StatusFacts<'_>,
    previous: Option<&IngestionPipelineStatus>,
    now: Timestamp,
) -> IngestionPipelineStatus {
    let before = previous.cloned().unwrap_or_default();
    let conditions = conditions(facts, &before.conditions, now);
    let agent = facts.agent();
    let log = agent.filter(|agent| knows_the_log(agent));
    let observed = facts.decisions.is_some() || facts.observed.workers.exists;
    let workers = |count, before| if observed { Some(count) } else { before };
    IngestionPipelineStatus {
        observed_generation: Some(facts.generation),
        phase: Some(phase(facts, &conditions)),
        guarantee: agent.and_then(guarantee).or(before.guarantee),
        lag: lag(facts, before.lag, now),
        last_commit: log.and_then(last_commit).or(before.last_commit),
        records: log.map(records).or(before.records),
        dedup: dedup(facts, log).or(before.dedup),
        complete_through: agent.and_then(complete_through).or(before.complete_through),
        schedule: before.schedule,
        replicas: workers(facts.observed.workers.existing, before.replicas),
        ready_replicas: workers(facts.observed.workers.ready, before.ready_replicas),
        selector: Some(labels::selector_text(facts.name, Component::Worker)),
        scaling: scaling(facts, before.scaling, now),
        conditions,
    }
}

/// A word for people.
fn phase(facts: &StatusFacts<'_>, conditions: &[Condition]) -> Phase {
    let ready = find(conditions, READY);
    let is_ready = ready.is_some_and(|ready| ready.status == Verdict::True.as_str());
    let because = |reason: Reason| ready.is_some_and(|ready| ready.reason == reason.as_str());
    if facts.deleting.is_some() {
        Phase::Deleting
    } else if facts.is_suspended() {
        Phase::Suspended
    } else if find(conditions, STALLED).is_some() {
        Phase::Stalled
    } else if is_ready {
        let idle = facts.replicas() == 0 && facts.mode() == ScalingMode::Lag;
        if idle { Phase::Idle } else { Phase::Running }
    } else if because(Reason::Progressing) || because(Reason::RollingOut) {
        Phase::Pending
    } else {
        Phase::Degraded
    }
}

fn guarantee(agent: &AgentReport) -> Option<GuaranteeStatus> {
    let report = agent.guarantee.as_ref()?;
    Some(GuaranteeStatus {
        requested: report.requested,
        effective: report.effective,
        weakest_hop: report.weakest_hop.as_deref().map(bounded),
    })
}

/// What waits. A number that nobody stands for any more is not shown.
fn lag(facts: &StatusFacts<'_>, before: Option<LagStatus>, now: Timestamp) -> Option<LagStatus> {
    let Some(agent) = facts.agent() else {
        let still_true = !facts.is_suspended() && !facts.agent_is_lost(now);
        return before.filter(|_| still_true);
    };
    let (messages, seconds) = agent.lag.zip(agent.lag_seconds)?;
    Some(LagStatus { messages, seconds })
}

fn last_commit(agent: &AgentReport) -> Option<LastCommitStatus> {
    let commit = agent.last_commit?;
    Some(LastCommitStatus { version: commit.version, time: instant(commit.time)? })
}

fn complete_through(agent: &AgentReport) -> Option<Time> {
    instant(agent.complete_through?)
}

fn instant(microseconds: i64) -> Option<Time> {
    Timestamp::from_microsecond(microseconds).ok().map(whole_seconds).map(Time)
}

fn records(agent: &AgentReport) -> RecordsStatus {
    let counters = &agent.counters;
    RecordsStatus {
        read: counters.read,
        committed: counters.rows,
        dead_lettered: counters.dead,
        filtered: counters.filtered,
    }
}

fn dedup(facts: &StatusFacts<'_>, log: Option<&AgentReport>) -> Option<DedupStatus> {
    let compares_ids = facts.pipeline.is_some_and(|pipeline| pipeline.config.dedup.is_some());
    log.filter(|_| compares_ids).map(|agent| DedupStatus { dropped: agent.counters.duplicate })
}

/// What the scaling has to find again after a restart of the operator.
fn scaling(
    facts: &StatusFacts<'_>,
    before: Option<ScalingStatus>,
    now: Timestamp,
) -> Option<ScalingStatus> {
    let Some(decisions) = facts.decisions else { return before };
    let mut memory = decisions.scaling.memory.clone()?;
    // Between two commits fewer workers seem to suffice for a while. That is not worth two writes; the
    // end of it is, because a restarted operator must not take it for having lasted.
    let known = before.and_then(|before| before.fewer_since);
    let lasts =
        |since: &Time| Some(since) == known.as_ref() || is_over(since.0, NUMBERS_EVERY, now);
    memory.fewer_since = memory.fewer_since.map(|t| Time(whole_seconds(t.0))).filter(lasts);
    memory.last_scale_time = memory.last_scale_time.map(|t| Time(whole_seconds(t.0)));
    Some(memory)
}

/// Whether something differs that somebody may wait for.
fn matters(before: &IngestionPipelineStatus, fresh: &IngestionPipelineStatus) -> bool {
    weighty(before) != weighty(fresh)
}

/// A status without what may wait a minute.
fn weighty(status: &IngestionPipelineStatus) -> IngestionPipelineStatus {
    // Whether a number is known matters, and what it is does not.
    let mut status = status.clone();
    for condition in &mut status.conditions {
        condition.message.clear();
    }
    status.lag = status.lag.map(|_| LagStatus::default());
    status.records = status.records.map(|_| RecordsStatus::default());
    status.dedup = status.dedup.map(|_| DedupStatus::default());
    status.complete_through = status.complete_through.map(|_| epoch());
    status.last_commit = status.last_commit.map(|_| LastCommitStatus { version: 0, time: epoch() });
    if let Some(scaling) = &mut status.scaling {
        scaling.rate_per_worker = None;
    }
    status
}

fn epoch() -> Time {
    Time(Timestamp::UNIX_EPOCH)
}

/// Whether a number moved enough to be refreshed.
fn has_moved(before: &IngestionPipelineStatus, fresh: &IngestionPipelineStatus) -> bool {
    let by_a_tenth = numbers(before).into_iter().zip(numbers(fresh)).any(|(a, b)| moved(a, b));
    let read = |status: &IngestionPipelineStatus| status.records.as_ref().map(|r| r.read);
    let patience = if read(before) == read(fresh) { IDLE } else { FLOWING };
    let commit = |status: &IngestionPipelineStatus| status.last_commit.as_ref().map(|c| c.time.0);
    let through = |status: &IngestionPipelineStatus| status.complete_through.as_ref().map(|t| t.0);
    by_a_tenth
        || is_older(commit(before), commit(fresh), patience)
        || is_older(through(before), through(fresh), patience)
        || messages(before) != messages(fresh)
}

/// The numbers, always as many and in the same order.
fn numbers(status: &IngestionPipelineStatus) -> [u64; 8] {
    let lag = status.lag.clone().unwrap_or_default();
    let records = status.records.clone().unwrap_or_default();
    let dropped = status.dedup.as_ref().map_or(0, |dedup| dedup.dropped);
    let rate = status.scaling.as_ref().and_then(|s| s.rate_per_worker).unwrap_or(0);
    let RecordsStatus { read, committed, dead_lettered, filtered } = records;
    [lag.messages, lag.seconds, read, committed, dead_lettered, filtered, dropped, rate]
}

/// By more than a tenth, or to or from zero.
fn moved(before: u64, fresh: u64) -> bool {
    let to_or_from_zero = (before == 0) != (fresh == 0);
    to_or_from_zero || u128::from(before.abs_diff(fresh)) * 10 > u128::from(before)
}

fn is_older(before: Option<Timestamp>, fresh: Option<Timestamp>, patience: Duration) -> bool {
    before.zip(fresh).is_some_and(|(before, fresh)| is_over(before, patience, fresh))
}

fn messages(status: &IngestionPipelineStatus) -> Vec<&str> {
    status.conditions.iter().map(|condition| condition.message.as_str()).collect()
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
