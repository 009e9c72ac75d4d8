//! What is checked of every spec, whatever its source.

use tidegate_api::{DeletionAction, IngestionPipeline, IngestionPipelineSpec};
use tidegate_resolve::check_evolution;
use tidegate_types::Reason;

use super::outcome::Rules;
use super::references::References;
use super::rejection::{Rejection, invalid, refused};
use crate::cluster::{Owner, labels};

/// A rule of the definition too, which an older one may lack. `made`: of what the names are made of the
/// pipeline's, such as `pods`.
pub(crate) fn check_name(owner: &Owner, most: usize, made: &str) -> Result<(), Rejection> {
    let name = &owner.key.name;
    if name.len() > most || name.contains('.') {
        let problem = format!(
            "metadata.name: the names of its {made} are made of it; write at most {most} characters \
             and no dots"
        );
        return Err(refused(Reason::InvalidConfiguration, problem));
    }
    Ok(())
}

/// `url`: where the table is.
pub(crate) fn check_table(url: &str, rules: Rules) -> Result<(), Rejection> {
    if rules.forbids(url) {
        let problem = "spec.sink.storage.url: a pod's disk does not outlive it; write \
                       s3://bucket/path or abfss://container@account.dfs.core.windows.net/path";
        return Err(refused(Reason::InvalidConfiguration, problem));
    }
    Ok(())
}

/// The account must offer itself: otherwise whoever may write pipelines could act as any account.
pub(crate) fn check_account(
    spec: &IngestionPipelineSpec,
    references: &References,
) -> Result<(), Rejection> {
    let Some(name) = &spec.service_account_name else { return Ok(()) };
    if references.offered_accounts.contains(name) {
        return Ok(());
    }
    let problem = format!(
        "spec.serviceAccountName: {name} does not exist or does not carry the label {}: \"true\"",
        labels::PIPELINE_USE
    );
    Err(refused(Reason::ServiceAccountRefused, problem))
}

/// The accepted spec's account, asked again: the `ConfigMap` that remembers the spec must not open a way
/// around its consent. `until`: what does not happen until it offers itself.
pub(crate) fn withdrawn(
    spec: &IngestionPipelineSpec,
    references: &References,
    until: &str,
) -> Option<Rejection> {
    let rejection = check_account(spec, references).err()?;
    Some(Rejection { message: format!("{}; {until}", rejection.message), ..rejection })
}

/// Against the spec that was accepted last.
pub(crate) fn check_change(
    spec: &IngestionPipelineSpec,
    references: &References,
) -> Result<Vec<String>, Rejection> {
    let Some(accepted) = &references.accepted else { return Ok(Vec::new()) };
    check_evolution(accepted, spec).map_err(|violations| Rejection {
        reason: Reason::SchemaChangeRefused,
        ..invalid(&violations)
    })
}

/// The spec that goes on while an edit is refused, with the edit's wishes that need no consent.
pub(crate) fn accepted_before(
    references: &References,
    resource: &Result<IngestionPipeline, Rejection>,
) -> Option<IngestionPipelineSpec> {
    let mut spec = references.accepted.clone()?;
    if let Ok(resource) = resource {
        follow(&mut spec, &resource.spec);
    }
    Some(spec)
}

/// Wishes that need no consent: to stop, to keep, and how many workers.
fn follow(accepted: &mut IngestionPipelineSpec, wanted: &IngestionPipelineSpec) {
    accepted.suspend = wanted.suspend;
    accepted.replicas = wanted.replicas;
    let (kept, asked) = (&mut accepted.deletion_policy, &wanted.deletion_policy);
    if asked.stream == DeletionAction::Retain {
        kept.stream = DeletionAction::Retain;
    }
    if asked.data == DeletionAction::Retain {
        kept.data = DeletionAction::Retain;
    }
}
