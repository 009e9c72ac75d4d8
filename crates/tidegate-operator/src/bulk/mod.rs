//! Pipelines over bulk sources: validate → build → apply → their runs → status.
//!
//! Such a pipeline has no pods of its own. What its pods need is kept ready, its schedule makes runs, and
//! each run makes a Job an attempt; see [`crate::runs`] and [`crate::schedule`].

mod announce;
mod calendars;
mod chunks;
mod conditions;
mod controller;
mod events;
mod history;
mod keep_ready;
mod memory;
mod parents;
mod reconcile;
mod report;
mod resources;
mod runs_seen;
mod scheduling;
mod status;
mod steps;
mod terms;
mod validate;
mod work;

pub(crate) use controller::Controller;
#[cfg(test)]
pub(crate) use memory::BulkMemory;
#[cfg(test)]
pub(crate) use validate::tests::accepted;
