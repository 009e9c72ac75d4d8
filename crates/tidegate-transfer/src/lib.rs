//! One bulk run: a data interval from a source to a table, in one commit.
//!
//! [`transfer`] does it: it claims the interval in the table's log (B2), opens the source's snapshot
//! (B5), divides and reads it, checks that nothing is missing, and makes one commit that is valid only
//! while the claim is the newest (B2, B3). Whatever happens in between leaves the table as it was.
//!
//! Chunks are read here, or by processes of their own ([`transfer_chunk`]), which fetch them at the
//! coordinator's [`ChunkDesk`] and bring what they wrote there.
//!
//! The log is the calendar (B1): [`due_runs`], [`backfill_plan`] and [`calendar`] read from it what is
//! done. What is decided over facts stands in `decide`, as functions without a clock or a store.

mod attempt;
mod calendar;
mod chunk_outcome;
mod chunk_writer;
mod chunks;
mod confirm;
mod dead_letters;
pub mod decide;
mod desk;
pub mod doctor;
mod event_times;
mod fit;
mod kept;
mod layout;
mod options;
mod progress;
mod recount;
mod repair;
mod rewound;
mod run;
mod schedule;
mod source;
mod steps;
mod table;
#[cfg(test)]
mod tests;

pub use calendar::calendar;
pub use desk::{ChunkDesk, ChunkOptions, DeskToken, LARGEST_OUTCOME, Reply, transfer_chunk};
pub use options::TransferOptions;
pub use recount::{MOST_LOOKED_AT_FOR_LATE_FILES, can_be_stale, look_back, recount};
pub use run::{transfer, transfer_with};
pub use schedule::{DueQuery, backfill_plan, due_runs, intervals, refused_runs};
pub use source::check_source_secret;
