//! The protocol of a run, over a source in memory and a table in memory: every rule, every order of
//! events that matters, without a network.

mod bounds;
mod claims;
mod crash;
mod dead_letters;
mod files;
mod kept;
pub(crate) mod lake;
mod overwrite;
mod pause;
mod reading;
mod repairs;
mod replacing;
mod rewinds;
mod schedule;
pub(crate) mod source;
mod stream;
mod trouble;
mod zombies;

pub(crate) use pause::Pause;
