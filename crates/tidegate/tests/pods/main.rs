//! What runs in a cluster's pods, as processes: workers that follow assignments, the agent, the cleanup.
#![allow(clippy::unwrap_used, reason = "the lint's exception for tests leaves their helpers out")]

#[path = "../support/mod.rs"]
mod support;

mod agent;
mod cleanup;
mod faults;
mod following;
mod pod;
