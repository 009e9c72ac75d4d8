//! What comes out of checking a resource.

use tidegate_api::IngestionPipeline;

use super::rejection::Rejection;
use super::validated::ValidatedPipeline;

/// What the operator allows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// See [`OperatorOptions::allow_local_tables`](crate::OperatorOptions::allow_local_tables).
    pub(crate) allow_local_tables: bool,
}

impl Rules {
    /// Whether pods cannot have what lies there.
    pub(crate) fn forbids(self, url: &str) -> bool {
        url.starts_with("file:") && !self.allow_local_tables
    }
}

/// What came out of the resource.
#[derive(Debug, Clone)]
pub(crate) struct Validation<C> {
    /// What runs: the resource's own spec, or the accepted one; none when there is neither.
    pub(crate) pipeline: Option<ValidatedPipeline<C>>,
    /// Why the resource's own spec does not run.
    pub(crate) rejection: Option<Rejection>,
    /// Whether the service account of what would run does not offer itself any more: no pod may use it.
    /// The rejection is about that.
    pub(crate) withheld: bool,
    /// Columns that this edit adds.
    pub(crate) added_columns: Vec<String>,
}

/// Nothing was looked at yet.
impl<C> Default for Validation<C> {
    fn default() -> Self {
        Self { pipeline: None, rejection: None, withheld: false, added_columns: Vec::new() }
    }
}

impl<C> Validation<C> {
    /// Checks the resource, and falls back to the accepted spec. `check` answers with the columns that are
    /// new; `fall_back` finds what was accepted, and why that may not run either.
    pub(crate) fn of(
        resource: &Result<IngestionPipeline, Rejection>,
        check: impl FnOnce(&IngestionPipeline) -> Result<(ValidatedPipeline<C>, Vec<String>), Rejection>,
        fall_back: impl FnOnce() -> Option<(ValidatedPipeline<C>, Option<Rejection>)>,
    ) -> Self {
        match resource.as_ref().map_err(Rejection::clone).and_then(check) {
            Ok((pipeline, added_columns)) => {
                Self { pipeline: Some(pipeline), added_columns, ..Self::default() }
            }
            Err(rejection) => {
                let (pipeline, withdrawn) = fall_back().unzip();
                let withdrawn = withdrawn.flatten();
                Self {
                    pipeline,
                    withheld: withdrawn.is_some(),
                    rejection: Some(withdrawn.unwrap_or(rejection)),
                    added_columns: Vec::new(),
                }
            }
        }
    }
}
