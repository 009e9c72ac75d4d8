//! What becomes of records, from a real broker to a table that other engines read.
#![allow(clippy::unwrap_used, reason = "the lint's exception for tests leaves their helpers out")]

#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod damage;
mod dedup;
mod process;
mod schema;
mod verdicts;
