//! The streaming worker: from a JetStream stream to rows of a table, each exactly once.
//!
//! # The promise
//!
//! Every message that the stream keeps for a pipeline ends in exactly one committed row, one dead
//! letter, or one counted duplicate or filtered record, whatever crashes, stalls or runs twice. Two
//! messages with one id within the window of stream time are one row. What the source lost is
//! reported with its exact range, never skipped.
//!
//! # Failure points
//!
//! | the process dies | what stands | who goes on |
//! |---|---|---|
//! | before the files are finished | nothing | the next holder reads from the floor |
//! | after the files, before the commit | files that nothing names | the same; vacuum removes them |
//! | during the commit | one version, or none | the next holder reads the log: the floor tells |
//! | after the commit, before the dead letters' | rows; dead letters pending | the next holder rolls them forward (P4) |
//! | at any time, but only seems dead | another epoch in the log | its commits are refused (I1) |
//!
//! # Words
//!
//! A *floor* is the position in the log, a *cursor* what was read. A *batch* is what one commit brings.
//! A *lineage* is a line of readings between two rewinds.
//!
//! # What this crate refuses to do
//!
//! It trusts no acknowledgement as a position, deletes no data file, and lets no wall clock into a
//! verdict.

pub mod agent;
mod batch;
mod caretaker;
mod claimed;
pub mod cleanup;
mod committer;
mod dead_letters;
pub mod decide;
pub mod doctor;
mod engine;
mod event_time;
mod isolation;
mod judge;
mod keeper;
mod ledger_settings;
mod opened;
mod options;
mod plan;
pub mod pod;
mod preflight;
mod reading;
mod run;
mod setup;
mod source_setup;
mod table;
mod verdicts;
pub mod verify;
mod window;

pub use isolation::{ProbeLimits, decode_probe};
pub use options::{AssignmentGeneration, StreamCare, Summary, WorkerOptions};
pub use plan::{Plan, plan};
pub use run::run;
pub use setup::check_rules;
pub use source_setup::{connect_as_admin, stream_spec};
pub use verify::{VerifyReport, VerifyState, verify, verify_bulk};
