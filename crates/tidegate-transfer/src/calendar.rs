//! What the table's log holds of a pipeline's intervals, small enough for a pod's last word.

use std::path::PathBuf;

use tidegate_config::{Calendar, TransferConfig};
use tidegate_runtime::RunError;
use tidegate_types::DataInterval;

use crate::decide::failed;
use crate::schedule::intervals;

/// Most bytes of the answer as JSON: a termination message has 4,096.
const BYTES: usize = 3_800;

/// The intervals that are done, merged where they touch, and those whose last run was begun only, though
/// the table may hold rows of the run before; of both those that share an instant with `range`.
///
/// # Errors
///
/// When the table's log cannot be read.
pub async fn calendar(
    config: &TransferConfig,
    secrets_dir: Option<PathBuf>,
    range: Option<DataInterval>,
) -> Result<Calendar, RunError> {
    let known = intervals(config, secrets_dir).await?;
    let tried = failed(&known).map(|(interval, _)| interval);
    let wanted = |interval: &DataInterval| range.is_none_or(|range| range.overlaps(*interval));
    Ok(fitting(DataInterval::merged(known.held().filter(wanted)), tried.filter(wanted).collect()))
}

/// As much as fits, oldest first.
fn fitting(done: Vec<DataInterval>, tried: Vec<DataInterval>) -> Calendar {
    let done = done.into_iter().map(|interval| (interval, true));
    let mut all: Vec<_> = done.chain(tried.into_iter().map(|interval| (interval, false))).collect();
    all.sort_unstable();
    let (mut calendar, mut bytes) = (Calendar::default(), 0);
    for (interval, is_done) in all {
        // Quotes and a comma each.
        bytes += interval.to_string().len() + 3;
        if bytes > BYTES {
            calendar.cut_at = Some(interval.start().to_string());
            break;
        }
        let list = if is_done { &mut calendar.done } else { &mut calendar.tried };
        list.push(interval);
    }
    calendar
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::testing::hours;

    #[test]
    fn intervals_that_touch_are_one() {
        let held = [hours(4, 5), hours(0, 1), hours(1, 2), hours(2, 3)];
        assert_eq!(DataInterval::merged(held.into_iter()), [hours(0, 3), hours(4, 5)]);
    }

    #[test]
    fn an_answer_fits_into_a_termination_message_and_says_where_it_goes_on() {
        let held = (0..1_000).map(|n| hours(4 * n, 4 * n + 1)).collect();
        let tried = (0..1_000).map(|n| hours(4 * n + 2, 4 * n + 3)).collect();
        let calendar = fitting(held, tried);
        let text = serde_json::to_string(&calendar).unwrap();
        assert!(text.len() <= 4_096 && text.len() > 3_000, "{}", text.len());
        let told = calendar.done.len() + calendar.tried.len();
        let next = 2 * i64::try_from(told).unwrap();
        assert_eq!(calendar.cut_at, Some(hours(next, next + 1).start().to_string()));
    }
}
