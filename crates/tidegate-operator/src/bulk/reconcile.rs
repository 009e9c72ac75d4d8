//! One reconcile, and what it has found so far.

use std::sync::Arc;

use jiff::Timestamp;
use kube::core::DynamicObject;
use tidegate_api::IngestionPipelineStatus;

use super::memory::BulkMemory;
use super::runs_seen::Done;
use super::validate::Validated;
use crate::apply::Changes;
use crate::cluster::Owner;
use crate::context::Context;
use crate::states::PipelineState;
use crate::validation::status_of;

/// See the module.
pub(super) struct Reconcile<'a> {
    pub(super) context: &'a Context,
    pub(super) object: &'a DynamicObject,
    pub(super) owner: Owner,
    pub(super) now: Timestamp,
    /// The status as it was before.
    pub(super) previous: Option<IngestionPipelineStatus>,
    pub(super) state: PipelineState<BulkMemory>,
    pub(super) validated: Arc<Validated>,
    pub(super) changes: Changes,
    pub(super) done: Done,
}

impl<'a> Reconcile<'a> {
    pub(super) fn begin(
        context: &'a Context,
        object: &'a DynamicObject,
        owner: Owner,
        state: PipelineState<BulkMemory>,
    ) -> Self {
        Self {
            context,
            object,
            now: context.clock.now(),
            previous: status_of(object),
            state,
            owner,
            validated: Arc::default(),
            changes: Changes::default(),
            done: Done::default(),
        }
    }
}
