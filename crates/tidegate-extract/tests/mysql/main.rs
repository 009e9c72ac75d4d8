//! The MySQL source against a real MariaDB server.

#![allow(clippy::unwrap_used, reason = "the lint's exception for tests leaves their helpers out")]

mod balanced;
mod division;
mod faults;
mod frozen_lists;
mod ground;
mod intervals;
mod replaced;
#[path = "../requests/mod.rs"]
mod requests;
mod snapshot;
mod types;
mod waiting_statements;
mod warnings;
