//! Whether the bounds of intervals still mean what they meant when their neighbours were loaded (B7): after an edit
//! of the cursor or of its zone the rows between the two meanings are in no interval, or in two, and every count
//! agrees all the same.

use tidegate_config::{TransferConfig, WriteMode};
use tidegate_table::ledger::{IntervalKey, Intervals};
use tidegate_types::DataInterval;
use xxhash_rust::xxh3::xxh3_64;

/// What the bounds of a pipeline's intervals mean at its database: 63 bits of a hash of the cursor's name and
/// zone, never zero. None where nothing is read by a cursor. What else is read (another table, another query) is
/// not in it: a column more in a query is an everyday edit.
#[must_use]
pub fn cursor_mark(config: &TransferConfig) -> Option<u64> {
    let incremental = config.incremental.as_ref()?;
    let zone = incremental.time_zone.as_deref().unwrap_or_default();
    // No name of a zone has a zero byte.
    let text = format!("{}\0{zone}", incremental.cursor_field);
    Some((xxh3_64(text.as_bytes()) >> 1).max(1))
}

/// The interval beside `interval` that was loaded when bounds meant something else than `mark`: the newest one
/// before it, or the oldest one behind it. Without an interval it is about the one that comes after all.
pub(crate) fn other_neighbour(
    log: &Intervals,
    mark: u64,
    interval: Option<DataInterval>,
) -> Option<DataInterval> {
    let held = || {
        let held = log.iter().filter(|(_, known)| known.held().is_some());
        held.filter_map(|(key, known)| Some((key.interval()?, known.cursor)))
    };
    let is_before = |one: &DataInterval| interval.is_none_or(|own| one.end() <= own.start());
    let is_behind = |one: &DataInterval| interval.is_some_and(|own| one.start() >= own.end());
    let before = held().filter(|(one, _)| is_before(one)).max_by_key(|(one, _)| one.end());
    let behind = held().filter(|(one, _)| is_behind(one)).min_by_key(|(one, _)| one.start());
    let beside = before.into_iter().chain(behind);
    beside.filter(|(_, known)| is_other(*known, mark)).map(|(one, _)| one).next()
}

/// Whether the interval itself was loaded when its bounds meant something else.
pub(crate) fn is_of_other(log: &Intervals, mark: u64, interval: DataInterval) -> bool {
    let known = log.get(IntervalKey::Of(interval)).filter(|known| known.held().is_some());
    known.is_some_and(|known| is_other(known.cursor, mark))
}

/// Of older commits the log does not say.
fn is_other(known: Option<u64>, mark: u64) -> bool {
    known.is_some_and(|known| known != mark)
}

/// What is wrong beside `known`, and what to do. `wanted` is the interval that is to be loaded, where it is known.
pub(crate) fn other_in_words(
    known: DataInterval,
    wanted: Option<DataInterval>,
    write_mode: WriteMode,
) -> String {
    let call = |interval: DataInterval| {
        format!("`tidegate backfill --from {} --to {}", interval.start(), interval.end())
    };
    let way = match (write_mode, wanted) {
        (WriteMode::Append, Some(wanted)) => format!(
            "see to the rows at the boundary, then run this interval by its name, {}`, which is your word that \
             it is right",
            call(wanted)
        ),
        (WriteMode::Append, None) => {
            "see to the rows at the boundary, then run the next interval by its name \
             with `tidegate backfill`, which is your word that it is right"
                .to_owned()
        }
        _ => format!(
            "load again what is to be read by the new meaning, at least that interval, which is your word that \
             the boundary is right: {} --reprocess All`",
            call(known)
        ),
    };
    format!(
        "bulk.incremental.cursorField or timeZone was changed after interval {known} was loaded, so that rows \
         between the two meanings may be in no interval, or in two: change it back, or {way}"
    )
}

/// Why `interval` is not done again unasked.
pub(crate) fn not_again_in_words(interval: DataInterval) -> String {
    format!(
        "bulk.incremental.cursorField or timeZone was changed after interval {interval} was loaded, and \
         rerunLast would load it by the new meaning, though rows between the two may be in no interval, or in \
         two: change it back, or set rerunLast to 0, load again what is to be read by the new meaning with \
         `tidegate backfill --reprocess All`, and set it back"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::testing::{hours, log};

    #[test]
    fn b7_the_intervals_beside_say_whether_bounds_mean_what_they_meant() {
        const OLD: i64 = 5;
        const NEW: i64 = 6;
        const FIRST: (&str, i64) = ("0-3600", 4 + 2);
        const THIRD: (&str, i64) = ("7200-10800", 4 + 2);
        let of = |first, third| {
            vec![FIRST, ("0-3600/cursor", first), THIRD, ("7200-10800/cursor", third)]
        };
        let (second, fourth) = (Some(hours(1, 2)), Some(hours(3, 4)));
        for (name, txns, wanted, expected) in [
            ("nothing is known", vec![], second, None),
            ("older commits do not say", vec![FIRST, THIRD], fourth, None),
            ("the same", of(NEW, NEW), fourth, None),
            ("the newest is another", of(NEW, OLD), fourth, Some(hours(2, 3))),
            ("whatever comes next", of(NEW, OLD), None, Some(hours(2, 3))),
            ("only the newest counts", of(OLD, NEW), fourth, None),
            ("a hole, the one before", of(OLD, NEW), second, Some(hours(0, 1))),
            ("a hole, the one behind", of(NEW, OLD), second, Some(hours(2, 3))),
            ("a hole", of(NEW, NEW), second, None),
            (
                "it is claimed again, its rows are there",
                vec![("0-3600", 4 * 2 + 1), ("0-3600/was", 1), ("0-3600/cursor", OLD)],
                second,
                Some(hours(0, 1)),
            ),
            ("it never was done", vec![("0-3600", 4 + 1), ("0-3600/cursor", OLD)], second, None),
            ("it is no longer there", vec![("0-3600", 4), ("0-3600/cursor", OLD)], second, None),
        ] {
            assert_eq!(other_neighbour(&log(&txns), 6, wanted), expected, "{name}");
        }
    }

    #[test]
    fn what_is_told_can_be_called_as_it_stands_and_fits_the_write_mode() {
        let told = |mode| other_in_words(hours(0, 1), Some(hours(1, 2)), mode);
        let replace = told(WriteMode::ReplaceInterval);
        let call = "--from 1970-01-01T00:00:00Z --to 1970-01-01T01:00:00Z --reprocess All`";
        assert!(replace.contains(call), "{replace}");
        let append = told(WriteMode::Append);
        let call = "backfill --from 1970-01-01T01:00:00Z --to 1970-01-01T02:00:00Z`";
        assert!(append.contains(call) && !append.contains("--reprocess"), "{append}");
    }
}
