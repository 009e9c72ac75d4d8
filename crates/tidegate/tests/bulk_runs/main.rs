//! Bulk pipelines with real sources, as the binary runs them: runs, schedules, backfills, pods.
#![allow(clippy::unwrap_used, reason = "the lint's exception for tests leaves their helpers out")]

#[path = "../support/mod.rs"]
mod support;

mod backfill;
mod chunks;
mod clouds;
mod datasets;
mod edits;
mod files;
mod ground;
mod mariadb;
mod pods;
mod postgres;
mod repair;
mod schedule;
