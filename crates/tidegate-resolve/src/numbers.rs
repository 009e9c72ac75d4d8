//! Numbers of a bulk pipeline that work and are surely not meant.

use jiff::{SignedDuration, Timestamp};
use tidegate_config::{Finding, Severity, TransferConfig};
use tidegate_schedule::Grid;

/// Every interval is an entry of the table's log for good; beyond so many a year reading it takes its time.
const MANY_ENTRIES: u64 = 20_000;
/// Where a year is looked at: the beginning of 2024.
const SAMPLE: i64 = 1_704_067_200;
const A_YEAR: SignedDuration = SignedDuration::from_hours(366 * 24);

/// Looks for such numbers. What cannot work at all is refused by [`resolve`](crate::resolve).
#[must_use]
pub fn lint_transfer(config: &TransferConfig) -> Vec<Finding> {
    entries(config).into_iter().collect()
}

/// How fast the log grows (B1).
fn entries(config: &TransferConfig) -> Option<Finding> {
    let schedule = config.schedule.as_ref()?;
    let grid = Grid::new(&schedule.cron, &schedule.time_zone).ok()?;
    let entries = ticks_a_year(&grid)?;
    let arithmetic = format!(
        "{:?} makes about {entries} intervals a year, each an entry of the table's log for good; \
         more than {MANY_ENTRIES} slow down whoever reads it",
        schedule.cron
    );
    let finding =
        Finding { field: "spec.bulk.schedule.cron", arithmetic, severity: Severity::Warning };
    (entries > MANY_ENTRIES).then_some(finding)
}

/// Counted up to what is many, and taken to go on like that.
fn ticks_a_year(grid: &Grid) -> Option<u64> {
    let start = Timestamp::from_second(SAMPLE).ok()?;
    let mut last = start;
    for count in 0..=MANY_ENTRIES {
        match grid.next_tick(last).filter(|tick| *tick <= start + A_YEAR) {
            Some(tick) => last = tick,
            None => return Some(count),
        }
    }
    let seconds = u64::try_from(last.duration_since(start).as_secs()).ok()?.max(1);
    Some((MANY_ENTRIES + 1) * A_YEAR.unsigned_abs().as_secs() / seconds)
}
