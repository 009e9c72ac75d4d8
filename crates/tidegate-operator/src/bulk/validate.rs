//! From the resource of a bulk pipeline to one checked value, without any request. A resource that fails
//! keeps the accepted spec running.

use std::sync::Arc;

use tidegate_api::{
    DeletionAction, IngestionPipeline, IngestionPipelineSpec, LONGEST_BULK_NAME, Violation,
};
use tidegate_config::{BulkSource, TransferConfig};
use tidegate_resolve::resolve_among;
use tidegate_schedule::Grid;
use tidegate_types::Reason;

use crate::pipeline::{
    Owner, References, Rejection, ValidatedPipeline, accept, check_account, check_change, follow,
    invalid, refused,
};

/// A bulk pipeline that can run.
pub(crate) type Transfer = ValidatedPipeline<TransferConfig>;

/// What came out of the resource.
#[derive(Debug, Clone, Default)]
pub(crate) struct Validation {
    /// What runs: the resource's own spec, or the accepted one; none when there is neither.
    pub(crate) pipeline: Option<Transfer>,
    /// Why the resource's own spec does not run.
    pub(crate) rejection: Option<Rejection>,
    /// Whether the service account of what would run does not offer itself any more.
    pub(crate) withheld: bool,
    /// Columns that this edit adds.
    pub(crate) added_columns: Vec<String>,
    /// The ticks of what runs; none without a schedule.
    pub(crate) grid: Option<Grid>,
}

/// What came out last, and of what. Finding out whether a schedule ticks too often takes long enough not
/// to be done each time.
#[derive(Debug, Clone)]
pub(crate) struct Validated {
    generation: Option<i64>,
    references: References,
    validation: Arc<Validation>,
}

/// [`validate`], unless nothing has changed since.
pub(crate) fn validate_once(
    known: &mut Option<Validated>,
    generation: Option<i64>,
    owner: &Owner,
    resource: &Result<IngestionPipeline, Rejection>,
    references: References,
    allow_local: bool,
) -> Arc<Validation> {
    let same = |it: &&Validated| it.generation == generation && it.references == references;
    if let Some(known) = known.as_ref().filter(same) {
        return Arc::clone(&known.validation);
    }
    let validation = Arc::new(validate(owner, resource, &references, allow_local));
    *known = Some(Validated { generation, references, validation: Arc::clone(&validation) });
    validation
}

/// Checks the resource, and falls back to the accepted spec.
pub(crate) fn validate(
    owner: &Owner,
    resource: &Result<IngestionPipeline, Rejection>,
    references: &References,
    allow_local: bool,
) -> Validation {
    let checked = match resource {
        Ok(resource) => check(owner, &resource.spec, references, allow_local),
        Err(rejection) => Err(rejection.clone()),
    };
    match checked {
        Ok((pipeline, added_columns)) => Validation {
            grid: grid(&pipeline),
            pipeline: Some(pipeline),
            added_columns,
            ..Validation::default()
        },
        Err(rejection) => {
            let before = fall_back(owner, resource.as_ref().ok(), references, allow_local);
            let (pipeline, withdrawn) = before.unzip();
            let withdrawn = withdrawn.flatten();
            Validation {
                grid: pipeline.as_ref().and_then(grid),
                pipeline,
                withheld: withdrawn.is_some(),
                rejection: Some(withdrawn.unwrap_or(rejection)),
                added_columns: Vec::new(),
            }
        }
    }
}

/// It could be read when the pipeline was accepted.
fn grid(pipeline: &Transfer) -> Option<Grid> {
    let schedule = pipeline.config.schedule.as_ref()?;
    Grid::new(&schedule.cron, &schedule.time_zone).ok()
}

/// The accepted spec. The service account's consent is asked for again.
fn fall_back(
    owner: &Owner,
    resource: Option<&IngestionPipeline>,
    references: &References,
    allow_local: bool,
) -> Option<(Transfer, Option<Rejection>)> {
    let mut spec = references.accepted.clone()?;
    if let Some(resource) = resource {
        follow(&mut spec, &resource.spec);
    }
    let config = resolved(owner, &spec, references).ok()?;
    check_places(&config, allow_local).ok()?;
    let withdrawn = check_account(&spec, references).err().map(|rejection| Rejection {
        message: format!("{}; no run begins until it does", rejection.message),
        ..rejection
    });
    Some((accept(owner, spec, config), withdrawn))
}

fn check(
    owner: &Owner,
    spec: &IngestionPipelineSpec,
    references: &References,
    allow_local: bool,
) -> Result<(Transfer, Vec<String>), Rejection> {
    check_name(owner)?;
    check_deletion(spec)?;
    let config = resolved(owner, spec, references).map_err(|violations| invalid(&violations))?;
    check_places(&config, allow_local)?;
    check_account(spec, references)?;
    let added = check_change(spec, references)?;
    Ok((accept(owner, spec.clone(), config), added))
}

