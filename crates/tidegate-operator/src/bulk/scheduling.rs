//! Following the schedule: making the runs that are due, and saying how far it is.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource as _;
use tidegate_api::{RunTrigger, ScheduleSpec, ScheduleStatus};
use tidegate_types::DataInterval;

use super::memory::BulkMemory;
use super::parents::WAITING;
use super::runs_seen::RunsSeen;
use super::terms::Terms;
use crate::calendar::{Book, Purpose};
use crate::cluster::Owner;
use crate::context::Context;
use crate::key::Key;
use crate::runs::{Run, create_run, repeated_run, scheduled_run};
use crate::schedule::{Dependency, Owed, ScheduleFacts, ThroughFacts, origin, owed, through};
use crate::validation::{is_bulk, status_of};

/// How far the schedule is, and what the log has to be asked.
pub(super) struct Scheduled {
    pub(super) status: ScheduleStatus,
    pub(super) ask: Option<DataInterval>,
}

/// Makes the runs that are due; none without a pipeline that is there.
pub(super) async fn follow_schedule(
    seen: &mut RunsSeen<'_>,
    memory: &BulkMemory,
    before: Option<&ScheduleStatus>,
) -> Option<Scheduled> {
    let active = seen.runs.iter().filter(|run| run.is_active()).count();
    let active = u32::try_from(active).unwrap_or(u32::MAX);
    let owner = seen.field.owner?;
    let terms = seen.terms.as_ref()?;
    let Some(facts) = Facts::of(seen, terms, memory, before) else {
        let status = ScheduleStatus { active, ..ScheduleStatus::default() };
        return Some(Scheduled { status, ask: None });
    };
    let owed = facts.owed();
    let documents = documents(owner, &facts, terms, &owed);
    let last = facts.of_schedule.last;
    let through = facts.through(seen, owed.last, &owed.make);
    let suspended = facts.suspended;
    let mut made = true;
    for document in documents {
        let created = create_run(seen.field.context, seen.field.key, &document).await;
        made &= seen.note(created);
    }
    seen.at(owed.next.filter(|_| !suspended));
    let status = ScheduleStatus {
        begin: facts.origin.map(Time),
        // What was not made is made the next time: a name is made once.
        last_scheduled_tick: if made { owed.last } else { last }.map(Time),
        complete_through: through.0.map(Time),
        next_tick: owed.next.filter(|_| !suspended).map(Time),
        active,
        missed: u32::try_from(owed.waiting).unwrap_or(u32::MAX),
    };
    Some(Scheduled { status, ask: joined(owed.ask, through.1, through.0, facts.of_schedule.book) })
}

/// What both questions are about, as one.
fn joined(
    owed: Option<DataInterval>,
    through: Option<DataInterval>,
    at: Option<Timestamp>,
    book: Option<&Book>,
) -> Option<DataInterval> {
    match (owed, through) {
        (Some(owed), Some(through)) => {
            let (start, end) = (owed.start().min(through.start()), owed.end().max(through.end()));
            DataInterval::new(start, end).ok()
        }
        (Some(owed), None) => {
            // What is told already is not asked again: an answer that was cut would be the same one.
            let told = book.filter(|book| at.is_some_and(|at| book.begins_by(at))).map(Book::end);
            let start = told.or(at).map_or(owed.start(), |from| from.min(owed.start()));
            DataInterval::new(start, owed.end()).ok()
        }
        (None, through) => through,
    }
}

/// What is known of the schedule.
struct Facts<'a> {
    /// What decides about the next runs.
    of_schedule: ScheduleFacts<'a>,
    /// The beginning of the first interval.
    origin: Option<Timestamp>,
    /// Up to where everything is done.
    complete: Option<Timestamp>,
    by_interval: bool,
    suspended: bool,
}

impl<'a> Facts<'a> {
    fn of(
        seen: &RunsSeen<'_>,
        terms: &Terms<'a>,
        memory: &'a BulkMemory,
        before: Option<&ScheduleStatus>,
    ) -> Option<Self> {
        let grid = terms.grid?;
        let schedule = terms.bulk.schedule.as_ref()?;
        let field = &seen.field;
        let object = field.context.caches.pipelines.get(field.key, &field.key.name)?;
        let instant = |time: Option<&Time>| time.map(|time| time.0);
        let open = seen.runs.iter().filter(|run| is_of_schedule(run) && run.succeeded().is_none());
        let book = memory.books.get(&Purpose::Schedule);
        let of_schedule = ScheduleFacts {
            grid,
            policy: terms.policy,
            start_at: schedule.start_at.as_deref().and_then(|text| text.parse().ok()),
            created: object.meta().creation_timestamp.as_ref()?.0,
            delay: terms.delay,
            begin: instant(before.and_then(|it| it.begin.as_ref())),
            last: instant(before.and_then(|it| it.last_scheduled_tick.as_ref())),
            room: (terms.most + WAITING).saturating_sub(open.count()),
            book: book.filter(|book| book.is_fresh(field.now)),
            now: field.now,
        };
        let complete = instant(before.and_then(|it| it.complete_through.as_ref()));
        Some(Self {
            of_schedule,
            origin: origin(&of_schedule),
            complete,
            by_interval: terms.by_interval,
            suspended: terms.pipeline.spec.suspend,
        })
    }

