//! Which objects of finished runs go. The table's log forgets nothing with them. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Whoever waits for a run sees its end before the object goes.
const SEEN_WITHIN: SignedDuration = SignedDuration::from_secs(60);
/// The same for people, who may ask later.
const SEEN_BY_PEOPLE_WITHIN: SignedDuration = SignedDuration::from_hours(1);

/// A finished run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finished {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) succeeded: bool,
    /// When it ended.
    pub(crate) at: Timestamp,
    /// Whether a person made it.
    pub(crate) by_hand: bool,
    /// Whether somebody still has to look at it: the run that it is a part of.
    pub(crate) needed: bool,
}

/// How long runs are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeepFacts {
    /// Succeeded ones.
    pub(crate) succeeded: usize,
    /// Failed ones.
    pub(crate) failed: usize,
    /// How long after its end at most.
    pub(crate) ttl: Option<Duration>,
    pub(crate) now: Timestamp,
}

/// Those that go now, and when the next one goes.
pub(crate) fn keep(runs: &[Finished], facts: &KeepFacts) -> (Vec<Finished>, Option<Timestamp>) {
    let mut due: Vec<(Timestamp, &Finished)> = Vec::new();
    for succeeded in [true, false] {
        let mut own: Vec<&Finished> =
            runs.iter().filter(|run| run.succeeded == succeeded).collect();
        own.sort_by_key(|run| (std::cmp::Reverse(run.at), run.name.clone()));
        let kept = if succeeded { facts.succeeded } else { facts.failed };
        for (index, run) in own.into_iter().enumerate() {
            let surplus = (index >= kept).then(|| seen(run));
            let old = facts.ttl.map(|ttl| later(run.at, ttl));
            let goes = surplus.into_iter().chain(old).min();
            due.extend(goes.filter(|_| !run.needed).map(|at| (at, run)));
        }
    }
    let next = due.iter().map(|(at, _)| *at).filter(|at| *at > facts.now).min();
    let now = due.into_iter().filter(|(at, _)| *at <= facts.now);
    (now.map(|(_, run)| run.clone()).collect(), next)
}

fn seen(run: &Finished) -> Timestamp {
    let within = if run.by_hand { SEEN_BY_PEOPLE_WITHIN } else { SEEN_WITHIN };
    run.at.checked_add(within).unwrap_or(Timestamp::MAX)
}

fn later(at: Timestamp, span: Duration) -> Timestamp {
    let span = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
    at.checked_add(span).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn run(name: &str, succeeded: bool, second: i64) -> Finished {
        Finished {
            name: name.to_owned(),
            uid: name.to_owned(),
            succeeded,
            at: at(second),
            by_hand: false,
            needed: false,
        }
    }

    fn facts(now: i64) -> KeepFacts {
        KeepFacts { succeeded: 1, failed: 1, ttl: None, now: at(now) }
    }

    fn names(runs: &[Finished], facts: &KeepFacts) -> Vec<String> {
        keep(runs, facts).0.into_iter().map(|run| run.name).collect()
    }

    #[test]
    fn the_newest_of_each_kind_stay() {
        let runs = [run("a", true, 0), run("b", true, 10), run("c", false, 5), run("d", false, 1)];
        assert_eq!(names(&runs, &facts(1000)), ["a", "d"]);
    }

    #[test]
    fn whoever_waits_for_a_run_sees_its_end() {
        let runs = [Finished { by_hand: true, ..run("mine", true, 0) }, run("new", true, 10)];
        assert_eq!(names(&runs, &facts(3_599)), Vec::<String>::new());
        assert_eq!(keep(&runs, &facts(3_599)).1, Some(at(3_600)));
        assert_eq!(names(&runs, &facts(3_600)), ["mine"]);
        let none = KeepFacts { succeeded: 0, ..facts(59) };
        assert_eq!(names(&[run("only", true, 0)], &none), Vec::<String>::new());
        assert_eq!(names(&[run("only", true, 0)], &KeepFacts { now: at(60), ..none }), ["only"]);
    }

    #[test]
    fn a_ttl_is_a_limit_for_all() {
        let ttl = Some(Duration::from_secs(30));
        let runs = [Finished { by_hand: true, ..run("mine", false, 0) }, run("other", true, 5)];
        let facts = KeepFacts { ttl, ..facts(30) };
        assert_eq!(keep(&runs, &facts), (vec![runs[0].clone()], Some(at(35))));
    }

    #[test]
    fn a_run_whose_parent_has_not_counted_it_stays() {
        let runs = [Finished { needed: true, ..run("child", true, 0) }, run("new", true, 10)];
        assert_eq!(keep(&runs, &facts(9_999)), (Vec::new(), None));
    }
}
