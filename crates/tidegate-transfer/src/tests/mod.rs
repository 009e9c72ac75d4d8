//! The protocol of a run, over a source in memory and a table in memory: every rule, every order of
//! events that matters, without a network.

mod claims;
mod crash;
mod dead_letters;
mod files;
pub(crate) mod lake;
mod overwrite;
mod reading;
mod replacing;
mod schedule;
pub(crate) mod source;
mod trouble;
mod zombies;
