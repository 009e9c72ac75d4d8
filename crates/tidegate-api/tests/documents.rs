//! Files: what is accepted, and what is said about what is not.

mod common;

use common::{BULK, FULL, REPAIR, set};
use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_api::{KUBERNETES_FIELDS, check, parse, read, schema};
use tidegate_types::{ByteSize, Guarantee, Span};

/// The smallest document that is a pipeline.
fn minimal() -> Value {
    json!({
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "IngestionPipeline",
        "metadata": {"name": "clicks"},
        "spec": {
            "source": {"type": "JetStream", "jetStream": {"stream": "CLICKS"}},
            "schema": {"fields": [{"name": "id", "type": "string"}]},
            "sink": {"storage": {"url": "s3://lake/clicks"}},
        },
    })
}

fn violations(document: &Value) -> Vec<String> {
    match check("f.yaml", vec![document.clone()]) {
        Ok(_) => Vec::new(),
        Err(violations) => violations.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn a_document_with_every_field_is_accepted() {
    let pipelines = parse("f.yaml", FULL).unwrap_or_else(|faults| panic!("{faults:#?}"));
    assert_eq!(pipelines.len(), 1);
    assert_eq!(pipelines[0].metadata.namespace.as_deref(), Some("analytics"));
    assert_eq!(pipelines[0].spec.sink.file.target_size, ByteSize::mib(256));
}

#[test]
fn the_full_documents_leave_no_field_out() {
    fn unused(schema: &Value, value: &Value, path: &str, missing: &mut Vec<String>) {
        for (name, child) in schema["properties"].as_object().into_iter().flatten() {
            match value.get(name) {
                Some(value) => unused(child, value, &format!("{path}.{name}"), missing),
                None => missing.push(format!("{path}.{name}")),
            }
        }
        if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
            let merged = values.iter().fold(json!({}), |mut all, value| {
                for (name, value) in value.as_object().into_iter().flatten() {
                    all[name] = value.clone();
                }
                all
            });
            unused(items, &merged, &format!("{path}[]"), missing);
        }
    }
    let missing_in = |text: &str| {
        assert!(parse("f.yaml", text).is_ok());
        let mut missing = Vec::new();
        let document = &read("f.yaml", text).expect("it is YAML")[0];
        unused(&schema()["properties"]["spec"], &document["spec"], "", &mut missing);
        missing
    };
    let example = include_str!("../../../examples/cluster.yaml");
    for (text, bulk) in [(FULL, true), (example, false)] {
        let mut missing = missing_in(text);
        for one in BULK.iter().chain([&REPAIR]).filter(|_| bulk) {
            let others = missing_in(one);
            missing.retain(|path| others.iter().any(|other| path.starts_with(other.as_str())));
        }
        if !bulk {
            // The stores of other clouds, too.
            let only = [
                "bulk",
                "source.postgres",
                "source.mysql",
                "source.objectStore",
                "sink.writeMode",
                "sink.storage.endpoint",
            ];
            missing.retain(|path| !only.iter().any(|place| path == &format!(".{place}")));
        }
        // What a pod may have in these fields is Kubernetes' business.
        let theirs = KUBERNETES_FIELDS.map(|field| format!(".template.{field}"));
        missing.retain(|path| !theirs.iter().any(|field| path.starts_with(field) && path != field));
        // Other members of unions whose one member is used.
        let others =
            ["key.field", "partitioning.subjectPattern", "startFrom.sequence", "mysql.query"];
        missing.retain(|path| !others.iter().any(|other| path.ends_with(other)));
        assert_eq!(missing, Vec::<String>::new());
    }
}

#[test]
fn the_smallest_document_has_the_defaults() {
    let pipeline = check("f.yaml", vec![minimal()]).expect("accepted").pipelines.remove(0);
    assert_eq!(pipeline.spec.guarantee, Guarantee::ExactlyOnce);
    assert_eq!(pipeline.spec.sink.flush.max_interval, Span::seconds(60));
    assert_eq!(pipeline.spec.decode.limits.max_depth, 64);
    assert!(!pipeline.spec.suspend);
}

/// The API server fills in the definition's defaults, a laptop those of the types.
#[test]
fn a_cluster_and_a_laptop_fill_in_the_same_defaults() {
    for extra in [
        ("spec.source.jetStream.startFrom", json!({})),
        ("spec.source.jetStream.tls", json!({"caRef": {"name": "ca"}})),
        ("spec.dedup", json!({})),
        ("spec.sink.eventTime", json!({"field": "id"})),
        ("spec.sink.storage.s3", json!({})),
        ("spec.deadLetter", json!({"breaker": {"maxPercent": 5}})),
        ("spec.scaling", json!({"minReplicas": 1})),
        ("spec.template", json!({"resources": {"requests": {"cpu": "1"}}})),
        ("spec.deletionPolicy", json!({})),
    ] {
        let mut document = minimal();
        set(&mut document, extra.0, extra.1);
        // Once for each level: this evaluator does not reach into maps that are defaults themselves.
        let by_cluster = (0..8)
            .fold(document.clone(), |document, _| kube_cel::apply_defaults(schema(), &document));
        let pipeline = check("f.yaml", vec![document]).expect("accepted").pipelines.remove(0);
        let by_laptop = serde_json::to_value(pipeline).expect("plain");
        assert_eq!(by_cluster["spec"], by_laptop["spec"], "{}", extra.0);
    }
}

#[test]
fn faults_name_field_problem_and_remedy() {
    let table: [(&str, Value, &str); 53] = [
        (
            "spec.sink.flush.maxRow",
            json!(5),
            "spec.sink.flush.maxRow: is no known field; did you mean maxRows?",
        ),
        ("spec.flush", json!({}), "spec.flush: is no known field; it belongs at spec.sink.flush"),
        ("spec.sink.zzz", json!(1), "known here: delta, eventTime, file"),
        ("spce", json!({}), "spce: is no known field; did you mean spec?"),
        ("spec.guarantee", json!("exactlyonce"), "did you mean ExactlyOnce?"),
        ("spec.guarantee", json!("Maybe"), "write one of AtMostOnce, AtLeastOnce, ExactlyOnce"),
        ("spec.decode.format", json!("Parquet"), "\"Parquet\" is no known value; write JSON"),
        (
            "spec.sink.flush.maxRows",
            json!("5"),
            "is text, wanted is a whole number; write digits without quotes",
        ),
        ("spec.sink.flush.maxRows", json!(0), "0 is out of range; write 1 to 1000000000"),
        ("spec.sink.flush.maxRows", json!(1.5), "is a number, wanted is a whole number"),
        (
            "spec.sink.flush.maxInterval",
            json!(60),
            "is a number, wanted is text; write \"60\" in quotes",
        ),
        (
            "spec.sink.flush.maxInterval",
            json!("1d"),
            "'1d' is not a duration; write numbers with h, m, s or ms",
        ),
        (
            "spec.sink.file.targetSize",
            json!("256MB"),
            "'256MB' is not a size; write a whole number of bytes in quotes",
        ),
        ("spec.suspend", json!("yes"), "is text, wanted is true or false"),
        (
            "spec.dedup",
            Value::String(String::new()),
            "is text, wanted is a map; write a map with key",
        ),
        (
            "spec.source.jetStream.startFrom",
            json!("New"),
            "is text, wanted is a map; write {type: All}",
        ),
        (
            "spec.source.jetStream.subjects",
            json!("clicks.>"),
            "is text, wanted is a list; write [clicks.>]",
        ),
        ("spec.source.jetStream.subjects", json!([]), "has 0 entries, fewer than 1"),
        (
            "spec.source.jetStream.subjects",
            json!(["a", "a"]),
            "subjects[1]: a stands twice; remove one",
        ),
        (
            "spec.source.jetStream.servers",
            json!(["nats://me:secret@host"]),
            "is not the address of a NATS server",
        ),
        ("spec.source.jetStream.stream", json!("CLICKS.A"), "is not a stream name"),
        ("spec.source.jetStream", Value::Null, "needs the member jetStream"),
        ("spec.source.jetStream.retention", json!({"maxAge": "72h"}), "retention has no effect"),
        (
            "spec.source.jetStream.partitioning",
            json!({"type": "Subject", "partitions": 8}),
            "partitioning: partitioning Subject needs subjects",
        ),
        (
            "spec.source.jetStream.partitioning",
            json!({"type": "Declared", "partitions": 8}),
            "subjectPattern goes with",
        ),
        (
            "spec.source.jetStream.partitioning",
            json!({"partitions": 8}),
            "partitioning.partitions: partitioning None",
        ),
        (
            "spec.source.jetStream.startFrom",
            json!({"type": "Sequence"}),
            "sequence goes with startFrom",
        ),
        (
            "spec.dedup",
            json!({"key": {"type": "Field", "header": "X"}}),
            "field goes with dedup key type Field",
        ),
        (
            "spec.sink.storage.url",
            json!("gs://lake/x"),
            "'gs://lake/x' is not the address of a table",
        ),
        (
            "spec.sink.storage",
            json!({"url": "file:///data/x", "s3": {}}),
            "s3 has no effect on a table",
        ),
        (
            "spec.sink.storage.endpoint",
            json!("http://store:9000"),
            "endpoint goes with abfss:// addresses only",
        ),
        (
            "spec.sink.partitionBy",
            json!([{"field": "id", "transform": "Bucket"}]),
            "partitionBy[0]: buckets goes with",
        ),
        (
            "spec.schema.fields",
            json!([{"name": "a b", "type": "long"}]),
            "fields[0].name: 'a b' is not a column name",
        ),
        ("spec.ledger", json!("Analytics"), "'Analytics' is not a ledger name"),
        (
            "spec.deletionPolicy",
            json!({"stream": "Delete"}),
            "deletionPolicy.stream: only a stream that Tidegate keeps can be deleted",
        ),
        (
            "spec.scaling",
            json!({"minReplicas": 3, "maxReplicas": 2}),
            "scaling.minReplicas: minReplicas is above maxReplicas",
        ),
        ("spec.scaling", json!({"mode": "lag"}), "did you mean Lag?"),
        ("spec.replicas", json!(257), "257 is out of range; write 0 to 256"),
        ("spec.template.image", json!("x"), "template.image: is no known field; known here: "),
        (
            "spec.template.labels",
            json!({"tidegate.dev/pipeline": "x"}),
            "template.labels: labels that begin with tidegate.dev/",
        ),
        (
            "spec.template.labels",
            json!({"app.kubernetes.io/name": "x"}),
            "template.labels: labels that begin with tidegate.dev/",
        ),
        ("spec.template.labels", json!({"team": "my team"}), "'my team' is not the value of a"),
        ("spec.template.labels", json!({"my team": "x"}), "labels: a key is not one that Kube"),
        ("spec.template.nodeSelector", json!({"a/b/c": "x"}), "nodeSelector: a key is not one"),
        ("spec.template.labels", json!({"team": 7}), "labels.team: is a number, wanted is text"),
        (
            "spec.template.annotations",
            json!({"tidegate.dev/x": ""}),
            "annotations that begin with tidegate.dev/",
        ),
        (
            "spec.template.annotations",
            json!({"container.apparmor.security.beta.kubernetes.io/tidegate": "unconfined"}),
            "the pods' security is the operator's; remove the annotation",
        ),
        (
            "spec.template.nodeSelector",
            (0..33).map(|n| (format!("a{n}"), json!("x"))).collect(),
            "nodeSelector: has 33 entries, more than 32",
        ),
        (
            "spec.template.resources",
            json!({"limits": {"memory": "1 GB"}}),
            "limits.memory: '1 GB' is not a quantity; write a number with its unit",
        ),
        (
            "spec.template.resources",
            json!({"requests": {"cpu": 0.5}}),
            "requests.cpu: is a number, wanted is a quantity; write \"0.5\" in quotes",
        ),
        ("spec.template.resources", json!({"claims": []}), "claims: is no known field"),
        (
            "spec.template.affinity",
            json!({"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "zone", "namespaces": ["other"]},
            ]}}),
            "namespaces: is no known field",
        ),
        ("spec.template.tolerations", json!([{"key": 1}]), "tolerations[0].key: is a number"),
    ];
    for (path, value, says) in table {
        let mut document = minimal();
        set(&mut document, path, value);
        let found = violations(&document);
        assert!(found.iter().any(|line| line.contains(says)), "{path}: {says}\n{found:#?}");
        assert!(found.iter().all(|line| line.starts_with("f.yaml: clicks: ")), "{found:#?}");
    }
}

