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

use crate::cluster::Owner;
use crate::validation::{
    Circumstances, References, Rejection, Rules, Transfer, Validation, accept, accepted_before,
    check_account, check_change, check_name, check_table, invalid, refused, withdrawn,
};

/// What came out of the resource, with the ticks of what runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Validated {
    pub(crate) outcome: Validation<TransferConfig>,
    /// None without a schedule.
    pub(crate) grid: Option<Grid>,
}

/// What came out last, and of what. Finding out whether a schedule ticks too often takes long enough not
/// to be done each time.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    generation: Option<i64>,
    references: References,
    validated: Arc<Validated>,
}

/// [`validate`], unless nothing has changed since.
pub(crate) fn validate_once(
    known: &mut Option<Known>,
    generation: Option<i64>,
    resource: &Result<IngestionPipeline, Rejection>,
    circumstances: Circumstances<'_>,
) -> Arc<Validated> {
    let same =
        |it: &&Known| it.generation == generation && it.references == circumstances.references;
    if let Some(known) = known.as_ref().filter(same) {
        return Arc::clone(&known.validated);
    }
    let validated = Arc::new(validate(resource, &circumstances));
    let references = circumstances.references;
    *known = Some(Known { generation, references, validated: Arc::clone(&validated) });
    validated
}

/// Checks the resource, and falls back to the accepted spec.
pub(crate) fn validate(
    resource: &Result<IngestionPipeline, Rejection>,
    circumstances: &Circumstances<'_>,
) -> Validated {
    let outcome = Validation::of(
        resource,
        |resource| check(&resource.spec, circumstances),
        || fall_back(resource, circumstances),
    );
    Validated { grid: outcome.pipeline.as_ref().and_then(grid), outcome }
}

/// It could be read when the pipeline was accepted.
fn grid(pipeline: &Transfer) -> Option<Grid> {
    let schedule = pipeline.config.schedule.as_ref()?;
    Grid::new(&schedule.cron, &schedule.time_zone).ok()
}

/// The accepted spec. The service account's consent is asked for again.
fn fall_back(
    resource: &Result<IngestionPipeline, Rejection>,
    Circumstances { owner, references, rules }: &Circumstances<'_>,
) -> Option<(Transfer, Option<Rejection>)> {
    let spec = accepted_before(references, resource)?;
    let config = resolved(owner, &spec, references).ok()?;
    check_places(&config, *rules).ok()?;
    let withdrawn = withdrawn(&spec, references, "no run begins until it does");
    Some((accept(owner, spec, config), withdrawn))
}

fn check(
    spec: &IngestionPipelineSpec,
    Circumstances { owner, references, rules }: &Circumstances<'_>,
) -> Result<(Transfer, Vec<String>), Rejection> {
    check_name(owner, LONGEST_BULK_NAME, "runs")?;
    check_deletion(spec)?;
    let config = resolved(owner, spec, references).map_err(|violations| invalid(&violations))?;
    check_places(&config, *rules)?;
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

/// Nobody would carry it out.
fn check_deletion(spec: &IngestionPipelineSpec) -> Result<(), Rejection> {
    if spec.deletion_policy.data == DeletionAction::Delete {
        let problem = "spec.deletionPolicy.data: the tables of bulk pipelines are not deleted with \
                       them; write Retain";
        return Err(refused(Reason::InvalidConfiguration, problem));
    }
    Ok(())
}

fn check_places(config: &TransferConfig, rules: Rules) -> Result<(), Rejection> {
    check_table(&config.sink.url, rules)?;
    match &config.source {
        BulkSource::ObjectStore(files) if rules.forbids(&files.url) => {
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

    use serde_json::json;

    use super::*;
    use crate::validation::fixtures::{orders, shop, strict};
    use crate::validation::read;

    fn validated(changes: &str, references: &References) -> Validation<TransferConfig> {
        validate(&orders(changes), &strict(&shop("orders"), references)).outcome
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
        let (owner, references) = (shop("orders"), References::default());
        let rules = Rules { allow_local_tables: true };
        let local = Circumstances { rules, ..strict(&owner, &references) };
        assert!(validate(&orders(files), &local).outcome.pipeline.is_some());
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
        let clicks = read(&clicks.expect("an object")).expect("it is valid");
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
            let (owner, references) = (shop(&"o".repeat(length)), References::default());
            validate(&orders(""), &strict(&owner, &references)).outcome.pipeline.is_some()
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
