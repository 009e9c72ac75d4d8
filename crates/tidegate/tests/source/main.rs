//! What happens at the source, seen from the table: real brokers that lose, forget, fill up, refuse and
//! come back, and workers that live through it.
#![allow(clippy::unwrap_used, reason = "the lint's exception for tests leaves their helpers out")]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod broker;
mod checks;
mod identity;
mod idle;
mod loss;
mod partitions;
mod plan;
mod recovery;
mod retention;
