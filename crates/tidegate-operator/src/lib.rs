//! The controllers: from custom resources to what runs in a cluster.
//!
//! # What it does
//!
//! Each `IngestionPipeline` is reconciled in steps, a file each: *dereference* reads what the spec
//! points to, *validate* turns it into one checked value, *observe* asks the pods, *decide* finds the
//! number of workers and who reads what, *build* makes every object without a client, *apply* sends
//! what differs, *status* tells what was found. Why a reconcile runs is never asked; running it twice
//! changes nothing.
//!
//! # What it refuses to do
//!
//! It reads no Secret, and dials no broker, store or database: it speaks to the API server and, by
//! HTTP, to the pods of pipelines. It decides who *should* work on a partition; who *may* is decided by
//! the table's log, so two operators at once do no harm.

mod cache;
mod client;
mod context;
mod error;
mod key;
mod lease;
mod metrics;
mod options;
mod pipeline;
mod queue;
mod run;
mod watch;

pub use client::connect;
pub use error::OperatorError;
pub use options::{CloudIdentity, OperatorOptions, PodSettings};
pub use run::run;
