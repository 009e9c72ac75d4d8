//! The runs of a pipeline as they are seen in one reconcile, and what comes of it.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use tidegate_api::{ChildrenStatus, ScheduleStatus};
use tidegate_types::Reason;

use super::terms::{Field, Stand, Terms};
use crate::failure::Failure;
use crate::metrics::RunTally;
use crate::runs::{Attempt, PipelineFacts, Run, Step, read};

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// The schedule's part of the status; none without a pipeline that is there.
    pub(crate) schedule: Option<ScheduleStatus>,
    /// The newest end of a run of the newest interval.
    pub(crate) newest: Option<Newest>,
    /// What a run saw last of the files of intervals that are done; none where no object tells.
    pub(crate) looked: Option<Condition>,
    /// What the log could not be asked for.
    pub(crate) calendar_trouble: Option<(Reason, String)>,
    /// The runs by phase, and when the last one succeeded; none when it did not come so far.
    pub(crate) tally: Option<RunTally>,
    /// Whether the log has answered, so that its readers have to look again at once.
    pub(crate) reads_on: bool,
    /// Whether something is under way that has to be looked at soon.
    pub(crate) is_busy: bool,
    /// When there will be something to do.
    pub(crate) next: Option<Timestamp>,
    /// The first thing that went wrong.
    pub(crate) failure: Option<Failure>,
}

/// How the newest run that is over ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Newest {
    pub(crate) run: String,
    pub(crate) succeeded: bool,
    pub(crate) reason: String,
    pub(crate) message: String,
}

/// The runs of a pipeline as they are seen in one reconcile.
pub(super) struct RunsSeen<'a> {
    pub(super) field: Field<'a>,
    pub(super) terms: Option<Terms<'a>>,
    pub(super) runs: Vec<Run>,
    pub(super) jobs: Vec<Arc<Job>>,
    pub(super) pods: Vec<Arc<Pod>>,
    pub(super) done: Done,
}

impl<'a> RunsSeen<'a> {
    /// Looks at all of them; `schedule` is what the status said before.
    pub(super) fn look(field: &Field<'a>, schedule: Option<&ScheduleStatus>) -> Self {
        let caches = &field.context.caches;
        let runs = caches.runs.of(field.key);
        let terms = match field.stand {
            Stand::There(pipeline, grid) => Some(Terms::of(pipeline, grid, schedule)),
            _ => None,
        };
        Self {
            field: *field,
            terms,
            runs: runs.iter().filter_map(|run| read(run)).filter(|run| !run.leaving).collect(),
            jobs: caches.jobs.of(field.key),
            pods: caches.pods.of(field.key),
            done: Done::default(),
        }
    }

    /// Notes what goes wrong; the first is told.
    pub(super) fn note(&mut self, result: Result<(), Failure>) -> bool {
        let failed = result.err();
        let fine = failed.is_none();
        self.done.failure = self.done.failure.take().or(failed);
        fine
    }

    /// What its runs stand on.
    pub(super) fn pipeline(&self) -> PipelineFacts<'_> {
        match (&self.terms, self.field.stand) {
            (Some(terms), _) => terms.facts(),
            (None, Stand::Streams) => PipelineFacts::Streams,
            (None, Stand::Unusable(rejection)) => PipelineFacts::Unusable(rejection),
            (None, _) => PipelineFacts::Missing,
        }
    }

    /// There will be something to do then.
    pub(super) fn at(&mut self, when: Option<Timestamp>) {
        self.done.next = self.done.next.into_iter().chain(when).min();
    }
}

/// What a run is to do and say.
pub(super) struct RunDecision {
    pub(super) run: usize,
    pub(super) step: Step,
    pub(super) attempt: Option<Attempt>,
    pub(super) children: Option<ChildrenStatus>,
}
