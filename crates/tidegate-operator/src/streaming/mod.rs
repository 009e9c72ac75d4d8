//! Pipelines over streams: dereference → validate → observe → decide → build → apply → status.
//!
//! Each step is a file here, but for the first: what a spec points to is found for every kind of pipeline in
//! [`crate::validation`].

mod apply;
mod assignment;
mod conditions;
mod controller;
mod decide;
mod delete;
mod events;
mod facts;
#[cfg(test)]
mod fixtures;
mod memory;
mod meter;
mod observe;
mod problems;
mod reconcile;
mod report;
mod resources;
mod rollout;
mod scaling;
mod status;
mod status_facts;
mod steps;
mod templates;
mod validate;
mod workers;

pub(crate) use controller::Controller;