#[test]
fn a_required_field_that_is_missing_is_named() {
    for (path, says) in [
        ("spec.sink.storage.url", "spec.sink.storage.url: is missing; write url"),
        ("spec.source.type", "spec.source.type: is missing; write type: JetStream"),
        (
            "spec.schema",
            "spec.schema: a stream does not say which columns its messages have; write",
        ),
        ("metadata.name", "metadata.name: is missing"),
    ] {
        let mut document = minimal();
        set(&mut document, path, Value::Null);
        let found = violations(&document);
        assert!(found.iter().any(|line| line.contains(says)), "{path}: {found:#?}");
    }
}

#[test]
fn a_name_is_one_that_the_objects_of_the_pipeline_can_carry() {
    let says = |name: &str| {
        let mut document = minimal();
        set(&mut document, "metadata.name", json!(name));
        violations(&document).join("; ")
    };
    assert_eq!(says("clicks-2"), "");
    assert_eq!(says(&"a".repeat(45)), "");
    let longer = "a".repeat(46);
    assert!(
        says(&longer).contains("metadata.name: the name is longer than 45"),
        "{}",
        says(&longer)
    );
    for name in ["2clicks", "clicks.web", "Clicks", "clicks-", ""] {
        let found = says(name);
        assert!(found.contains("metadata.name: the name is not one that a Service"), "{found}");
    }
}

