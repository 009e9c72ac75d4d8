//! From the resource to one checked value, without any request.
//!
//! What the API server's schema and rules say is checked again, because an object may have been stored
//! under another release's. What it cannot say is checked here: everything that compares fields, lists
//! or the spec that was accepted before. A resource that fails keeps the accepted spec running.

use kube::core::DynamicObject;
use serde::Serialize;
use tidegate_api::{
    DeletionAction, IngestionPipeline, IngestionPipelineSpec, Violation, read_pipeline,
};
use tidegate_config::{PathFacts, PipelineConfig, Severity, assess, content_hash, lint};
use tidegate_resolve::{check_evolution, resolve_in};
use tidegate_types::Reason;

use super::facts::{References, Rejection, ValidatedPipeline};
use super::names;
use super::owner::Owner;

/// What came out of the resource.
#[derive(Debug, Clone, Default)]
pub(crate) struct Validation {
    /// What runs: the resource's own spec, or the accepted one; none when there is neither.
    pub(crate) pipeline: Option<ValidatedPipeline>,
    /// Why the resource's own spec does not run.
    pub(crate) rejection: Option<Rejection>,
    /// Whether the service account of what would run does not offer itself any more: no pod may use it,
    /// and the pipeline counts as suspended. The rejection is about that.
    pub(crate) withheld: bool,
    /// Columns that this edit adds.
    pub(crate) added_columns: Vec<String>,
}

/// What the operator allows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// See [`crate::OperatorOptions::allow_local_tables`].
    pub(crate) allow_local_tables: bool,
}

/// Reads the resource; what is wrong with it is about this resource alone.
pub(crate) fn read(object: &DynamicObject) -> Result<IngestionPipeline, Rejection> {
    let value = serde_json::to_value(object).map_err(|error| Rejection {
        reason: Reason::InvalidConfiguration,
        message: error.to_string(),
    })?;
    read_pipeline(&value).map_err(|violations| invalid(&violations))
}

/// Checks the resource, and falls back to the accepted spec.
pub(crate) fn validate(
    owner: &Owner,
    resource: &Result<IngestionPipeline, Rejection>,
    references: &References,
    rules: Rules,
) -> Validation {
    let checked = match resource {
        Ok(resource) => check(owner, &resource.spec, references, rules),
        Err(rejection) => Err(rejection.clone()),
    };
    match checked {
        Ok((pipeline, added_columns)) => {
            Validation { pipeline: Some(pipeline), added_columns, ..Validation::default() }
        }
        Err(rejection) => {
            let before = fall_back(owner, resource.as_ref().ok(), references, rules);
            let (pipeline, withdrawn) = before.unzip();
            let withdrawn = withdrawn.flatten();
            Validation {
                pipeline,
                withheld: withdrawn.is_some(),
                rejection: Some(withdrawn.unwrap_or(rejection)),
                added_columns: Vec::new(),
            }
        }
    }
}

/// The accepted spec. The service account is checked again: the `ConfigMap` that remembers the spec must
/// not open a way around the account's consent. When there is none, nothing runs: the spec is suspended,
/// so that pods leave as they should and come back with the consent.
fn fall_back(
    owner: &Owner,
    resource: Option<&IngestionPipeline>,
    references: &References,
    rules: Rules,
) -> Option<(ValidatedPipeline, Option<Rejection>)> {
    let mut spec = references.accepted.clone()?;
    if let Some(resource) = resource {
        follow(&mut spec, &resource.spec);
    }
    let config = resolved(owner, &spec).ok()?;
    check_table(&config, rules).ok()?;
    let withdrawn = check_account(&spec, references).err().map(|rejection| Rejection {
        message: format!("{}; no pod runs until it does", rejection.message),
        ..rejection
    });
    spec.suspend |= withdrawn.is_some();
    Some((accept(owner, spec, config), withdrawn))
}

