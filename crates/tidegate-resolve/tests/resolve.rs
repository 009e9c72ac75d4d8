//! Resolution: the defaults, and what fields must be to each other.

use std::path::Path;

use tidegate_api::{IngestionPipeline, parse};
use tidegate_config::{
    AddressingStyle, Partitioning, PathFacts, PipelineConfig, Retention, Severity, StartFrom,
    assess, lint,
};
use tidegate_resolve::resolve_in;
use tidegate_types::{
    ByteSize, DedupKey, DuplicateWindow, Guarantee, KeyPrecision, MissingKeyPolicy, Span,
};

const SMALLEST: &str = r#"
apiVersion: tidegate.dev/v1alpha1
kind: IngestionPipeline
metadata: {name: clicks}
spec:
  source: {type: JetStream, jetStream: {stream: CLICKS}}
  schema: {fields: [{name: id, type: string}, {name: ts, type: timestamp}, {name: n, type: double}]}
  sink: {storage: {url: "file:./clicks"}}
"#;

fn pipeline(text: &str) -> IngestionPipeline {
    let pipelines = parse("f.yaml", text).unwrap_or_else(|faults| panic!("{faults:#?}"));
    pipelines.into_iter().next().expect("one document")
}

fn resolved(text: &str) -> PipelineConfig {
    let resolved = resolve_in(&pipeline(text), Some(Path::new("/home/me")));
    let resolved = resolved.unwrap_or_else(|faults| panic!("{faults:#?}"));
    resolved.into_stream().expect("it is a stream")
}

fn refused(text: &str) -> Vec<String> {
    match resolve_in(&pipeline(text), Some(Path::new("/home/me"))) {
        Ok(config) => panic!("{config:#?}"),
        Err(violations) => violations.iter().map(ToString::to_string).collect(),
    }
}

/// The smallest document with one text replaced.
fn with(from: &str, to: &str) -> String {
    assert!(SMALLEST.contains(from), "{from}");
    SMALLEST.replacen(from, to, 1)
}

/// The smallest document with more lines under `spec`.
fn and(lines: &str) -> String {
    format!("{SMALLEST}{lines}\n")
}

#[test]
fn the_smallest_document_resolves_with_every_default() {
    let config = resolved(SMALLEST);
    assert_eq!(config.name, "default/clicks");
    assert_eq!(config.ledger.as_str(), "default.clicks");
    assert_eq!(config.guarantee, Guarantee::ExactlyOnce);
    assert_eq!(config.source.servers, Vec::<String>::new());
    assert_eq!(config.source.partitioning, Partitioning::None);
    assert_eq!(config.source.duplicate_window, Span::seconds(120));
    let unlimited = Retention { max_bytes: None, max_age: None, replicas: 1 };
    assert_eq!(config.source.retention, unlimited);
    assert_eq!(config.source.start_from, StartFrom::All);
    assert_eq!((config.decode.max_bytes, config.decode.max_depth), (ByteSize::mib(1), 64));
    assert_eq!(config.sink.url, "file:///home/me/clicks");
    assert_eq!(config.sink.file.target_size, ByteSize::mib(256));
    assert_eq!(config.sink.file.max_open_partitions, 64);
    assert_eq!(config.sink.flush.max_interval, Span::seconds(60));
    assert_eq!(config.sink.flush.max_rows, 2_000_000);
    assert_eq!(config.sink.flush.idle_after, Span::seconds(20));
    assert_eq!(config.sink.s3.addressing_style, AddressingStyle::Virtual);
    assert_eq!(config.dead_letter.breaker, None);
    let hour_by_header = DuplicateWindow {
        key: DedupKey::Header("Nats-Msg-Id".into()),
        window: Span::seconds(3_600),
        keys: KeyPrecision::Exact,
        on_missing_key: MissingKeyPolicy::Accept,
    };
    assert_eq!(config.dedup, Some(hour_by_header));
}

#[test]
fn the_smallest_document_meets_its_guarantee_and_passes_the_lint() {
    let config = resolved(SMALLEST);
    assert!(assess(&config, &PathFacts::default()).is_met());
    assert!(lint(&config).iter().all(|finding| finding.severity < Severity::Error));
}

#[test]
fn weaker_guarantees_compare_no_ids_unless_told_to() {
    for guarantee in ["AtLeastOnce", "AtMostOnce"] {
        assert_eq!(resolved(&and(&format!("  guarantee: {guarantee}"))).dedup, None);
    }
    let told = resolved(&and("  guarantee: AtLeastOnce\n  dedup: {}"));
    assert_eq!(told.dedup.map(|window| window.window), Some(Span::seconds(3_600)));
}

#[test]
fn the_namespace_is_part_of_name_and_ledger_and_a_written_ledger_stands() {
    let config = resolved(&with("{name: clicks}", "{name: clicks, namespace: web}"));
    assert_eq!((config.name.as_str(), config.ledger.as_str()), ("web/clicks", "web.clicks"));
    assert_eq!(resolved(&and("  ledger: mine")).ledger.as_str(), "mine");
    let mut long = pipeline(SMALLEST);
    long.metadata.namespace = Some("c".repeat(200));
    let found = resolve_in(&long, Some(Path::new("/home/me"))).expect_err("too long");
    assert!(found[0].to_string().contains("spec.ledger: the default is no ledger name"));
}

