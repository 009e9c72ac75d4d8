//! The policies of gathering rows: when a commit is due, which partition a row belongs to, which file
//! is closed, how much memory there is, which event time is too late.
//!
//! Everything here is a function of facts that the caller passes in. Nothing reads a clock, a file or
//! a socket; elapsed times and the text of `/sys` and `/proc` files are parameters.

mod calendar;
mod flush_policy;
mod lateness;
mod memory_budget;
mod open_files;
mod partition_router;
mod partition_value;

pub use flush_policy::{FlushFacts, FlushPolicy, FlushReason, flush_due};
pub use lateness::{Timeliness, lateness};
pub use memory_budget::{MemoryBudget, total_memory};
pub use open_files::OpenFiles;
pub use partition_router::{PartitionRouter, Routed, RouterError};
pub use partition_value::PartitionValues;
