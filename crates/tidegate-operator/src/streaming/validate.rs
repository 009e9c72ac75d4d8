//! From the resource to one checked value, without any request.
//!
//! What the API server's schema and rules say is checked again, because an object may have been stored
//! under another release's. What it cannot say is checked here: everything that compares fields, lists
//! or the spec that was accepted before. A resource that fails keeps the accepted spec running.

use tidegate_api::{IngestionPipeline, IngestionPipelineSpec, Violation};
use tidegate_config::{PathFacts, PipelineConfig, Severity, assess, lint};
use tidegate_resolve::resolve_in;
use tidegate_types::Reason;

use crate::cluster::{Owner, names};
use crate::validation::{
    self, Circumstances, Rejection, ValidatedPipeline, accept, accepted_before, check_account,
    check_change, check_name, check_table, invalid, refused, withdrawn,
};

/// What came out of the resource of a stream's pipeline. One whose account is withheld is suspended.
pub(crate) type Validation = validation::Validation<PipelineConfig>;

/// Checks the resource, and falls back to the accepted spec.
pub(crate) fn validate(
    resource: &Result<IngestionPipeline, Rejection>,
    circumstances: &Circumstances<'_>,
) -> Validation {
    Validation::of(
        resource,
        |resource| check(&resource.spec, circumstances),
        || fall_back(resource, circumstances),
    )
}

/// The accepted spec. When its service account does not offer itself any more, nothing runs: the spec is
/// suspended, so that pods leave as they should and come back with the consent.
fn fall_back(
    resource: &Result<IngestionPipeline, Rejection>,
    Circumstances { owner, references, rules }: &Circumstances<'_>,
) -> Option<(ValidatedPipeline, Option<Rejection>)> {
    let mut spec = accepted_before(references, resource)?;
    let config = resolved(owner, &spec).ok()?;
    check_table(&config.sink.url, *rules).ok()?;
    let withdrawn = withdrawn(&spec, references, "no pod runs until it does");
    spec.suspend |= withdrawn.is_some();
    Some((accept(owner, spec, config), withdrawn))
}

fn check(
    spec: &IngestionPipelineSpec,
    Circumstances { owner, references, rules }: &Circumstances<'_>,
) -> Result<(ValidatedPipeline, Vec<String>), Rejection> {
    check_name(owner, names::LONGEST_PIPELINE, "pods")?;
    let config = resolved(owner, spec).map_err(|violations| invalid(&violations))?;
    check_servers(&config)?;
    check_table(&config.sink.url, *rules)?;
    check_account(spec, references)?;
    check_guarantee(&config)?;
    check_numbers(&config)?;
    let added = check_change(spec, references)?;
    Ok((accept(owner, spec.clone(), config), added))
}

fn resolved(owner: &Owner, spec: &IngestionPipelineSpec) -> Result<PipelineConfig, Vec<Violation>> {
    let mut pipeline = IngestionPipeline::new(&owner.key.name, spec.clone());
    pipeline.metadata.namespace = Some(owner.key.namespace.clone());
    let of_runs =
        || vec![Violation::new(&owner.key.name, "spec.source.type", "is of a bulk source")];
    resolve_in(&pipeline, None)?.into_stream().ok_or_else(of_runs)
}

fn check_servers(config: &PipelineConfig) -> Result<(), Rejection> {
    if config.source.servers.is_empty() {
        let problem = "spec.source.jetStream.servers: is missing, and a cluster has no embedded \
                       server; write addresses such as nats://nats.nats:4222";
        return Err(refused(Reason::InvalidConfiguration, problem));
    }
    Ok(())
}

/// With nothing known of stream and store: what the spec itself rules out. The rest is seen by the
/// agent.
fn check_guarantee(config: &PipelineConfig) -> Result<(), Rejection> {
    let assessment = assess(config, &PathFacts::default());
    let Some(hop) = &assessment.weakest_hop else { return Ok(()) };
    let (asked, given) = (assessment.requested, assessment.effective);
    let problem = format!("spec.guarantee: {asked:?} is asked for, {given:?} is given: {hop}");
    Err(refused(Reason::GuaranteeNotMet, problem))
}

