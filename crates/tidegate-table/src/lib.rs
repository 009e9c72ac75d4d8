//! The table: where objects lie, how Parquet files are written, the commit log and what it says.
//!
//! - [`log`]: the Delta log as a compare-and-swap register: load, prepare, put, settle.
//! - [`ledger`]: what the `txn` actions of a commit mean (P2), read and written in one place.
//! - [`schema`]: which columns an existing table must get before rows of a declared schema fit.
//! - [`dead_letter`]: the table beside the table, and how it is rolled forward (P4).
//! - [`replace`]: which files the commit of a bulk run takes out of the table (B4).
//! - [`loads`]: which loads' rows files can hold, and which of them a rewind took (T1).
//! - [`removal`]: deleting a table whose only ledger is gone.
//! - [`files`], [`store`], [`window_scan`]: data files, object stores, and reading ids back.
//!
//! This is the only crate that knows `delta_kernel`. It decides nothing about who may commit: that is
//! the worker's, over the facts that [`ledger::LedgerState`] gives.

pub mod dead_letter;
pub mod files;
pub mod ledger;
pub mod loads;
pub mod log;
pub mod removal;
pub mod replace;
pub mod schema;
pub mod store;
pub mod window_scan;
