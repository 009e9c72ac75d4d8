//! The definition on a real API server: it says the same as the laptop does.
//!
//! Both judge by the same schema and the same rules, but by different programs; here they are set the
//! same questions.

use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams, ValidationDirective};
use kube::core::ApiResource;
use serde_json::{Value, json};
use tidegate_api::{IngestionPipeline, check, read, validate_update};
use tidegate_testing::Namespace;

const EXAMPLE: &str = include_str!("../../../../examples/cluster.yaml");

/// The example in this namespace, with the value at a pointer replaced.
fn document(namespace: &Namespace, change: Option<(&str, &Value)>) -> Value {
    let mut document = read("cluster.yaml", EXAMPLE).unwrap().remove(0);
    document["metadata"]["namespace"] = json!(namespace.name());
    if let Some((pointer, value)) = change {
        *document.pointer_mut(pointer).unwrap() = value.clone();
    }
    document
}

/// What the API server would say; nothing is kept.
async fn judged(namespace: &Namespace, document: &Value) -> Result<(), String> {
    let resource = ApiResource::erase::<IngestionPipeline>(&());
    let api: Api<DynamicObject> =
        Api::namespaced_with(namespace.client(), namespace.name(), &resource);
    let parameters = PatchParams {
        dry_run: true,
        force: true,
        field_manager: Some("test".to_owned()),
        field_validation: Some(ValidationDirective::Strict),
    };
    let name = document.pointer("/metadata/name").and_then(Value::as_str).unwrap();
    let outcome = api.patch(name, &parameters, &Patch::Apply(document)).await;
    outcome.map(drop).map_err(|error| error.to_string())
}

fn pipeline(document: Value) -> Result<IngestionPipeline, String> {
    match check("cluster.yaml", vec![document]) {
        Ok(mut documents) => Ok(documents.pipelines.remove(0)),
        Err(faults) => Err(format!("{faults:?}")),
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

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn the_api_server_takes_what_the_laptop_takes_and_refuses_the_rest() {
    let namespace = Namespace::create("definition").await.unwrap();
    let example = document(&namespace, None);
    assert_eq!(judged(&namespace, &example).await, Ok(()));
    let mut places = Vec::new();
    pointers(&example["spec"], "/spec", &mut places);
    let values = [
        json!(-1),
        json!(70_000),
        json!(""),
        json!("Lag"),
        json!("a b"),
        json!("10m"),
        json!(true),
        json!([]),
        json!({}),
        json!({"tidegate.dev/x": "y"}),
        json!({"type": "None"}),
    ];
    let (mut taken, mut refused, mut differences) = (0, 0, Vec::new());
    for place in &places {
        for value in &values {
            let changed = document(&namespace, Some((place, value)));
            let here = pipeline(changed.clone());
            let there = judged(&namespace, &changed).await;
            match (&here, &there) {
                (Ok(_), Ok(())) => taken += 1,
                (Err(_), Err(_)) => refused += 1,
                _ => differences.push(format!("{place} = {value}: {here:?} {there:?}")),
            }
        }
    }
    assert!(differences.is_empty(), "{} differ: {differences:#?}", differences.len());
    assert!(taken > 50 && refused > 500, "{taken} taken, {refused} refused");
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn the_api_server_refuses_the_edits_that_the_laptop_refuses() {
    let namespace = Namespace::create("definition-edits").await.unwrap();
    let old = document(&namespace, None);
    namespace.apply(&old).await.unwrap();
    let stream = "/spec/source/jetStream";
    let edits = [
        ("/spec/ledger".to_owned(), json!("other"), false),
        (format!("{stream}/stream"), json!("OTHER"), false),
        (format!("{stream}/partitioning/partitions"), json!(8), false),
        (format!("{stream}/partitioning"), json!({"type": "None"}), false),
        ("/spec/sink/storage/url".to_owned(), json!("s3://lake/other"), false),
        ("/spec/sink/partitionBy".to_owned(), json!([]), false),
        ("/spec/sink/partitionBy/0/transform".to_owned(), json!("Month"), false),
        (format!("{stream}/partitioning/idSubjectStable"), json!(false), true),
        (format!("{stream}/servers"), json!(["nats://other:4222"]), true),
        (format!("{stream}/subjects"), json!(["orders.>", "more.>"]), true),
        ("/spec/suspend".to_owned(), json!(true), true),
        ("/spec/replicas".to_owned(), json!(0), true),
        ("/spec/scaling/mode".to_owned(), json!("External"), true),
        ("/spec/deletionPolicy/stream".to_owned(), json!("Delete"), true),
        ("/spec/template".to_owned(), json!({}), true),
    ];
    let before = pipeline(old).unwrap();
    for (place, value, may) in edits {
        let changed = document(&namespace, Some((&place, &value)));
        let there = judged(&namespace, &changed).await;
        let here = validate_update(&before, &pipeline(changed).unwrap());
        assert_eq!(there.is_ok(), may, "{place}: {there:?}");
        assert_eq!(here.is_ok(), may, "{place}: {here:?}");
        // The rule that speaks is the same.
        for fault in here.err().into_iter().flatten() {
            let said = there.as_ref().unwrap_err();
            assert!(said.contains(&fault.problem), "{place}: {} / {said}", fault.problem);
        }
    }
}

#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn the_scale_subresource_and_the_columns_answer() {
    let namespace = Namespace::create("definition-columns").await.unwrap();
    let mut document = document(&namespace, None);
    // HorizontalPodAutoscalers read the number before anybody has written one.
    document["spec"].as_object_mut().unwrap().remove("replicas");
    namespace.apply(&document).await.unwrap();
    let path = "{.spec.replicas}";
    let replicas = async || {
        namespace.kubectl(&["get", "ipl", "orders", "--output", &format!("jsonpath={path}")]).await
    };
    assert_eq!(replicas().await.unwrap(), "1");
    namespace.kubectl(&["scale", "ipl", "orders", "--replicas=5"]).await.unwrap();
    assert_eq!(replicas().await.unwrap(), "5");
    assert!(namespace.kubectl(&["scale", "ipl", "orders", "--replicas=257"]).await.is_err());

    let status = json!({"status": {
        "conditions": [{
            "type": "Ready", "status": "False", "reason": "SinkUnreachable", "message": "no answer",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
        "lag": {"messages": 1204, "seconds": 37},
        "readyReplicas": 2,
        "scaling": {},
    }});
    let status = status.to_string();
    let patch = ["patch", "ipl", "orders", "--subresource=status", "--type=merge", "--patch"];
    namespace.kubectl(&[&patch[..], &[&status]].concat()).await.unwrap();
    let shown = namespace.kubectl(&["get", "ipl", "orders", "--output=wide"]).await.unwrap();
    for word in
        ["READY", "REASON", "BEHIND", "LAST COMMIT", "False", "SinkUnreachable", "1204", "37"]
    {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    let written = namespace.kubectl(&["get", "ipl", "orders", "--output=yaml"]).await.unwrap();
    assert!(written.contains("scaling: {}"), "a status has no defaults: {written}");

    let told = namespace.kubectl(&["explain", "ipl.spec.scaling.targetDrain"]).await.unwrap();
    assert!(told.contains("In what time the messages that wait should be worked off"), "{told}");
}
