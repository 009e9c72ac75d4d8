//! What becomes of records, from a real broker to a table that other engines read.

#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod damage;
mod dedup;
mod process;
mod schema;
mod verdicts;
