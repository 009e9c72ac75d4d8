//! The coordinator's desk, where readers in pods of their own fetch chunks and bring outcomes.
//!
//! The coordinator holds the snapshot and alone commits. A reader asks for its chunk by number, joins the
//! snapshot, reads and writes under names of its own, and brings what it wrote. The first outcome of a
//! chunk under this attempt's pass wins (B6); whoever comes later, or with another attempt's pass, is
//! turned away. Nothing that is brought counts before the coordinator has looked for the files itself.

mod chunk_desk;
mod client;
mod gather;
mod messages;
mod reader;
mod reply;
mod standing;
mod token;

#[cfg(test)]
pub(crate) mod tests;

pub use chunk_desk::ChunkDesk;
pub use messages::LARGEST_OUTCOME;
pub use reader::{ChunkOptions, transfer_chunk};
pub use reply::Reply;
pub use token::DeskToken;