fn resolved(
    owner: &Owner,
    spec: &IngestionPipelineSpec,
    references: &References,
) -> Result<TransferConfig, Vec<Violation>> {
    let named = |name: &str, spec: &IngestionPipelineSpec| {
        let mut pipeline = IngestionPipeline::new(name, spec.clone());
        pipeline.metadata.namespace = Some(owner.key.namespace.clone());
        pipeline
    };
    let repaired = |name: &str| references.repaired.get(name).map(|spec| named(name, spec));
    let of_streams = || vec![Violation::new(&owner.key.name, "spec.source.type", "is a stream")];
    let pipeline = named(&owner.key.name, spec);
    resolve_among(&pipeline, None, &repaired)?.into_bulk().ok_or_else(of_streams)
}

/// A rule of the definition too, which an older one may lack.
fn check_name(owner: &Owner) -> Result<(), Rejection> {
    let (name, most) = (&owner.key.name, LONGEST_BULK_NAME);
    if name.len() > most || name.contains('.') {
        let problem = format!(
            "metadata.name: the names of its runs are made of it; write at most {most} characters \
             and no dots"
        );
        return Err(refused(Reason::InvalidConfiguration, problem));
    }
    Ok(())
}

/// Nobody would carry it out.
fn check_deletion(spec: &IngestionPipelineSpec) -> Result<(), Rejection> {
    if spec.deletion_policy.data == DeletionAction::Delete {
        let problem = "spec.deletionPolicy.data: the tables of bulk pipelines are not deleted with \
                       them; write Retain";
        return Err(refused(Reason::InvalidConfiguration, problem));
    }
    Ok(())
}

