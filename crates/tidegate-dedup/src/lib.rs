//! The deduplication window of one stream partition.
//!
//! A message is a duplicate when an accepted row of the same ledger and partition has the same id and
//! was published less than the window ago, in *stream time* (D1). Stream time is the running maximum
//! of the broker's times (D4), so the verdict is a function of the stream and of the table, never of
//! the wall clock and never of how the stream was cut into batches. Replaying a stream decides the same.
//!
//! The window is a view of the table and can be rebuilt from it; a [snapshot](Window::snapshot) is a
//! cache that is thrown away when anything about it does not match (D2). Memory is bounded by moving
//! old ids to sorted files, never by forgetting them early (D4).
//!
//! What this crate refuses to do: read a clock, name objects in a store, know what a message is.

mod bloom;
mod clock;
mod decide;
mod generation;
mod generations;
mod key;
mod options;
mod run;
mod slot;
mod snapshot;
mod window;

pub use clock::ClockJump;
pub use decide::{Candidate, Verdict};
pub use key::{Fingerprint, KeyHasher};
pub use options::{WindowError, WindowOptions};
pub use run::SpillError;
pub use snapshot::{Restored, SnapshotExpectation, SnapshotHeader, SnapshotRejected};
pub use window::Window;
