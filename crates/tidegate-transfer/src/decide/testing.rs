//! What tests of decisions are about.

use jiff::Timestamp;
use tidegate_table::ledger::Intervals;
use tidegate_table::log::Txns;
use tidegate_types::{DataInterval, Ledger};

/// The interval `[start, end)`, in hours since 1970.
pub(crate) fn hours(start: i64, end: i64) -> DataInterval {
    let at = |hour: i64| Timestamp::from_second(hour * 3600).expect("in range");
    DataInterval::new(at(start), at(end)).expect("not empty")
}

/// What a log holds of intervals of the ledger `l`, which are written as in it.
pub(crate) fn log(txns: &[(&str, i64)]) -> Intervals {
    let names = txns.iter().map(|(key, number)| (format!("tidegate/l/i/{key}"), *number));
    let ledger = Ledger::new("l").expect("a name");
    Intervals::read(&Txns::from_iter(names), &ledger).expect("ours")
}
