//! The runs of one bulk pipeline: read → observe → decide → documents → requests → status, a file each.
//!
//! All runs of a pipeline are looked at together, because they share its slots and its schedule. Each one
//! is an object that asks; what was done stands in the table's log. So nothing here has to be remembered:
//! an attempt that is made twice, a run that comes back from a backup, an object that is gone, all of it
//! costs time and no row.

mod chunk_job;
mod chunks;
mod conditions;
mod decide;
mod documents;
mod facts;
mod job;
mod keep;
mod limit;
mod names;
mod observe;
mod parent;
mod read;
mod requests;
mod status;
mod tally;

pub(crate) use chunk_job::chunk_job;
pub(crate) use chunks::{ChunkFacts, ChunkStep, chunk_step, left_over};
pub(crate) use decide::{LeafFacts, PipelineFacts, cannot_run, decide};
pub(crate) use documents::{child_run, repeated_run, scheduled_run};
pub(crate) use facts::{Attempt, Outcome, Run, Step, Waiting, What};
pub(crate) use job::{NextAttempt, transfer_job};
pub(crate) use keep::{Finished, KeepFacts, keep};
pub(crate) use limit::{Contender, limit};
pub(crate) use observe::{attempt, newest_job};
pub(crate) use parent::{ChildState, ParentFacts, ParentStep, does_again, elsewhere, parent};
pub(crate) use read::read;
pub(crate) use requests::{create_run, delete_run, write_status};
pub(crate) use status::{StatusFacts, next_status};
pub(crate) use tally::tally;