/// Wishes that need no consent: to stop, to keep, and how many workers.
pub(crate) fn follow(accepted: &mut IngestionPipelineSpec, wanted: &IngestionPipelineSpec) {
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

fn check(
    owner: &Owner,
    spec: &IngestionPipelineSpec,
    references: &References,
    rules: Rules,
) -> Result<(ValidatedPipeline, Vec<String>), Rejection> {
    check_name(owner)?;
    let config = resolved(owner, spec).map_err(|violations| invalid(&violations))?;
    check_servers(&config)?;
    check_table(&config, rules)?;
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

pub(crate) fn accept<C: Serialize>(
    owner: &Owner,
    spec: IngestionPipelineSpec,
    config: C,
) -> ValidatedPipeline<C> {
    // Plain structs whose maps have texts as keys always have a JSON form.
    let config_json = serde_json::to_string(&config).unwrap_or_default();
    ValidatedPipeline {
        namespace: owner.key.namespace.clone(),
        name: owner.key.name.clone(),
        owner: owner.reference(),
        spec,
        config_hash: content_hash(config_json.as_bytes()),
        config_json,
        config,
    }
}

/// Both are rules of the definition too, which an older one may lack.
pub(crate) fn check_name(owner: &Owner) -> Result<(), Rejection> {
    let (name, most) = (&owner.key.name, names::LONGEST_PIPELINE);
    if name.len() > most || name.contains('.') {
        let problem = format!(
            "metadata.name: the names of its pods are made of it; write at most {most} characters \
             and no dots"
        );
        return Err(refused(Reason::InvalidConfiguration, problem));
    }
    Ok(())
}

fn check_servers(config: &PipelineConfig) -> Result<(), Rejection> {
    if config.source.servers.is_empty() {
        let problem = "spec.source.jetStream.servers: is missing, and a cluster has no embedded \
                       server; write addresses such as nats://nats.nats:4222";
        return Err(refused(Reason::InvalidConfiguration, problem));
    }
    Ok(())
}

fn check_table(config: &PipelineConfig, rules: Rules) -> Result<(), Rejection> {
    if config.sink.url.starts_with("file:") && !rules.allow_local_tables {
        let problem = "spec.sink.storage.url: a pod's disk does not outlive it; write \
                       s3://bucket/path or abfss://container@account.dfs.core.windows.net/path";
        return Err(refused(Reason::InvalidConfiguration, problem));
    }
    Ok(())
}

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
        super::labels::PIPELINE_USE
    );
    Err(refused(Reason::ServiceAccountRefused, problem))
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

pub(crate) fn refused(reason: Reason, message: impl Into<String>) -> Rejection {
    Rejection { reason, message: message.into() }
}

/// The first fault and how many there are besides; `tidegate validate` prints all of them.
pub(crate) fn invalid(violations: &[Violation]) -> Rejection {
    let message = match violations {
        [] => "cannot be read".to_owned(),
        [first, rest @ ..] => {
            let mut first = first.clone();
            first.document.clear();
            match rest.len() {
                0 => first.to_string(),
                more => format!("{first} (and {more} more, see tidegate validate)"),
            }
        }
    };
    refused(Reason::InvalidConfiguration, message)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::*;
    use crate::key::Key;

    const STRICT: Rules = Rules { allow_local_tables: false };

    fn owner(name: &str) -> Owner {
        Owner { key: Key::new("analytics", name), uid: "u".to_owned() }
    }

    /// A pipeline that is valid in a cluster, with `changes` (YAML) merged into its spec.
    fn resource(changes: &str) -> DynamicObject {
        let mut object = json!({
            "apiVersion": "tidegate.dev/v1alpha1",
            "kind": "IngestionPipeline",
            "metadata": {"name": "clicks", "namespace": "analytics", "uid": "u", "generation": 1},
            "spec": {
                "source": {"type": "JetStream", "jetStream": {
                    "servers": ["nats://nats:4222"], "stream": "CLICKS", "subjects": ["clicks.>"],
                }},
                "schema": {"fields": [{"name": "id", "type": "string"}]},
                "sink": {"type": "Delta", "storage": {"url": "s3://lake/clicks"}},
            },
        });
        let changes: Value = serde_yaml::from_str(changes).expect("YAML");
        merge(&mut object["spec"], &changes);
        serde_json::from_value(object).expect("an object")
    }

    fn merge(into: &mut Value, changes: &Value) {
        match (into, changes) {
            (Value::Object(into), Value::Object(changes)) => {
                for (name, change) in changes {
                    merge(into.entry(name.as_str()).or_insert(Value::Null), change);
                }
            }
            (_, Value::Null) => {}
            (into, change) => *into = change.clone(),
        }
    }

    fn validated(changes: &str, references: &References) -> Validation {
        validate(&owner("clicks"), &read(&resource(changes)), references, STRICT)
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
        let object = read(&resource("sink: {storage: {url: 'file:///data/clicks'}}"));
        let rules = Rules { allow_local_tables: true };
        let validation = validate(&owner("clicks"), &object, &References::default(), rules);
        assert!(validation.pipeline.is_some(), "{validation:?}");
    }

    #[test]
    fn names_that_pods_cannot_have_are_refused() {
        for (name, taken) in
            [("c".repeat(45), true), ("c".repeat(46), false), ("a.b".into(), false)]
        {
            let resource = read(&resource(""));
            let validation = validate(&owner(&name), &resource, &References::default(), STRICT);
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
