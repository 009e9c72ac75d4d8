//! Ground for the scenarios.
#![allow(dead_code, unused_imports, reason = "each file uses its own part of the fixtures")]

mod bulk;
mod document;
mod operator;
mod rights;
mod stage;
mod world;

use std::time::Duration;

pub(crate) use bulk::{Bulk, Hours, TestClock};
pub(crate) use document::Document;
pub(crate) use operator::{IMAGE, InProcess, options, spawn};
pub(crate) use rights::{ACCOUNT, grant};
pub(crate) use stage::{Stage, is_settled};
pub(crate) use world::World;

/// Longer than anything takes on a loaded machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);
