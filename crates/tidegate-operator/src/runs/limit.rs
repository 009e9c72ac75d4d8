//! Who may begin: `maxActiveRuns` of a pipeline at a time, and never two of one interval. Pure.

use jiff::Timestamp;
use tidegate_api::RunTrigger;
use tidegate_types::{DataInterval, Reason};

use super::facts::{Step, Waiting};

/// A run that wants to work, or works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) trigger: RunTrigger,
    /// None: the whole source.
    pub(crate) interval: Option<DataInterval>,
    pub(crate) created: Timestamp,
    /// Whether an attempt of it was made.
    pub(crate) active: bool,
    /// What is to be done about it.
    pub(crate) step: Step,
}

/// Takes the first attempt away from those for whom there is no room, and says why. People come first,
/// then what the schedule asks for, then backfills; among equals the oldest interval.
pub(crate) fn limit(contenders: &mut [Contender], most: usize) {
    let mut taken: Vec<(String, Option<DataInterval>)> = contenders
        .iter()
        .filter(|one| one.active && !matches!(one.step, Step::Finish(_)))
        .map(|one| (one.name.clone(), one.interval))
        .collect();
    let mut waiting: Vec<&mut Contender> =
        contenders.iter_mut().filter(|one| !one.active && one.step == Step::Start(1)).collect();
    waiting.sort_by_key(|one| rank(one));
    for one in waiting {
        match refusal(&taken, one.interval, most) {
            Some(message) => {
                one.step = Step::Wait(Waiting::new(Reason::RunLimitReached, message));
            }
            None => taken.push((one.name.clone(), one.interval)),
        }
    }
}

fn rank(one: &Contender) -> (u8, Option<i64>, Timestamp, String) {
    let trigger = match one.trigger {
        RunTrigger::Manual | RunTrigger::Repair => 0,
        RunTrigger::Scheduled => 1,
        RunTrigger::Backfill => 2,
    };
    let start = one.interval.map(DataInterval::start_second);
    (trigger, start, one.created, one.name.clone())
}

fn refusal(
    taken: &[(String, Option<DataInterval>)],
    interval: Option<DataInterval>,
    most: usize,
) -> Option<String> {
    let overlaps = |other: &Option<DataInterval>| match (interval, other) {
        (Some(own), Some(other)) => own.overlaps(*other),
        // The whole source holds every interval.
        _ => true,
    };
    if let Some((name, _)) = taken.iter().find(|(_, other)| overlaps(other)) {
        return Some(format!("run {name} works on the same rows"));
    }
    (taken.len() >= most).then(|| match most {
        1 => "another run is active".to_owned(),
        _ => format!("{most} other runs are active"),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::calendar::fixtures::hour;

    fn one(name: &str, trigger: RunTrigger, interval: Option<DataInterval>) -> Contender {
        Contender {
            name: name.to_owned(),
            trigger,
            interval,
            created: Timestamp::UNIX_EPOCH,
            active: false,
            step: Step::Start(1),
        }
    }

    fn active(name: &str, interval: Option<DataInterval>) -> Contender {
        Contender { active: true, step: Step::Follow, ..one(name, RunTrigger::Scheduled, interval) }
    }

    fn starting(contenders: &[Contender]) -> Vec<&str> {
        let starts = contenders.iter().filter(|one| one.step == Step::Start(1));
        starts.map(|one| one.name.as_str()).collect()
    }

    #[test]
    fn people_come_first_then_the_schedule_then_backfills_each_oldest_first() {
        let mut all = [
            one("backfill", RunTrigger::Backfill, Some(hour(0))),
            one("newer", RunTrigger::Scheduled, Some(hour(8))),
            one("older", RunTrigger::Scheduled, Some(hour(7))),
            one("manual", RunTrigger::Manual, Some(hour(9))),
        ];
        limit(&mut all, 2);
        assert_eq!(starting(&all), ["older", "manual"]);
        let Step::Wait(waiting) = &all[0].step else { panic!("{:?}", all[0].step) };
        assert_eq!(waiting.reason, Reason::RunLimitReached);
        assert!(waiting.message.contains("2 other runs"), "{waiting:?}");
    }

    #[test]
    fn one_that_waits_for_its_next_attempt_holds_its_place_and_one_that_is_over_does_not() {
        let waits = Step::Wait(Waiting::new(Reason::SourceUnreachable, "later"));
        let holds = Contender { step: waits, ..active("holds", Some(hour(0))) };
        let mut all = [holds.clone(), one("next", RunTrigger::Manual, Some(hour(5)))];
        limit(&mut all, 1);
        assert_eq!(starting(&all), Vec::<&str>::new());
        let at = Timestamp::UNIX_EPOCH;
        let (reason, message) = (Reason::Ok, String::new());
        let over =
            super::super::facts::Outcome { succeeded: true, reason, message, report: None, at };
        let over = Contender { step: Step::Finish(over), ..holds };
        let mut all = [over, one("next", RunTrigger::Manual, Some(hour(5)))];
        limit(&mut all, 1);
        assert_eq!(starting(&all), ["next"]);
    }

    #[test]
    fn nobody_works_on_the_rows_of_another() {
        let mut all = [
            active("works", Some(hour(3))),
            one("same", RunTrigger::Manual, Some(hour(3))),
            one("whole", RunTrigger::Manual, None),
            one("other", RunTrigger::Scheduled, Some(hour(4))),
        ];
        limit(&mut all, 16);
        assert_eq!(starting(&all), ["other"]);
        let Step::Wait(waiting) = &all[1].step else { panic!("{:?}", all[1].step) };
        assert!(waiting.message.contains("run works"), "{waiting:?}");
        let mut all = [active("whole", None), one("any", RunTrigger::Manual, Some(hour(4)))];
        limit(&mut all, 16);
        assert_eq!(starting(&all), Vec::<&str>::new());
    }

    proptest! {
        #[test]
        fn the_limit_holds_and_no_place_is_left_empty(
            active_hours in proptest::collection::btree_set(0i64..20, 0..6),
            waiting in proptest::collection::vec((0i64..20, 0u8..3), 0..20),
            most in 1usize..8,
        ) {
            let mut all: Vec<Contender> = active_hours
                .iter()
                .map(|start| active(&format!("a{start}"), Some(hour(*start))))
                .collect();
            all.extend(waiting.iter().enumerate().map(|(index, (start, trigger))| {
                let trigger = [RunTrigger::Manual, RunTrigger::Scheduled, RunTrigger::Backfill]
                    [usize::from(*trigger)];
                one(&format!("w{index}"), trigger, Some(hour(*start)))
            }));
            limit(&mut all, most);
            let begun: Vec<&Contender> = all.iter().filter(|one| one.step == Step::Start(1)).collect();
            prop_assert!(begun.is_empty() || active_hours.len() + begun.len() <= most);
            for (index, left) in begun.iter().enumerate() {
                for right in &begun[index + 1..] {
                    prop_assert!(left.interval != right.interval);
                }
            }
            let mut busy: std::collections::BTreeSet<_> = active_hours.iter().map(|h| hour(*h)).collect();
            busy.extend(begun.iter().filter_map(|one| one.interval));
            if busy.len() < most {
                let idle = all.iter().filter(|one| matches!(one.step, Step::Wait(_)));
                for one in idle {
                    prop_assert!(one.interval.is_some_and(|own| busy.contains(&own)), "{one:?}");
                }
            }
        }
    }
}
