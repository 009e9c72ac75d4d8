//! The object store and what can happen to it: lost answers, late writes, faults, refusals, a full disk,
//! strangers in the table.
#![allow(clippy::unwrap_used, reason = "the lint's exception for tests leaves their helpers out")]

#[path = "../support/mod.rs"]
mod support;

mod disk;
mod identity;
mod lake;
mod late;
mod lost_answers;
mod refusals;
mod secrets;
mod strangers;
mod unwell;