#[test]
fn a_shared_table_is_not_deleted() {
    let mut document = minimal();
    set(&mut document, "spec.deletionPolicy", json!({"data": "Delete"}));
    assert_eq!(violations(&document), Vec::<String>::new());
    set(&mut document, "spec.sink.delta", json!({"shared": true}));
    let found = violations(&document);
    assert!(found[0].contains("spec.deletionPolicy.data: deleting a shared table"), "{found:?}");
}

/// The scale subresource writes `replicas` whatever the mode is.
#[test]
fn replicas_may_stand_beside_every_scaling_mode() {
    for mode in ["Lag", "Fixed", "External"] {
        let mut document = minimal();
        set(&mut document, "spec.replicas", json!(7));
        set(&mut document, "spec.scaling", json!({"mode": mode}));
        assert_eq!(violations(&document), Vec::<String>::new(), "{mode}");
    }
}

#[test]
fn quantities_are_numbers_or_texts() {
    let mut document = minimal();
    let resources = json!({"requests": {"cpu": 2, "memory": "512Mi"}, "limits": {"cpu": "1.5e3m"}});
    set(&mut document, "spec.template.resources", resources);
    assert_eq!(violations(&document)[0].matches("limits.cpu").count(), 1, "two units");
    set(&mut document, "spec.template.resources.limits", json!({"cpu": "1500m"}));
    let pipeline = check("f.yaml", vec![document]).expect("accepted").pipelines.remove(0);
    let resources = pipeline.spec.template.resources.expect("written");
    assert_eq!(resources.requests.expect("written")["cpu"].0, "2");
}

