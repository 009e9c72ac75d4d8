//! Decisions of the commit protocol as functions over facts that were already read.
//!
//! Nothing here waits, reads a clock or touches a store; that is what makes each rule testable as a
//! table. The committer and the engine read the facts, ask, and carry out the answer.

mod breaker;
mod claim;
mod commit;
mod progress;
mod restart;
mod through;

pub use breaker::Breaker;
pub use claim::{ClaimDecision, ClaimFacts, decide_claim, patience};
pub use commit::{CommitDecision, CommitFacts, Held, LostPartition, decide_commit};
pub use progress::{StuckFacts, batch_limit, eased, next_stuck};
pub use restart::Restarts;
pub use through::{PartitionThrough, complete_through, through};
