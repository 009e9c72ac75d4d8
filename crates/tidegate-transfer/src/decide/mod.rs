//! Decisions of the bulk protocol as functions over facts that were already read.

mod backfill;
mod claim;
mod counts;
mod cursor;
mod desk;
mod due;
mod earlier;
mod fence;
mod memory;
mod repair;
mod shrink;
#[cfg(test)]
pub(crate) mod testing;

pub use backfill::{
    BackfillPlan, Planned, Reprocess, Verdict, failed, has_failed, plan_backfill, plan_repair,
};
pub(crate) use claim::named;
pub use claim::{ClaimDecision, ClaimFacts, RunClaim, decide_claim};
pub use counts::{Counted, check_counts};
pub use cursor::cursor_mark;
pub(crate) use cursor::{other_in_words, other_neighbour};
pub(crate) use desk::{
    DeskDecision, DeskFacts, GatherDecision, GatherFacts, check_outcome, decide_desk, decide_gather,
};
pub use due::{DueRun, DueRuns, DueRunsFacts, decide_due};
pub use earlier::committed_earlier;
pub use fence::{FenceDecision, FenceFacts, decide_fence, plans_again};
pub(crate) use memory::{CHANNEL, Memory};
pub use repair::{RepairDecision, RepairFacts, decide_repair};
pub use shrink::check_shrink;
