//! The source on a real PostgreSQL server.

#![allow(clippy::unwrap_used, reason = "the lint's exception for tests leaves their helpers out")]

mod balanced;
mod failing;
mod holding;
mod reading;
mod renaming;
#[path = "../requests/mod.rs"]
mod requests;
mod support;
mod types;
mod waiting;