    /// A schedule that is suspended stands still; what passes meanwhile was missed.
    fn owed(&self) -> Owed {
        match self.suspended {
            true => Owed { last: self.of_schedule.last, ..Owed::default() },
            false => owed(&self.of_schedule),
        }
    }

    fn through(
        &self,
        seen: &RunsSeen<'_>,
        last: Option<Timestamp>,
        made: &[DataInterval],
    ) -> (Option<Timestamp>, Option<DataInterval>) {
        let of = |succeeded: bool| -> BTreeSet<DataInterval> {
            let runs = seen.runs.iter();
            let own = runs.filter(|run| (run.succeeded() == Some(true)) == succeeded);
            own.filter_map(Run::interval).collect()
        };
        let (succeeded, mut open) = (of(true), of(false));
        open.extend(made);
        let ScheduleFacts { grid, policy, book, .. } = self.of_schedule;
        let found = through(&ThroughFacts {
            grid,
            policy,
            whole: !self.by_interval,
            previous: self.complete,
            origin: self.origin,
            last,
            succeeded: &succeeded,
            open: &open,
            book,
        });
        (found.at, found.ask)
    }
}

fn is_of_schedule(run: &Run) -> bool {
    run.trigger() == Some(RunTrigger::Scheduled)
}

/// The runs to be made: of each tick, and with the newest one those before it that are done again.
fn documents(
    owner: &Owner,
    facts: &Facts<'_>,
    terms: &Terms<'_>,
    owed: &Owed,
) -> Vec<serde_json::Value> {
    let mut documents: Vec<_> =
        owed.make.iter().map(|interval| scheduled_run(owner, *interval)).collect();
    let incremental = terms.pipeline.config.incremental.as_ref();
    let again = incremental.map_or(0, |incremental| incremental.rerun_last);
    let newest = owed.make.last().filter(|_| owed.waiting == 0);
    let Some(newest) = newest else { return documents };
    let mut end = newest.start();
    for back in 1..=again {
        let before = facts.of_schedule.grid.interval_ending(end).ok();
        let after_origin = |one: &DataInterval| facts.origin.is_some_and(|at| one.start() >= at);
        let Some(interval) = before.filter(after_origin) else { break };
        documents.push(repeated_run(owner, *newest, back, interval));
        end = interval.start();
    }
    documents
}

/// How far the pipelines are that must be complete first.
pub(super) fn dependencies(
    context: &Context,
    key: &Key,
    schedule: &ScheduleSpec,
) -> Vec<Dependency> {
    let one = |name: &str| {
        let other = Key::new(&key.namespace, name);
        let object = context.caches.pipelines.get(&other, name);
        let status = object.as_ref().and_then(|object| status_of(object));
        let bulk = object.as_ref().is_some_and(|object| is_bulk(object));
        let through = status.and_then(|status| match bulk {
            true => status.schedule.and_then(|schedule| schedule.complete_through),
            false => status.complete_through,
        });
        let complete_through = through.map(|time| time.0);
        Dependency { name: name.to_owned(), exists: object.is_some(), complete_through }
    };
    schedule.depends_on.iter().map(|dependency| one(&dependency.name)).collect()
}

#[cfg(test)]
mod tests {
    use tidegate_config::Calendar;

    use super::*;

    #[test]
    fn both_questions_are_one_and_what_is_told_is_not_asked_again() {
        let at = |hour: i64| Timestamp::from_second(hour * 3600).unwrap();
        let hours = |start, end| DataInterval::new(at(start), at(end)).unwrap();
        let told = Book::of(&Calendar::default(), hours(2, 6), at(9)).unwrap();
        let late = Book::of(&Calendar::default(), hours(6, 7), at(9)).unwrap();
        let owed = Some(hours(8, 9));
        for (what, owed, through, book, wanted) in [
            ("nothing", None, None, None, None),
            ("one", None, Some(hours(3, 9)), None, Some(hours(3, 9))),
            ("both", owed, Some(hours(3, 9)), None, Some(hours(3, 9))),
            ("from where all is done", owed, None, None, Some(hours(2, 9))),
            ("an answer that was cut", owed, None, Some(&told), Some(hours(6, 9))),
            ("an answer about later", owed, None, Some(&late), Some(hours(2, 9))),
        ] {
            assert_eq!(joined(owed, through, Some(at(2)), book), wanted, "{what}");
        }
        assert_eq!(joined(owed, None, None, Some(&told)), owed, "nothing is done yet");
    }
}
