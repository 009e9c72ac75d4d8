//! Which workers a pipeline has, and how each of them stands.

use std::time::Duration;

use jiff::Timestamp;

use super::facts::Observed;
use super::memory::Memory;
use crate::clock::is_over;

/// How long a worker may be away or not ready before its partitions go to others and the pipeline says
/// so. Long enough for a pod to be replaced, short against the patience of people.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How a worker stands that should exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Its readiness probe passes.
    Ready,
    /// Away, leaving or not ready, for less than [`PATIENCE`].
    Coming,
    /// The same for longer.
    Overdue,
}

/// What is seen of the workers, and remembered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    pub(crate) observed: &'a Observed,
    pub(crate) memory: &'a Memory,
    pub(crate) now: Timestamp,
}

/// How the worker of this name stands.
pub(crate) fn standing(name: &str, seen: Seen<'_>) -> Standing {
    let Seen { observed, memory, now } = seen;
    let since = match observed.worker_pods.get(name) {
        Some(pod) if pod.ready && !pod.leaving => return Standing::Ready,
        Some(pod) => pod.not_ready_since,
        None => memory.absent_since(name),
    };
    if since.is_some_and(|since| is_over(since, PATIENCE, now)) {
        Standing::Overdue
    } else {
        Standing::Coming
    }
}
