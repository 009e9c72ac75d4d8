//! Who reads which partitions.
//!
//! Every partition has exactly one worker, shares differ by at most one, and as few partitions as
//! possible move: a worker that gives one up commits first, which costs everybody's time.
//!
//! A worker keeps its partitions while it is away for less than a minute, so that replacing a pod moves
//! nothing. It also keeps them while it says itself that its data is at fault: another worker would meet
//! the same, and the two would hand the partition to and fro. Newcomers join together: the first that is
//! ready waits for the others, a minute at most.

use std::collections::BTreeSet;

use jiff::Timestamp;
use tidegate_config::{Assignment, WorkerAssignment};
use tidegate_types::{Epoch, PartitionId, Reason};

use super::workers::{Seen, Standing, standing};
use crate::cluster::names;
use crate::status::{Outlook, outlook};

/// A worker that should exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WorkerFacts {
    /// Its name: its pod's.
    pub(crate) name: String,
    /// Whether it can be given partitions, or keep those that it has.
    pub(crate) able: bool,
}

/// What a new generation has to be above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GenerationFacts {
    /// The highest that a worker follows or the log knows; 0 when none is.
    pub(crate) known: i64,
    /// Now.
    pub(crate) now: Timestamp,
}

/// Distributes the partitions. `workers` are those that should exist, by ordinal; when none is able the
/// partitions stay where they are. The answer equals `previous` when nothing has to change.
///
/// A new generation is the time in seconds, or one more than the highest known where that is higher: a
/// pipeline that was deleted and made again, or restored into another cluster, has lost its assignment,
/// and neither workers nor the epochs in the table's log let a lower generation pass. For the same reason
/// an assignment that is below what is known is given out anew.
pub(crate) fn assign(
    previous: Option<&Assignment>,
    partitions: u32,
    workers: &[WorkerFacts],
    generations: GenerationFacts,
) -> Assignment {
    let chosen = distribute(previous, partitions, &takers(previous, workers));
    // One that no claim could carry says nothing.
    let known = Some(generations.known).filter(|known| can_be_claimed(known.saturating_add(1)));
    let known = known.unwrap_or(0);
    match previous {
        Some(previous) if previous.workers == chosen && previous.generation >= known => {
            previous.clone()
        }
        _ => {
            let last = previous.map_or(0, |previous| previous.generation).max(known);
            let generation = generations.now.as_second().max(last.saturating_add(1));
            Assignment { generation, workers: chosen }
        }
    }
}

fn can_be_claimed(generation: i64) -> bool {
    Epoch::default().next(generation).is_some()
}

/// The workers that should exist with `replicas` of them, and which of them are able.
pub(crate) fn worker_facts(pipeline: &str, replicas: u32, seen: Seen<'_>) -> Vec<WorkerFacts> {
    let members: Vec<Member> =
        (0..replicas).map(|ordinal| member(names::worker_pod(pipeline, ordinal), seen)).collect();
    let circle = Circle::of(&members);
    members
        .into_iter()
        .map(|member| WorkerFacts { able: circle.is_able(&member), name: member.name })
        .collect()
}

struct Member {
    name: String,
    standing: Standing,
    /// It has partitions now.
    holds: bool,
    /// It says that its data is at fault.
    halted: bool,
}

fn member(name: String, seen: Seen<'_>) -> Member {
    let observed = seen.observed;
    let holds = observed.assignment.as_ref().is_some_and(|a| !a.partitions_of(&name).is_empty());
    let report = observed.worker_pods.get(&name).and_then(|pod| pod.report.as_ref());
    let reason = report.and_then(|report| Reason::from_word(&report.pod.state.reason));
    let halted = reason.is_some_and(|reason| outlook(reason) == Outlook::Stalled);
    Member { standing: standing(&name, seen), holds, halted, name }
}

