//! The names of runs and of their Jobs. Nobody formats one elsewhere.

use jiff::Timestamp;
use tidegate_config::content_hash;

/// The longest name of a run, as the definition has it: its Jobs carry it with `-g` and the number of the
/// attempt behind it, and a label has 63 characters.
const LONGEST_RUN: usize = 58;
/// A Job's name is a label of its pods.
const LONGEST_JOB: usize = 63;
/// With a dash and its number behind it the name of an Indexed Job is a pod's host name.
const LONGEST_INDEXED_JOB: usize = 57;

/// The Job of an attempt.
pub(crate) fn job(run: &str, attempt: u32) -> String {
    shortened(run, &format!("g{attempt}"), LONGEST_JOB)
}

/// The Job that reads the chunks of an attempt.
pub(crate) fn chunks(run: &str, attempt: u32) -> String {
    shortened(run, &format!("g{attempt}-chunks"), LONGEST_INDEXED_JOB)
}

/// The run of a tick of the schedule.
pub(crate) fn scheduled(pipeline: &str, tick: Timestamp) -> String {
    shortened(pipeline, &instant(tick), LONGEST_RUN)
}

/// The run that does an interval again together with a tick: the how many-th before it.
pub(crate) fn again(pipeline: &str, tick: Timestamp, back: u32) -> String {
    shortened(pipeline, &format!("{}-r{back}", instant(tick)), LONGEST_RUN)
}

/// The run of one interval of a range, by its end. A range may be named like a pipeline, and the schedule's
/// runs are others: none of theirs ends like this.
pub(crate) fn child(parent: &str, end: Timestamp) -> String {
    shortened(parent, &format!("{}-b", instant(end)), LONGEST_RUN)
}

/// `20260601t010000z`.
fn instant(at: Timestamp) -> String {
    at.strftime("%Y%m%dt%H%M%Sz").to_string()
}

/// Both with a dash between; of a stem that is too long its beginning and a hash of it.
fn shortened(stem: &str, end: &str, longest: usize) -> String {
    let whole = format!("{stem}-{end}");
    if whole.len() <= longest && !stem.contains('.') {
        return whole;
    }
    let hash = content_hash(stem.as_bytes());
    let room = longest.saturating_sub(hash.len() + end.len() + 2);
    let beginning: String =
        stem.chars().map(|c| if c == '.' { '-' } else { c }).take(room).collect();
    format!("{}-{hash}-{end}", beginning.trim_end_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheduled_run_is_named_by_the_end_of_its_interval() {
        let tick = "2026-06-01T01:00:00Z".parse().unwrap();
        assert_eq!(scheduled("orders", tick), "orders-20260601t010000z");
        assert_eq!(again("orders", tick, 2), "orders-20260601t010000z-r2");
        assert_eq!(job("orders-20260601t010000z", 3), "orders-20260601t010000z-g3");
    }

    #[test]
    fn names_fit_their_place_and_stay_apart() {
        let tick = "2026-06-01T01:00:00Z".parse().unwrap();
        let longest = "p".repeat(41);
        let run = scheduled(&longest, tick);
        assert!(run.len() <= LONGEST_RUN && run.ends_with("-20260601t010000z"), "{run}");
        for attempt in [1, 21] {
            assert!(job(&run, attempt).len() <= LONGEST_JOB);
            assert!(chunks(&run, attempt).len() <= LONGEST_INDEXED_JOB);
            assert!(chunks(&run, attempt).ends_with(&format!("-g{attempt}-chunks")));
        }
        for back in [1, 1000] {
            assert!(again(&longest, tick, back).len() <= LONGEST_RUN);
        }
        let parents = [format!("{}a", "r".repeat(57)), format!("{}b", "r".repeat(57))];
        let children = parents.each_ref().map(|parent| child(parent, tick));
        assert!(children.iter().all(|name| name.len() <= LONGEST_RUN), "{children:?}");
        assert_ne!(children[0], children[1]);
        for name in ["orders", longest.as_str(), "orders.daily"] {
            let child = child(name, tick);
            assert_ne!(child, scheduled(name, tick), "a range may have a pipeline's name");
            assert_ne!(child, again(name, tick, 1));
        }
        assert_eq!(child("orders", tick), "orders-20260601t010000z-b");
        assert!(!job("a.b", 1).contains('.'), "pods cannot have such a name");
    }
}
