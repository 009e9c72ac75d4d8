//! Whether an interval may lose rows (B4).

use tidegate_types::Reason;

/// Refuses a commit after which an interval would be empty that was not, or would have fewer than half
/// of its rows. `before`: rows that the commit removes; `after`: rows that it adds in their place.
///
/// # Errors
///
/// The reason and the numbers.
pub fn check_shrink(
    before: u64,
    after: u64,
    allow_shrink: bool,
    place: &str,
) -> Result<(), (Reason, String)> {
    let shrinks = before > 0 && (after == 0 || after < before.div_ceil(2));
    if allow_shrink || !shrinks {
        return Ok(());
    }
    let what = format!(
        "{place} has {before} rows in the table and would have {after}; nothing was committed. \
         When that is right, set bulk.allowShrink: true for this run"
    );
    Err((Reason::IntervalShrank, what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b4_an_interval_may_not_lose_most_of_its_rows_unless_that_is_allowed() {
        for (before, after, passes) in [
            (0, 0, true),
            (0, 10, true),
            (10, 10, true),
            (10, 100, true),
            (10, 5, true),
            (10, 4, false),
            (11, 6, true),
            (11, 5, false),
            (1, 0, false),
            (u64::MAX, 0, false),
        ] {
            let checked = check_shrink(before, after, false, "the interval");
            assert_eq!(checked.is_ok(), passes, "{before} to {after}");
            assert!(check_shrink(before, after, true, "the interval").is_ok());
        }
        let (reason, what) = check_shrink(1000, 3, false, "interval a/b").unwrap_err();
        assert_eq!(reason, Reason::IntervalShrank);
        assert!(what.contains("a/b") && what.contains("1000") && what.contains('3'), "{what}");
    }
}