#[test]
fn a_start_in_time_is_read() {
    let text = with(
        "{stream: CLICKS}",
        "{stream: CLICKS, startFrom: {type: Time, time: \"2026-01-01T02:00:00+01:00\"}}",
    );
    let config = resolved(&text);
    assert_eq!(config.source.start_from, StartFrom::Time(1_767_229_200_000_000));
}

#[test]
fn a_relative_address_needs_a_directory() {
    let faults = resolve_in(&pipeline(SMALLEST), None).expect_err("relative");
    assert!(faults[0].to_string().contains("spec.sink.storage.url"), "{faults:?}");
}

#[test]
fn fields_that_do_not_fit_each_other_are_refused_with_a_remedy() {
    let stream = |rest: &str| with("{stream: CLICKS}", &format!("{{stream: CLICKS, {rest}}}"));
    let sink = |rest: &str| {
        with(
            "sink: {storage: {url: \"file:./clicks\"}}",
            &format!("sink: {{storage: {{url: \"file:./clicks\"}}, {rest}}}"),
        )
    };
    let field = |rest: &str| with("{name: id, type: string}", rest);
    let table = [
        (
            and("  dedup: {key: {type: Field, field: idd}}"),
            "spec.dedup.key.field: there is no column \"idd\" in spec.schema.fields; did you mean id?",
        ),
        (and("  dedup: {key: {type: Field, field: n}}"), "n has the type double"),
        (and("  dedup: {window: 0s}"), "spec.dedup.window: is zero"),
        (and("  decode: {limits: {maxBytes: 65Mi}}"), "65Mi is out of range; write 1 to 64Mi"),
        (
            and("  deadLetter: {breaker: {maxPercent: 5, over: 0s}}"),
            "spec.deadLetter.breaker.over: is zero",
        ),
        (
            sink(
                "partitionBy: [{field: ts, transform: Identity}, {field: ts, transform: Identity}]",
            ),
            "partitionBy[1]: is the same column as partitionBy[0]",
        ),
        (
            sink("partitionBy: [{field: id, transform: Day}]"),
            "partitionBy[0].transform: does not fit id of type string; Day and Month want",
        ),
        (sink("partitionBy: [{field: id, transform: Hour}]"), "Hour wants a timestamp"),
        (sink("partitionBy: [{field: n, transform: Identity}]"), "Identity wants a plain type"),
        (
            sink("partitionBy: [{field: n, transform: Bucket, buckets: 4}]"),
            "Bucket wants a plain type",
        ),
        (sink("partitionBy: [{field: day, transform: Day}]"), "there is no column \"day\""),
        (
            sink("eventTime: {field: id}"),
            "eventTime.field: id has the type string; name a column of type timestamp or date",
        ),
        (sink("flush: {maxInterval: 0s}"), "spec.sink.flush.maxInterval: is zero"),
        (sink("file: {targetSize: \"0\"}"), "spec.sink.file.targetSize: is zero"),
        (field("{name: id, type: strng}"), "spec.schema.fields[0].type"),
        (field("{name: id, type: strng}"), "did you mean string?"),
        (field("{name: _tg_seq, type: long}"), "fields[0].name: \"_tg_seq\" begins with _tg_"),
        (field("{name: TS, type: long}"), "fields[1].name: \"ts\" and \"TS\" are one column"),
        (
            stream("subjects: [\"a..b\"]").replace("a..b", "a.b>"),
            "subjects[0]: \"a.b>\" is no subject",
        ),
        (stream("subjects: [\"a.>.b\"]"), "is no subject"),
        (
            stream("partitioning: {type: Declared, partitions: 2, subjectPattern: \"a.>\"}"),
            "does not have {partition} exactly once",
        ),
        (stream("duplicateWindow: 0s"), "jetStream.duplicateWindow: is zero"),
        (
            stream("startFrom: {type: Time, time: \"2026-01-01T00:00:00\"}")
                .replace("T00:00:00\"", "T00:00:00.000\""),
            "startFrom.time: \"2026-01-01T00:00:00.000\" is no instant",
        ),
        (with("file:./clicks", "file://host/clicks"), "file://host/clicks names a host"),
        (with("file:./clicks", "file:///"), "is the root of the file system"),
    ];
    for (text, says) in table {
        let found = refused(&text);
        assert!(found.iter().any(|line| line.contains(says)), "{says}\n{found:#?}");
    }
}

#[test]
fn a_key_that_leaves_the_files_is_refused() {
    let text = format!(
        "{}  dedup: {{key: {{type: Field, field: id}}}}\n",
        with("sink: {storage", "sink: {partitionBy: [{field: id, transform: Identity}], storage")
    );
    assert!(refused(&text)[0].contains("is an Identity partition column"));
    let bucket = text.replace("transform: Identity", "transform: Bucket, buckets: 4");
    assert_eq!(resolved(&bucket).sink.partition_by[0].column_name(), "id_bucket");
}

#[test]
fn a_partition_column_must_not_hide_a_declared_one() {
    let text = with("{name: id, type: string}", "{name: TS_day, type: string}")
        .replace("sink: {storage", "sink: {partitionBy: [{field: ts, transform: Day}], storage");
    assert!(refused(&text)[0].contains("makes the column ts_day, which is declared already"));
}

#[test]
fn all_faults_come_at_once() {
    let text = with("type: timestamp", "type: instant")
        .replace("{stream: CLICKS}", "{stream: CLICKS, duplicateWindow: 0s}")
        .replace("file:./clicks", "file://host/clicks");
    assert_eq!(refused(&text).len(), 3);
}
