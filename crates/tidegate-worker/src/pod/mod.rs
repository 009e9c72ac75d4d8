//! A worker in a pod: it follows assignments, says how it is, and leaves only when it is told to.
//!
//! A change of its own partitions is carried out in process: what is held is committed and given back,
//! then the new set is claimed. Faults do not end the process either, since a restart of the container
//! would mend none of them: the worker says what is wrong and tries again after a pause, with secrets
//! read anew.

mod desk;
mod following;
mod report;

pub use desk::{AssignmentDesk, Refusal, watch_file};
pub use following::{PodSetup, PodWorker};
pub use report::{PodIdentity, bounded};

pub(crate) use report::state;
