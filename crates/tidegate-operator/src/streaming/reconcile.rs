//! One reconcile, and what it has found so far.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use kube::core::DynamicObject;
use tidegate_api::IngestionPipelineStatus;

use super::delete::Deletion;
use super::facts::{Decisions, Observed};
use super::memory::Memory;
use super::rollout::{Progress, Rollouts};
use super::validate::Validation;
use crate::apply::Changes;
use crate::cluster::Owner;
use crate::context::Context;
use crate::states::PipelineState;
use crate::validation::status_of;

/// See the module; all of that goes into the status however far it came.
pub(super) struct Reconcile<'a> {
    pub(super) context: &'a Context,
    pub(super) rollouts: &'a Mutex<Rollouts>,
    pub(super) object: &'a DynamicObject,
    pub(super) owner: Owner,
    pub(super) now: Timestamp,
    /// The status as it was before.
    pub(super) previous: Option<IngestionPipelineStatus>,
    pub(super) state: PipelineState<Memory>,
    pub(super) validation: Validation,
    pub(super) observed: Observed,
    pub(super) decisions: Option<Decisions>,
    pub(super) changes: Changes,
    pub(super) deletion: Option<Deletion>,
    pub(super) attempt: Option<Attempt>,
}

/// The sending of pod templates, before it began.
pub(super) struct Attempt {
    /// A permit was taken for it.
    pub(super) fresh: bool,
    /// See [`live_templates`](super::templates::live_templates).
    pub(super) live: [Option<String>; 2],
    pub(super) progress: Progress,
}

impl<'a> Reconcile<'a> {
    pub(super) fn begin(
        context: &'a Context,
        rollouts: &'a Mutex<Rollouts>,
        object: &'a DynamicObject,
        owner: Owner,
        state: PipelineState<Memory>,
    ) -> Self {
        Self {
            context,
            rollouts,
            object,
            previous: status_of(object),
            state,
            owner,
            now: Timestamp::now(),
            validation: Validation::default(),
            observed: Observed::default(),
            decisions: None,
            changes: Changes::default(),
            deletion: None,
            attempt: None,
        }
    }

    pub(super) fn rollouts(&self) -> MutexGuard<'a, Rollouts> {
        self.rollouts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
