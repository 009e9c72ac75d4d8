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
//! A pipeline over a bulk source has no workers: its schedule makes `IngestionRun`s, and each run a Job an
//! attempt (`bulk`, `schedule`, `runs`). What is done stands in the table's log, so that a run that
//! is made twice costs time and no row.
//!
//! # What it refuses to do
//!
//! It reads no Secret, and dials no broker, store or database: it speaks to the API server and, by
//! HTTP, to the pods of pipelines. It decides who *should* work on a partition; who *may* is decided by
//! the table's log, so two operators at once do no harm.

mod bulk;
mod cache;
mod calendar;
mod client;
mod clock;
mod context;
mod error;
mod key;
mod lease;
mod metrics;
mod options;
mod pipeline;
mod queue;
mod run;
mod runs;
mod schedule;
mod watch;

pub use client::connect;
pub use clock::Clock;
pub use error::OperatorError;
pub use options::{CloudIdentity, OperatorOptions, PodSettings};
pub use run::{run, run_by};
