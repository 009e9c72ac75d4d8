//! Bytes to Arrow record batches, columnar from the first byte.
//!
//! The declared schema is compiled once; every message is then read in one pass straight into the
//! buffers of typed columns. There is no tree, no map and no allocation per message. A record that turns
//! out bad in its middle is taken back by cutting the buffers, and reported with reason and place, while
//! its neighbours go on.
//!
//! # Guarantees
//!
//! * A verdict depends on the message alone (S7): the same bytes under the same options are the same row,
//!   or bad for the same reason, whatever stands before or behind them and however often they are read.
//! * No input panics, exhausts the stack or takes unbounded memory.
//! * Every message that was looked at is either one row or one bad record.
//!
//! # What is read
//!
//! JSON by RFC 8259, strictly: UTF-8 without byte order mark, one object and nothing behind it, no key
//! twice in one object (also not in parts that no column takes), no `NaN`, no lone surrogates. Which token
//! fits which type is a table in the module `scalar`. The first fault from the left is the one that is
//! reported; a required field is missed at the end.
//!
//! # What it refuses to do
//!
//! It does not know streams, tables or time, and drops nothing on its own: what happens to bad records
//! is the caller's business.

mod arrow_types;
mod base64;
mod cells;
mod column;
mod cursor;
mod decoder;
mod escape;
mod fault;
mod filter;
mod inflate;
mod keys;
mod leaf;
mod members;
mod near;
mod number;
mod parser;
mod paths;
mod scalar;
mod time;
mod value;

pub use arrow_types::{SchemaError, arrow_schema, arrow_type};
pub use cells::{BadCell, CellDecoder};
pub use decoder::{BadRecord, DecodeOptions, DecodeSetupError, Decoded, Decoder, MAX_CALL_BYTES};
pub use filter::{Filter, FilterError, Verdict};
pub use near::is_nearly;
pub use paths::PathError;
pub use time::civil_days;
