//! The controllers: from custom resources to what runs in a cluster.
//!
//! # What it does
//!
//! Each `IngestionPipeline` is reconciled in steps: *dereference* reads what the spec
//! points to, *validate* turns it into one checked value, *observe* asks the pods, *decide* finds the
//! number of workers and who reads what, *build* makes every object without a client, *apply* sends
//! what differs, *status* tells what was found. Why a reconcile runs is never asked; running it twice
//! changes nothing.
//!
//! A pipeline over a bulk source has no workers: its schedule makes `IngestionRun`s, and each run a Job an
//! attempt. What is done stands in the table's log, so that a run that is made twice costs time and no row.
//!
//! # How it is laid out
//!
//! Imports run down, and within a row of the table to the right. Neither controller knows the other.
//!
//! | Floor | Modules |
//! |---|---|
//! | the process | `run` takes pipelines from the queue while it holds the `lease`; `watch` fills caches and queue; `controllers` tells whose a pipeline is |
//! | the controllers | `streaming`, `bulk` |
//! | what bulk pipelines are made of | `runs`, `schedule` |
//! | what their table's log holds | `calendar` |
//! | a reconcile, whatever the source | `reconcile` (time limits, how it ended), `states` (what is remembered), `status` (conditions, Events, writing them) |
//! | a pipeline's objects | `apply` (send what differs), `objects` (what they are made of), `validation` (the spec that runs), `news` (whom a change wakes) |
//! | the ground | `context`, `failure`, `client`, `pods`, `metrics`, `queue`, `cluster` (what was seen, names, labels, owners) and small words |
//!
//! # What it refuses to do
//!
//! It reads no Secret, and dials no broker, store or database: it speaks to the API server and, by
//! HTTP, to the pods of pipelines. It decides who *should* work on a partition; who *may* is decided by
//! the table's log, so two operators at once do no harm.

mod apply;
mod bulk;
mod calendar;
mod client;
mod clock;
mod cluster;
mod context;
mod controllers;
mod error;
mod failure;
mod key;
mod lease;
mod metrics;
mod news;
mod objects;
mod options;
mod pods;
mod queue;
mod reconcile;
mod run;
mod runs;
mod schedule;
mod states;
mod status;
mod streaming;
mod text;
mod validation;
mod watch;

pub use client::connect;
pub use clock::Clock;
pub use error::OperatorError;
pub use options::{CloudIdentity, OperatorOptions, PodSettings};
pub use run::{run, run_by};