fn check_places(config: &TransferConfig, allow_local: bool) -> Result<(), Rejection> {
    let is_local = |url: &str| url.starts_with("file:") && !allow_local;
    if is_local(&config.sink.url) {
        let problem = "spec.sink.storage.url: a pod's disk does not outlive it; write \
                       s3://bucket/path or abfss://container@account.dfs.core.windows.net/path";
        return Err(refused(Reason::InvalidConfiguration, problem));
    }
    match &config.source {
        BulkSource::ObjectStore(files) if is_local(&files.url) => {
            let problem = "spec.source.objectStore.storage.url: pods have no files of their own; \
                           write s3://bucket/path, gs://bucket/path or \
                           abfss://container@account.dfs.core.windows.net/path";
            Err(refused(Reason::InvalidConfiguration, problem))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::{Value, json};

    use super::*;
    use crate::key::Key;

    fn owner(name: &str) -> Owner {
        Owner { key: Key::new("shop", name), uid: "u".to_owned() }
    }

    /// A pipeline that is valid in a cluster, with `changes` (YAML) merged into its spec.
    pub(crate) fn resource(changes: &str) -> Result<IngestionPipeline, Rejection> {
        let mut object = json!({
            "apiVersion": "tidegate.dev/v1alpha1",
            "kind": "IngestionPipeline",
            "metadata": {"name": "orders", "namespace": "shop", "uid": "u", "generation": 1},
            "spec": {
                "source": {"type": "Postgres", "postgres": {
                    "connection": {"secretRef": {"name": "orders-db"}}, "table": "public.orders",
                }},
                "bulk": {
                    "incremental": {"cursorField": "created_at", "mutability": "Immutable"},
                    "schedule": {"cron": "0 * * * *"},
                },
                "sink": {"storage": {"url": "s3://lake/orders"}},
            },
        });
        let changes: Value = serde_yaml::from_str(changes).expect("YAML");
        if !changes.is_null() {
            merge(&mut object["spec"], &changes);
        }
        let object = serde_json::from_value(object).expect("an object");
        crate::pipeline::read(&object)
    }

    fn merge(into: &mut Value, changes: &Value) {
        match (into, changes) {
            (Value::Object(into), Value::Object(changes)) => {
                for (name, change) in changes {
                    merge(into.entry(name.as_str()).or_insert(Value::Null), change);
                }
                into.retain(|_, value| !value.is_null());
            }
            (into, change) => *into = change.clone(),
        }
    }

    fn validated(changes: &str, references: &References) -> Validation {
        validate(&owner("orders"), &resource(changes), references, false)
    }

    /// What [`validate`] makes of it.
    pub(crate) fn accepted(changes: &str) -> Transfer {
        let validation = validated(changes, &References::default());
        assert_eq!(validation.rejection, None);
        validation.pipeline.expect("it is accepted")
    }

    #[test]
    fn what_cannot_run_in_a_cluster_is_refused_with_its_field() {
        let files = "source: {type: ObjectStore, postgres: null, objectStore: {format: Parquet, \
                     glob: '*.parquet', storage: {url: 'file:///data/in'}}}\n\
                     bulk: {incremental: null}";
        for (changes, reason, place) in [
            ("sink: {storage: {url: 'file:///data'}}", Reason::InvalidConfiguration, "disk"),
            (files, Reason::InvalidConfiguration, "objectStore.storage.url"),
            ("serviceAccountName: lake", Reason::ServiceAccountRefused, "pipeline-use"),
            ("deletionPolicy: {data: Delete}", Reason::InvalidConfiguration, "deletionPolicy"),
            ("bulk: {schedule: {cron: nonsense}}", Reason::InvalidConfiguration, "cron"),
            ("bulk: {schedule: {cron: '* * * * *'}}", Reason::InvalidConfiguration, "cron"),
            ("sink: {writeMode: Overwrite}", Reason::InvalidConfiguration, "writeMode"),
        ] {
            let validation = validated(changes, &References::default());
            let rejection = validation.rejection.expect(changes);
            assert_eq!(rejection.reason, reason, "{changes}: {rejection:?}");
            assert!(rejection.message.contains(place), "{changes}: {rejection:?}");
            assert!(validation.pipeline.is_none(), "nothing was accepted before");
        }
        assert!(
            validate(&owner("orders"), &resource(files), &References::default(), true)
                .pipeline
                .is_some()
        );
    }

    #[test]
    fn b10_a_pipeline_that_repairs_needs_the_one_that_it_repairs() {
        const MEND: &str = "bulk: {schedule: null, repairs: {pipelineRef: {name: clicks}}, \
                            incremental: {cursorField: ts}}";
        let clicks = serde_json::from_value(json!({
            "apiVersion": "tidegate.dev/v1alpha1",
            "kind": "IngestionPipeline",
            "metadata": {"name": "clicks", "namespace": "shop", "uid": "c", "generation": 1},
            "spec": {
                "source": {"type": "JetStream", "jetStream": {
                    "servers": ["nats://nats:4222"], "stream": "CLICKS",
                }},
                "schema": {"fields": [{"name": "ts", "type": "timestamp"}]},
                "sink": {"storage": {"url": "s3://lake/orders"}, "eventTime": {"field": "ts"}},
            },
        }));
        let clicks = crate::pipeline::read(&clicks.expect("an object")).expect("it is valid");
        let missing = validated(MEND, &References::default()).rejection.expect("nobody is there");
        assert!(missing.message.contains("no pipeline \"clicks\""), "{missing:?}");
        let repaired = BTreeMap::from([("clicks".to_owned(), clicks.spec)]);
        let mut references = References { repaired, ..References::default() };
        let validation = validated(MEND, &references);
        assert_eq!(validation.rejection, None);
        let pipeline = validation.pipeline.expect("accepted");
        let repairs = pipeline.config.repairs.expect("it repairs");
        assert_eq!((repairs.ledger.as_str(), repairs.partitions), ("shop.clicks", 1));
        references.accepted = Some(pipeline.spec);
        let dropped = validated("bulk: {incremental: {cursorField: ts}}", &references);
        assert!(dropped.rejection.is_some(), "whom it repairs cannot be changed");
        assert!(dropped.pipeline.is_some_and(|running| running.config.repairs.is_some()));
    }

    #[test]
    fn names_that_runs_cannot_have_are_refused() {
        let of = |length: usize| {
            let owner = owner(&"o".repeat(length));
            validate(&owner, &resource(""), &References::default(), false).pipeline.is_some()
        };
        assert!(of(LONGEST_BULK_NAME) && !of(LONGEST_BULK_NAME + 1));
    }

    #[test]
    fn a_refused_edit_leaves_the_accepted_spec_running_and_may_still_suspend() {
        let accepted = Some(accepted("").spec);
        let references = References { accepted, ..References::default() };
        let bad = "suspend: true\nbulk: {schedule: {cron: '* * * * *'}}";
        let validation = validated(bad, &references);
        let running = validation.pipeline.expect("the accepted one");
        assert!(running.spec.suspend && validation.rejection.is_some());
        assert_eq!(running.config.schedule.map(|it| it.cron).as_deref(), Some("0 * * * *"));
    }

    #[test]
    fn a_service_account_must_offer_itself_to_the_accepted_spec_too() {
        let offered_accounts = BTreeSet::from(["lake".to_owned()]);
        let offered = References { offered_accounts, ..References::default() };
        let good = validated("serviceAccountName: lake", &offered).pipeline.expect("it does");
        let withdrawn = References { accepted: Some(good.spec), ..References::default() };
        let validation = validated("serviceAccountName: lake", &withdrawn);
        assert!(validation.withheld && validation.rejection.is_some());
    }
}