/// What a worker's part depends on, beside itself.
struct Circle {
    /// Nobody has partitions yet: everybody who is to come gets some.
    is_new: bool,
    somebody_is_ready: bool,
    newcomers_wait: bool,
}

impl Circle {
    fn of(members: &[Member]) -> Self {
        let any = |test: &dyn Fn(&Member) -> bool| members.iter().any(test);
        let is_new = !any(&|member| member.holds);
        let holder_is_there = any(&|m| m.holds && m.standing != Standing::Overdue);
        let newcomer_is_coming = any(&|m| !m.holds && m.standing == Standing::Coming);
        Self {
            is_new,
            somebody_is_ready: any(&|member| member.standing == Standing::Ready),
            newcomers_wait: holder_is_there && newcomer_is_coming,
        }
    }

    fn is_able(&self, member: &Member) -> bool {
        let belongs = member.holds || self.is_new;
        match member.standing {
            Standing::Ready => belongs || !self.newcomers_wait,
            Standing::Coming => belongs,
            Standing::Overdue => belongs && (member.halted || !self.somebody_is_ready),
        }
    }
}

/// Those who get partitions: the able ones; else whoever has some; else all.
fn takers<'a>(previous: Option<&Assignment>, workers: &'a [WorkerFacts]) -> Vec<&'a str> {
    let named = |test: &dyn Fn(&WorkerFacts) -> bool| -> Vec<&'a str> {
        workers.iter().filter(|worker| test(worker)).map(|worker| worker.name.as_str()).collect()
    };
    let holds = |worker: &WorkerFacts| {
        previous.is_some_and(|previous| !previous.partitions_of(&worker.name).is_empty())
    };
    [named(&|worker| worker.able), named(&holds), named(&|_| true)]
        .into_iter()
        .find(|names| !names.is_empty())
        .unwrap_or_default()
}

/// Shares of equal size, give or take one; the larger ones go to those that have most, so that least
/// moves.
fn distribute(
    previous: Option<&Assignment>,
    partitions: u32,
    takers: &[&str],
) -> Vec<WorkerAssignment> {
    let Some(least) = u32::try_from(takers.len()).ok().and_then(|n| partitions.checked_div(n))
    else {
        return Vec::new();
    };
    let mut free: BTreeSet<PartitionId> = (0..partitions).map(PartitionId).collect();
    let mut shares: Vec<Vec<PartitionId>> =
        takers.iter().map(|taker| keep_known(previous, taker, &mut free)).collect();
    let mut by_size: Vec<usize> = (0..takers.len()).collect();
    by_size.sort_by_key(|&taker| std::cmp::Reverse(shares[taker].len()));
    let (least, larger) = (least as usize, partitions as usize % takers.len());
    let size = |rank: usize| least + usize::from(rank < larger);
    for (rank, &taker) in by_size.iter().enumerate() {
        let keep = size(rank).min(shares[taker].len());
        free.extend(shares[taker].split_off(keep));
    }
    for (rank, &taker) in by_size.iter().enumerate() {
        while shares[taker].len() < size(rank) {
            let Some(next) = free.pop_first() else { break };
            shares[taker].push(next);
        }
        shares[taker].sort_unstable();
    }
    let named = takers.iter().zip(shares).filter(|(_, share)| !share.is_empty());
    named
        .map(|(name, partitions)| WorkerAssignment { name: (*name).to_owned(), partitions })
        .collect()
}

/// What a worker has already, taken out of what is free. A partition that an edited document names twice,
/// or that does not exist, is nobody's.
fn keep_known(
    previous: Option<&Assignment>,
    taker: &str,
    free: &mut BTreeSet<PartitionId>,
) -> Vec<PartitionId> {
    let held = previous.map_or(&[][..], |previous| previous.partitions_of(taker));
    held.iter().copied().filter(|partition| free.remove(partition)).collect()
}

#[cfg(test)]
#[path = "assignment_tests.rs"]
mod tests;
