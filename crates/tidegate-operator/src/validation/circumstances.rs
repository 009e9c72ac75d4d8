//! What a resource is checked in.

use tidegate_api::IngestionPipeline;

use super::outcome::Rules;
use super::references::{References, dereference};
use super::rejection::Rejection;
use crate::cluster::Owner;
use crate::context::Context;

/// What the checks of a resource look at besides the resource.
#[derive(Debug, Clone)]
pub(crate) struct Circumstances<'a> {
    /// The pipeline.
    pub(crate) owner: &'a Owner,
    /// What its spec points to and what was accepted before.
    pub(crate) references: References,
    /// What the operator allows.
    pub(crate) rules: Rules,
}

/// Those of a resource now; no request.
pub(crate) fn circumstances<'a>(
    context: &Context,
    owner: &'a Owner,
    resource: &Result<IngestionPipeline, Rejection>,
) -> Circumstances<'a> {
    Circumstances {
        owner,
        references: dereference(&context.caches, owner, resource),
        rules: Rules { allow_local_tables: context.options.allow_local_tables },
    }
}
