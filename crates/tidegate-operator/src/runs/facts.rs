//! What the steps hand to each other.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use tidegate_api::{IngestionRunStatus, RUN_KIND, Reprocess, RunPhase, RunTrigger};
use tidegate_config::RunReport;
use tidegate_types::{DataInterval, Reason};

use crate::cluster::controlled_by;
use crate::pods::{Ended, PodFacts, Trouble};
use crate::validation::Rejection;

/// A run as it stands.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// Its name.
    pub(crate) name: String,
    /// Another run of that name has another one.
    pub(crate) uid: String,
    /// `metadata.generation`.
    pub(crate) generation: i64,
    /// When it was made.
    pub(crate) created: Timestamp,
    /// Whether it is being deleted.
    pub(crate) leaving: bool,
    /// The uid of whatever made it: its pipeline or the run that it is a part of; none: a person.
    pub(crate) maker: Option<String>,
    /// What it asks for, or why that cannot be read.
    pub(crate) wish: Result<Wish, Rejection>,
    /// What was said of it last.
    pub(crate) status: IngestionRunStatus,
}

/// What a run asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Why.
    pub(crate) trigger: RunTrigger,
    /// Whether an interval that is done is done again, although the trigger is Backfill.
    pub(crate) rerun: bool,
    /// Of what.
    pub(crate) what: What,
}

/// Of what a run is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    /// Everything that the source has.
    Whole,
    /// One interval.
    Interval(DataInterval),
    /// Many intervals.
    Range {
        /// From where to where.
        range: DataInterval,
        /// Which of them.
        reprocess: Reprocess,
        /// Whether it is only told.
        dry_run: bool,
    },
}

/// An attempt, by its Job.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    /// From 1.
    pub(crate) number: u32,
    /// How it ended, if it did.
    pub(crate) ended: Option<Ended>,
    /// Its pod and what that says.
    pub(crate) pod: Option<PodFacts<RunReport>>,
    /// Where its pod is.
    pub(crate) address: Option<String>,
    /// What keeps pods that read its chunks from beginning.
    pub(crate) readers_wait: Option<Trouble>,
}

/// What is to be done about a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing for now.
    Wait(Waiting),
    /// The attempt of this number is to be made.
    Start(u32),
    /// An attempt is under way.
    Follow,
    /// It is over.
    Finish(Outcome),
}

/// Why a run does not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub(crate) reason: Reason,
    pub(crate) message: String,
    /// When it may go on, where that is known.
    pub(crate) until: Option<Timestamp>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) succeeded: bool,
    pub(crate) reason: Reason,
    pub(crate) message: String,
    /// What its last attempt said of itself.
    pub(crate) report: Option<RunReport>,
    /// When.
    pub(crate) at: Timestamp,
}

impl Run {
    /// The reference that its Jobs carry.
    pub(crate) fn reference(&self) -> OwnerReference {
        controlled_by(RUN_KIND, &self.name, &self.uid)
    }

    /// Whether it is over, and how.
    pub(crate) fn succeeded(&self) -> Option<bool> {
        match self.status.phase? {
            RunPhase::Succeeded => Some(true),
            RunPhase::Failed => Some(false),
            _ => None,
        }
    }

    /// Whether an attempt was made and it is not over.
    pub(crate) fn is_active(&self) -> bool {
        self.succeeded().is_none() && self.status.attempt.is_some_and(|attempt| attempt > 0)
    }

    /// Its interval; none for others and for what cannot be read.
    pub(crate) fn interval(&self) -> Option<DataInterval> {
        match self.wish.as_ref().ok()?.what {
            What::Interval(interval) => Some(interval),
            _ => None,
        }
    }

    /// Why it was made; none when that cannot be read.
    pub(crate) fn trigger(&self) -> Option<RunTrigger> {
        self.wish.as_ref().ok().map(|wish| wish.trigger)
    }
}

impl Outcome {
    /// The end of a run that asks for what cannot be done.
    pub(crate) fn refused(reason: Reason, message: impl Into<String>, at: Timestamp) -> Self {
        Self { succeeded: false, reason, message: message.into(), report: None, at }
    }
}

impl Waiting {
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), until: None }
    }
}
