//! Ground for the tests with real processes: a broker, pipelines as documents, and what tables hold.
#![allow(clippy::unwrap_used, reason = "the lint's exception for tests leaves their helpers out")]
#![allow(dead_code, unused_imports, reason = "each test file uses its own part of the fixtures")]

mod bench;
mod broker;
mod pipeline;
mod rows;
mod server;

pub(crate) use bench::{Bench, Ended, LONG, call, commits, end};
pub(crate) use broker::{Broker, Outgoing};
pub(crate) use pipeline::Pipeline;
pub(crate) use rows::{Row, Rows, compressed};
pub(crate) use server::Serving;
