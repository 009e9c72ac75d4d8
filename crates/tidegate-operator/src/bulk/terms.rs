//! What the runs of a pipeline stand on.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tidegate_api::{BulkSpec, CatchupPolicy, ScheduleStatus};
use tidegate_config::WriteMode;
use tidegate_resolve::catchup_policy;
use tidegate_schedule::Grid;

use crate::cluster::Owner;
use crate::context::Context;
use crate::key::Key;
use crate::runs::PipelineFacts;
use crate::schedule::may_be_older;
use crate::validation::{Rejection, Transfer};

/// Where one reconcile works.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) context: &'a Context,
    pub(crate) key: &'a Key,
    /// None: there is no such bulk pipeline.
    pub(crate) owner: Option<&'a Owner>,
    pub(crate) stand: Stand<'a>,
    pub(crate) now: Timestamp,
}

/// How the pipeline stands.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stand<'a> {
    /// There is none.
    Missing,
    /// It reads a stream.
    Streams,
    /// Nothing of it runs.
    Unusable(&'a Rejection),
    /// It is there.
    There(&'a Transfer, Option<&'a Grid>),
}

/// What a pipeline that is there says about its runs.
#[derive(Debug)]
pub(crate) struct Terms<'a> {
    pub(crate) pipeline: &'a Transfer,
    pub(crate) bulk: BulkSpec,
    /// The ticks; none without a schedule.
    pub(crate) grid: Option<&'a Grid>,
    pub(crate) policy: CatchupPolicy,
    /// How long after its tick an interval is due.
    pub(crate) delay: Duration,
    /// Whether it is known since when the schedule counts.
    pub(crate) begun: bool,
    /// Whether a run reads the rows of its interval alone.
    pub(crate) by_interval: bool,
    /// Runs at a time.
    pub(crate) most: usize,
}

impl<'a> Terms<'a> {
    /// `schedule` is what the status says.
    pub(crate) fn of(
        pipeline: &'a Transfer,
        grid: Option<&'a Grid>,
        schedule: Option<&ScheduleStatus>,
    ) -> Self {
        let bulk = pipeline.spec.bulk_or_default();
        let config = &pipeline.config;
        let policy = catchup_policy(&bulk, config.write_mode);
        let follows = schedule.is_some_and(|schedule| schedule.last_scheduled_tick.is_some());
        let asks = bulk
            .schedule
            .as_ref()
            .is_some_and(|schedule| may_be_older(policy, schedule.start_at.is_some()));
        let whole = config.write_mode == WriteMode::Overwrite;
        Self {
            grid,
            policy,
            begun: follows || !asks,
            delay: bulk.schedule.as_ref().map(|it| it.delay.to_duration()).unwrap_or_default(),
            by_interval: config.incremental.is_some() || config.source.is_by_interval(),
            // Two runs that replace everything would only throw each other out.
            most: if whole { 1 } else { usize::try_from(bulk.max_active_runs).unwrap_or(1) },
            pipeline,
            bulk,
        }
    }

    /// What one run finds.
    pub(crate) fn facts(&self) -> PipelineFacts<'_> {
        PipelineFacts::There {
            suspended: self.pipeline.spec.suspend,
            grid: self.grid,
            delay: SignedDuration::try_from(self.delay).unwrap_or(SignedDuration::MAX),
            begun: self.begun,
            by_interval: self.by_interval,
            retry: &self.bulk.run_template.retry,
        }
    }
}
