//! The table's data files: where they lie, what columns they have, how they are encoded, written and
//! read back.
//!
//! A file becomes visible when a commit names it and not before; until then it is rubbish that a
//! collector may remove. So a writer here promises three things: the object is whole (size and footer
//! were read back), its statistics are true of its rows, and a writer that fails or is dropped leaves
//! no object under the final name.

pub(crate) mod belonging;
mod bounds;
mod encoder;
mod error;
pub mod key_bytes;
pub mod layout;
mod profile;
pub mod reader;
mod stats;
pub mod system;
#[cfg(test)]
pub(crate) mod testing;
pub mod times;
mod upload;
mod writer;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use error::{FileError, is_out_of_space};
pub use writer::{FileWriter, WriteOptions, describe_file, describe_footer, write_file};

/// A finished data file, as a commit names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataFile {
    /// Where it lies, relative to the table and percent-encoded as the log wants it.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// How many rows it holds.
    pub rows: u64,
    /// The value of every partition column, in Delta's string form.
    pub partition_values: BTreeMap<String, Option<String>>,
    /// When the store says it was written, in milliseconds since 1970.
    pub modification_time_ms: i64,
    /// Delta's statistics: `numRecords`, `minValues`, `maxValues`, `nullCount`, `tightBounds`.
    pub stats: serde_json::Value,
}