fn check_numbers(config: &PipelineConfig) -> Result<(), Rejection> {
    let findings = lint(config);
    match findings.iter().find(|finding| finding.severity == Severity::Error) {
        Some(finding) => Err(refused(Reason::InvalidConfiguration, finding.to_string())),
        None => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;

    use tidegate_api::DeletionAction;

    use super::*;
    use crate::validation::fixtures::{analytics, clicks, strict};
    use crate::validation::{References, Rules};

    fn validated(changes: &str, references: &References) -> Validation {
        validate(&clicks(changes), &strict(&analytics("clicks"), references))
    }

    /// What [`validate`] makes of it.
    pub(crate) fn accepted(changes: &str) -> ValidatedPipeline {
        let validation = validated(changes, &References::default());
        assert_eq!(validation.rejection, None);
        validation.pipeline.expect("it is accepted")
    }

    fn remembering(changes: &str) -> References {
        References { accepted: Some(accepted(changes).spec), ..References::default() }
    }

    #[test]
    fn what_cannot_run_in_a_cluster_is_refused_with_its_field() {
        for (changes, reason, place) in [
            ("source: {jetStream: {servers: []}}", Reason::InvalidConfiguration, "servers"),
            ("sink: {storage: {url: 'file:///data'}}", Reason::InvalidConfiguration, "disk"),
            ("sink: {storage: {url: 'file:data'}}", Reason::InvalidConfiguration, "url"),
            ("serviceAccountName: lake", Reason::ServiceAccountRefused, "pipeline-use"),
            ("schema: {fields: []}", Reason::InvalidConfiguration, "spec.schema.fields"),
            ("guarantee: Twice", Reason::InvalidConfiguration, "spec.guarantee"),
            (
                "source: {jetStream: {partitioning: {type: Subject, partitions: 4}}}",
                Reason::GuaranteeNotMet,
                "partitioning",
            ),
            (
                "source: {jetStream: {duplicateWindow: 50ms}}",
                Reason::InvalidConfiguration,
                "duplicateWindow",
            ),
        ] {
            let validation = validated(changes, &References::default());
            let rejection = validation.rejection.expect(changes);
            assert_eq!(rejection.reason, reason, "{changes}: {rejection:?}");
            assert!(rejection.message.contains(place), "{changes}: {rejection:?}");
            assert!(validation.pipeline.is_none(), "nothing was accepted before");
        }
    }

    #[test]
    fn a_local_table_is_taken_where_it_is_allowed() {
        let object = clicks("sink: {storage: {url: 'file:///data/clicks'}}");
        let (owner, references) = (analytics("clicks"), References::default());
        let rules = Rules { allow_local_tables: true };
        let validation = validate(&object, &Circumstances { rules, ..strict(&owner, &references) });
        assert!(validation.pipeline.is_some(), "{validation:?}");
    }

    #[test]
    fn names_that_pods_cannot_have_are_refused() {
        for (name, taken) in
            [("c".repeat(45), true), ("c".repeat(46), false), ("a.b".into(), false)]
        {
            let (owner, references) = (analytics(&name), References::default());
            let validation = validate(&clicks(""), &strict(&owner, &references));
            assert_eq!(validation.pipeline.is_some(), taken, "{name}");
        }
    }

    #[test]
    fn a_refused_edit_leaves_the_accepted_spec_running() {
        let references = remembering("sink: {flush: {maxInterval: 30s}}");
        let validation = validated("schema: {fields: [{name: id, type: long}]}", &references);
        let rejection = validation.rejection.expect("the type changed");
        assert_eq!(rejection.reason, Reason::SchemaChangeRefused, "{rejection:?}");
        let running = validation.pipeline.expect("the accepted one");
        assert_eq!(running.config.sink.flush.max_interval.to_string(), "30s");
        let unreadable = validated("schema: {fields: 7}", &references);
        assert!(unreadable.pipeline.is_some() && unreadable.rejection.is_some());
    }

    #[test]
    fn an_edit_that_is_taken_says_which_columns_it_adds() {
        let references = remembering("");
        let fields = "schema: {fields: [{name: id, type: string}, {name: page, type: string}]}";
        let validation = validated(fields, &references);
        assert_eq!((validation.rejection, validation.added_columns), (None, vec!["page".into()]));
    }

    #[test]
    fn a_refused_edit_may_still_stop_and_keep_but_never_delete() {
        let both = |policy: &str, changes: &str| {
            let references = remembering(policy);
            let bad = format!("schema: {{fields: [{{name: id, type: long}}]}}\n{changes}");
            let running = validated(&bad, &references).pipeline.expect("the accepted one");
            (running.spec.suspend, running.spec.deletion_policy.data)
        };
        let (keep, delete) = (DeletionAction::Retain, DeletionAction::Delete);
        assert_eq!(both("", "suspend: true"), (true, keep));
        assert_eq!(both("", "deletionPolicy: {data: Delete}"), (false, keep));
        assert_eq!(both("deletionPolicy: {data: Delete}", ""), (false, keep));
        let still = both("deletionPolicy: {data: Delete}", "deletionPolicy: {data: Delete}");
        assert_eq!(still, (false, delete));
    }

    #[test]
    fn a_service_account_must_offer_itself_to_the_accepted_spec_too() {
        let offered = References {
            offered_accounts: BTreeSet::from(["lake".to_owned()]),
            ..References::default()
        };
        let good =
            validated("serviceAccountName: lake", &offered).pipeline.expect("it offers itself");
        let withdrawn = References { accepted: Some(good.spec), ..References::default() };
        let bad = "{serviceAccountName: lake, schema: {fields: [{name: id, type: long}]}}";
        for changes in ["serviceAccountName: lake", bad, "schema: {fields: 7}"] {
            let validation = validated(changes, &withdrawn);
            let suspended = validation.pipeline.map(|pipeline| pipeline.spec.suspend);
            assert_eq!(suspended, Some(true), "no pod may use it, and what runs leaves: {changes}");
            let rejection = validation.rejection.expect(changes);
            assert_eq!(rejection.reason, Reason::ServiceAccountRefused, "{changes}");
            assert!(validation.withheld && rejection.message.contains("no pod runs"), "{changes}");
        }
        let still = References { accepted: withdrawn.accepted, ..offered };
        let other = validated("serviceAccountName: other", &still);
        assert!(!other.withheld, "the accepted one offers itself, only the new one does not");
        assert_eq!(other.pipeline.map(|pipeline| pipeline.spec.suspend), Some(false));
    }

    #[test]
    fn the_same_spec_has_the_same_hash() {
        let scaled = accepted("scaling: {mode: Fixed}\nreplicas: 1\nsuspend: true");
        assert_eq!(accepted("").config_hash, scaled.config_hash, "it must not roll the pods");
        let flushes = accepted("sink: {flush: {maxInterval: 30s}}");
        assert_ne!(accepted("").config_hash, flushes.config_hash);
    }
}
