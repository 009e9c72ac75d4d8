//! The schedule of a bulk pipeline: which runs are to be made, whom they wait for, and how far it has come.
//! Pure; the time is passed in.

mod dependency;
mod owed;
mod through;

pub(crate) use dependency::{Dependency, waits_for};
pub(crate) use owed::{Owed, ScheduleFacts, may_be_older, origin, owed};
pub(crate) use through::{ThroughFacts, through};