/// What the operator wrote does not make a document from a cluster unfit.
#[test]
fn a_document_with_a_status_is_accepted() {
    let mut document = minimal();
    let condition = json!({
        "type": "Ready", "status": "True", "reason": "Ok", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1,
    });
    let lag = json!({"messages": 3, "seconds": 1});
    set(&mut document, "status", json!({"conditions": [condition], "lag": lag, "replicas": 1}));
    assert_eq!(violations(&document), Vec::<String>::new());
}

#[test]
fn at_most_once_with_dedup_is_refused() {
    let mut document = minimal();
    set(&mut document, "spec.guarantee", json!("AtMostOnce"));
    assert_eq!(violations(&document), Vec::<String>::new());
    set(&mut document, "spec.dedup", json!({}));
    assert!(violations(&document)[0].contains("spec.dedup: dedup has no effect"));
}

#[test]
fn short_words_are_names_and_not_booleans() {
    let text = FULL.replace("{name: geo,", "{name: n,");
    let pipeline = parse("f.yaml", &text).unwrap_or_else(|faults| panic!("{faults:#?}")).remove(0);
    assert_eq!(pipeline.spec.schema.fields[2].name, "n");
    let found = parse("f.yaml", &FULL.replace("suspend: false", "suspend: no")).expect_err("text");
    assert_eq!(found[0].field, "spec.suspend");
}

#[test]
fn a_column_that_stands_twice_is_refused() {
    let mut document = minimal();
    let fields = json!([{"name": "a", "type": "long"}, {"name": "a", "type": "long"}]);
    set(&mut document, "spec.schema.fields", fields);
    assert_eq!(violations(&document).len(), 1);
    assert!(violations(&document)[0].contains("fields[1]: a stands twice"));
}

