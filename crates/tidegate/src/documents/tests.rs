//! From text to resolved pipelines.

use clap::Parser;

use super::files::{check_text, resolve_files};
use super::*;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    changes: ChangeArgs,
}

const PIPELINE: &str = "
apiVersion: tidegate.dev/v1alpha1
kind: IngestionPipeline
metadata: {name: clicks, namespace: web}
spec:
  guarantee: AtLeastOnce
  source: {type: JetStream, jetStream: {stream: CLICKS, subjects: [\"clicks.>\"]}}
  schema: {fields: [{name: id, type: string}]}
  sink: {type: Delta, storage: {url: \"file:./lake\"}}
";

const BULK: &str = "
apiVersion: tidegate.dev/v1alpha1
kind: IngestionPipeline
metadata: {name: orders, namespace: shop}
spec:
  source: {type: Postgres, postgres: {connection: {secretRef: {name: db}}, table: public.orders}}
  bulk:
    schedule: {cron: \"0 * * * *\", startAt: \"2026-01-01T00:00:00Z\", delay: 5m}
    incremental: {cursorField: created_at, mutability: Immutable}
    maxActiveRuns: 3
    runTemplate: {activeDeadlineSeconds: 3600}
  sink: {type: Delta, writeMode: ReplaceInterval, storage: {url: \"file:./lake\"}}
";

fn loaded(text: &str, arguments: &[&str]) -> Result<LoadedFile, Vec<Violation>> {
    let cli = Cli::parse_from([&["tidegate"], arguments].concat());
    let checked = check_text("p.yaml", text, &cli.changes, Path::new("/data"));
    resolve_files(vec![checked]).remove(0)
}

#[test]
fn a_document_is_changed_before_it_is_checked() {
    let set = ["--set", "sink.flush.maxInterval=7s", "--set", "suspend=true"];
    let file = loaded(PIPELINE, &set).expect("a valid pipeline");
    let [pipeline] = &file.pipelines.streams[..] else { panic!("one pipeline: {file:?}") };
    assert!(pipeline.suspended);
    assert_eq!(pipeline.config.sink.flush.max_interval.to_string(), "7s");
    let url = &pipeline.config.sink.url;
    assert!(url.starts_with("file:///") && url.ends_with("/lake"), "{url}");
}

#[test]
fn a_misspelt_assignment_is_a_violation_like_any_other() {
    let found = loaded(PIPELINE, &["--set", "sink.flush.maxIntervall=7s"]).expect_err("typo");
    let text = refusal(&found).to_string();
    assert!(text.contains("p.yaml: clicks: spec.sink.flush.maxIntervall"), "{text}");
    assert!(text.contains("did you mean maxInterval?"), "{text}");
    let found = loaded(PIPELINE, &["--set", "suspend.x=1", "--set", "suspend.x.y=1"]);
    let text = refusal(&found.expect_err("no container")).to_string();
    assert!(text.contains("spec.suspend.x is a number"), "{text}");
}

#[test]
fn the_local_profile_needs_no_cluster_and_can_be_overridden() {
    let set = ["--profile", "local", "--set", "source.jetStream.servers=['nats://h:1']"];
    let file = loaded(PIPELINE, &set).expect("a valid pipeline");
    let config = &file.pipelines.streams[0].config;
    assert_eq!(config.sink.url, "file:///data/tables/clicks");
    assert_eq!(config.source.servers, ["nats://h:1"]);
}

#[test]
fn what_only_a_cluster_heeds_is_named_when_it_says_something() {
    let ignored = |arguments: &[&str]| {
        let mut file = loaded(PIPELINE, arguments).expect("a valid pipeline");
        file.pipelines.streams.remove(0).ignored
    };
    assert_eq!(ignored(&[]), Vec::<&str>::new());
    let defaults = ["--set", "replicas=1", "--set", "scaling.mode=Lag"];
    assert_eq!(ignored(&defaults), Vec::<&str>::new());
    for (set, field) in [
        ("replicas=2", "replicas"),
        ("scaling.mode=Fixed", "scaling"),
        ("template.labels={team: lake}", "template"),
        ("serviceAccountName=writer", "serviceAccountName"),
        ("deletionPolicy.stream=Delete", "deletionPolicy"),
    ] {
        assert_eq!(ignored(&["--set", set]), [field]);
    }
}

#[test]
fn documents_of_other_kinds_are_left_alone() {
    let other = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: c}\n---\n";
    let file = loaded(&format!("{other}{PIPELINE}"), &["--set", "suspend=true"]);
    let file = file.expect("a valid pipeline");
    assert_eq!((file.pipelines.streams.len(), file.notes.len()), (1, 1));
}

#[test]
fn a_bulk_pipeline_comes_with_how_its_runs_are_made() {
    let file = loaded(&format!("{PIPELINE}---{BULK}"), &[]).expect("valid pipelines");
    assert_eq!(file.pipelines.streams.len(), 1);
    let [bulk] = &file.pipelines.bulk[..] else { panic!("one bulk pipeline: {file:?}") };
    assert_eq!(bulk.config.name, "shop/orders");
    assert_eq!(bulk.policy.max_active, 3);
    assert_eq!(bulk.policy.delay.as_secs(), 300);
    let start = bulk.policy.start_at.expect("it is given").to_string();
    assert_eq!(start, "2026-01-01T00:00:00Z");
    assert_eq!(bulk.ignored, ["bulk.runTemplate.activeDeadlineSeconds"]);
}

#[test]
fn pipelines_are_chosen_by_name_with_or_without_their_namespace() {
    let chosen = |names: &[&str]| {
        let file = loaded(&format!("{PIPELINE}---{BULK}"), &[]).expect("valid pipelines");
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let chosen = file.pipelines.choose(&names);
        chosen.map(|it| it.ledgers().map(|(_, name)| name.to_owned()).collect::<Vec<_>>())
    };
    for (names, wanted) in [
        (&[][..], &["web/clicks", "shop/orders"][..]),
        (&["orders"], &["shop/orders"]),
        (&["web/clicks"], &["web/clicks"]),
        (&["orders", "clicks"], &["web/clicks", "shop/orders"]),
    ] {
        assert_eq!(chosen(names).expect("they are there"), wanted, "{names:?}");
    }
    let nope = chosen(&["orders", "nope"]).expect_err("one is not").to_string();
    assert!(nope.contains("no pipeline \"nope\""), "{nope}");
    assert!(nope.ends_with("with --pipeline: web/clicks, shop/orders"), "{nope}");
}

#[test]
fn a_run_is_checked_for_its_shape_and_named() {
    const RUN: &str = "
apiVersion: tidegate.dev/v1alpha1
kind: IngestionRun
metadata: {generateName: orders-, namespace: shop}
spec: {pipelineRef: {name: orders}, trigger: Manual}
";
    let file = loaded(&format!("{BULK}---{RUN}"), &[]).expect("valid");
    assert_eq!((file.pipelines.bulk.len(), file.runs), (1, vec!["shop/orders-…".to_owned()]));
    let found = loaded(&RUN.replace("Manual", "Backfill"), &[]).expect_err("of nothing");
    assert!(refusal(&found).to_string().contains("range"), "{found:?}");
}

#[test]
fn the_local_profile_moves_the_table_of_a_bulk_pipeline_and_leaves_its_source() {
    let file = loaded(BULK, &["--profile", "local"]).expect("a valid pipeline");
    let config = &file.pipelines.bulk[0].config;
    assert_eq!(config.sink.url, "file:///data/tables/orders");
    assert!(matches!(config.source, tidegate_config::BulkSource::Postgres(_)));
}

const REPAIR: &str = "
apiVersion: tidegate.dev/v1alpha1
kind: IngestionPipeline
metadata: {name: mend, namespace: web}
spec:
  source: {type: Postgres, postgres: {connection: {secretRef: {name: db}}, table: public.clicks}}
  bulk:
    repairs: {pipelineRef: {name: clicks}}
    incremental: {cursorField: ts, mutability: Immutable}
  sink: {type: Delta, storage: {url: \"file:./lake\"}}
";

#[test]
fn b10_a_pipeline_that_repairs_finds_the_other_one_in_any_of_the_files() {
    let timed = PIPELINE
        .replace("type: string}]", "type: string}, {name: ts, type: timestamp}]")
        .replace("sink: {", "sink: {eventTime: {field: ts}, ");
    for profile in [[].as_slice(), &["--profile", "local"]] {
        let cli = Cli::parse_from([&["tidegate"], profile].concat());
        let check =
            |file: &str, text: &str| check_text(file, text, &cli.changes, Path::new("/data"));
        let files = vec![check("mend.yaml", REPAIR), check("clicks.yaml", &timed)];
        let mend = resolve_files(files).remove(0).expect("both are valid").pipelines.bulk.remove(0);
        let repairs = mend.config.repairs.expect("it repairs");
        assert_eq!(
            (repairs.pipeline.as_str(), repairs.ledger.as_str()),
            ("web/clicks", "web.clicks")
        );
        let alone = resolve_files(vec![check("mend.yaml", REPAIR)]).remove(0);
        let text = refusal(&alone.expect_err("nobody is repaired")).to_string();
        assert!(text.contains("mend.yaml: mend: spec.bulk.repairs"), "{text}");
        assert!(text.contains("another -f"), "{text}");
    }
}

#[test]
fn two_pipelines_with_one_ledger_are_refused() {
    let mut pipelines = loaded(PIPELINE, &[]).expect("a valid pipeline").pipelines;
    assert!(refuse_shared_ledgers(&pipelines).is_ok());
    let mut other = pipelines.streams[0].clone();
    other.config.name = "web/other".to_owned();
    pipelines.streams.push(other);
    let text = refuse_shared_ledgers(&pipelines).expect_err("one ledger").to_string();
    assert!(text.contains("web/clicks and web/other have the same ledger"), "{text}");
}
