//! From a resource to the spec that runs: what is the same for every pipeline.
//!
//! Each controller checks and resolves its own kind of pipeline; what a rejection is, what the spec points
//! to, how an accepted one goes on when an edit is refused, stands here.

mod checks;
mod circumstances;
#[cfg(test)]
pub(crate) mod fixtures;
mod outcome;
mod read;
mod references;
mod rejection;
mod validated;

pub(crate) use checks::{
    accepted_before, check_account, check_change, check_name, check_table, withdrawn,
};
pub(crate) use circumstances::{Circumstances, circumstances};
pub(crate) use outcome::{Rules, Validation};
pub(crate) use read::{is_bulk, read, status_of};
pub(crate) use references::References;
pub(crate) use rejection::{Rejection, invalid, refused};
pub(crate) use validated::{Transfer, ValidatedPipeline, accept};
