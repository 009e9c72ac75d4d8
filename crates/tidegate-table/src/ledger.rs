//! What the `txn` actions of a table mean (P2): the position of record of every ledger.
//!
//! Pure: names and numbers in, states out. [`TxnName`] is the only place where the names of
//! application ids are built and parsed. Values that are not a number we write (negative positions)
//! are an error, never a default: a floor that is read wrongly loses rows or doubles them.

mod claim;
mod interval;
mod interval_key;
mod name;
mod repair;
mod settings;
mod side_file;
mod state;

pub use claim::{
    Claim, Done, Effect, IntervalConflict, OverwriteBesideStream, check_overwrite, claim_notes,
    conflict, done_txns, has_dead_letters, run_claim_txns,
};
pub use interval::{IntervalState, Intervals, RunState};
pub use interval_key::IntervalKey;
pub use name::{IntervalField, LedgerField, PositionField, TxnName};
pub use repair::{Cut, RepairError, RepairRecord, RepairedTime, StreamFloors, repair_txns};
pub use settings::LedgerSettings;
pub use side_file::{SideFile, SideFileError};
pub use state::{
    LedgerError, LedgerMismatch, LedgerState, PartitionState, claim_txns, progress_txns,
    release_txns,
};
