//! Pipelines over streams: dereference → validate → observe → decide → build → apply → status, a file each.

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