#[test]
fn all_faults_of_all_documents_are_reported_at_once() {
    let mut first = minimal();
    set(&mut first, "spec.suspended", json!(true));
    set(&mut first, "spec.sink.flush.maxRow", json!(1));
    let mut second = minimal();
    set(&mut second, "metadata", json!({"name": "orders"}));
    set(&mut second, "spec.guarantee", json!("Once"));
    let found = check("f.yaml", vec![first, second]).expect_err("three faults");
    let documents: Vec<_> = found.iter().map(|violation| violation.document.as_str()).collect();
    assert_eq!(documents, ["clicks", "clicks", "orders"]);
}

#[test]
fn other_kinds_are_left_alone_with_a_note_and_slips_in_ours_are_not() {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s3"}});
    let documents = check("f.yaml", vec![secret, minimal()]).expect("accepted");
    assert_eq!(documents.pipelines.len(), 1);
    assert_eq!(documents.notes, ["f.yaml: s3: kind Secret is left alone"]);

    for (path, value, says) in [
        ("kind", json!("IngestionPipelin"), "did you mean IngestionPipeline?"),
        ("kind", json!("Ingest"), "write IngestionPipeline"),
        ("apiVersion", json!("tidegate.dev/v1"), "write tidegate.dev/v1alpha1"),
        ("apiVersion", json!("tidegate.io/v1alpha1"), "write tidegate.dev/v1alpha1"),
        ("kind", json!("IngestionRum"), "did you mean IngestionRun?"),
    ] {
        let mut document = minimal();
        set(&mut document, path, value);
        let found = violations(&document);
        assert!(found[0].contains(says), "{found:?}");
    }
}

#[test]
fn two_pipelines_of_one_name_are_refused() {
    let found = check("f.yaml", vec![minimal(), minimal()]).expect_err("twice");
    assert!(found[0].to_string().contains("stands twice in this file"), "{found:?}");
}

#[test]
fn a_file_without_a_pipeline_is_a_fault() {
    for text in ["", "---\n---\n", "apiVersion: v1\nkind: Secret\n"] {
        let found = parse("f.yaml", text).expect_err(text);
        assert!(found[0].to_string().contains("there is no IngestionPipeline"), "{found:?}");
    }
}

#[test]
fn text_that_is_not_yaml_is_named_with_its_line() {
    for text in ["a: b\n  c: d: e\n", "a: 1\na: 2\n", "a: [1\n", "just text"] {
        let found = parse("f.yaml", text).expect_err(text);
        assert_eq!(found.len(), 1, "{text:?}: {found:?}");
        assert!(!found[0].to_string().contains('\n'), "one line: {}", found[0]);
    }
    let found = parse("f.yaml", "a: 1\nb: [1\n").expect_err("not closed");
    assert!(found[0].field.starts_with("line "), "{found:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(text in "[a-z:{}\\[\\] \n\"'&*!|>#-]{0,200}") {
        let _ = parse("f.yaml", &text);
    }

    #[test]
    fn a_strange_value_in_any_field_is_accepted_or_named(
        which: proptest::sample::Index,
        value in prop_oneof![
            Just(json!(null)), Just(json!(-1)), Just(json!("")), Just(json!([])), Just(json!({})),
            Just(json!([null])), Just(json!({"type": 1})), Just(json!(1e300)), Just(json!(u64::MAX)),
            Just(json!("\u{0}\u{10ffff}'\"\\")),
        ],
    ) {
        let document = read("f.yaml", FULL).expect("it is YAML").remove(0);
        let mut places = Vec::new();
        pointers(&document["spec"], "/spec", &mut places);
        let place = which.get(&places);
        let mut changed = document.clone();
        *changed.pointer_mut(place).expect("it was listed") = value;
        if let Err(violations) = check("f.yaml", vec![changed]) {
            for violation in violations {
                let fault = violation.to_string();
                prop_assert!(!fault.contains("could not be checked"), "{fault}");
                prop_assert!(!fault.contains("cannot be read"), "{place}: {fault}");
            }
        }
    }
}

fn pointers(value: &Value, place: &str, places: &mut Vec<String>) {
    places.push(place.to_owned());
    for (name, child) in value.as_object().into_iter().flatten() {
        let step = name.replace('~', "~0").replace('/', "~1");
        pointers(child, &format!("{place}/{step}"), places);
    }
    for (index, child) in value.as_array().into_iter().flatten().enumerate() {
        pointers(child, &format!("{place}/{index}"), places);
    }
}
