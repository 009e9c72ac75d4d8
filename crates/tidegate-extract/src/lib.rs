//! Bulk sources: one snapshot of a database or of files, divided into chunks, read as record batches.
//!
//! A source is opened once per attempt and held open to the end (B5). All chunks read under the same
//! snapshot, each over a connection of its own, so that they may be read side by side and again.
//!
//! - [`open`] connects, waits until the interval is complete (B7), and fixes the snapshot.
//! - [`Snapshot::columns`] says what the rows look like; [`Snapshot::plan`] divides them.
//! - [`join`] joins from another process the snapshot that one holds open, where the source allows it.
//! - [`Snapshot::read`] reads one chunk into a bounded channel.

mod civil;
mod connection;
mod error;
mod limits;
mod mysql;
mod objects;
mod postgres;
mod request;
mod snapshot;
mod sql;
#[cfg(test)]
mod testing;

pub use error::ExtractError;
pub use request::ReadRequest;
pub use snapshot::{
    Chunk, ChunkCounts, DeadRecord, Piece, Plan, Snapshot, check_secret, join, open,
};
