//! The fields that are edited: values that are good, values that the API server refuses, and values that
//! only the operator can refuse.

use serde_json::{Value, json};

/// One field below `spec`.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) path: &'static str,
    pub(crate) good: Vec<Value>,
    /// By schema or rule; the message has to name one of the last steps of the path.
    pub(crate) refused: Vec<Value>,
    /// The API server takes them; `SpecAccepted` has to name the last step of the path.
    pub(crate) rejected: Vec<Value>,
}

fn field<const G: usize, const R: usize>(
    path: &'static str,
    good: [Value; G],
    refused: [Value; R],
) -> Field {
    let mut refused = refused.to_vec();
    // No field takes a mixture.
    refused.push(json!([1, "a", {}]));
    Field { path, good: good.to_vec(), refused, rejected: Vec::new() }
}

impl Field {
    fn rejecting<const N: usize>(mut self, values: [Value; N]) -> Self {
        self.rejected = values.to_vec();
        self
    }
}

/// Longer than any text of the definition.
fn huge() -> Value {
    json!("x".repeat(20_000))
}

/// All of them. Nobody may set those without a good value.
pub(crate) fn fields() -> Vec<Field> {
    let mut fields = source();
    fields.extend(records());
    fields.extend(table());
    fields.extend(around());
    fields.extend(pods());
    fields.extend(closed());
    fields
}

fn source() -> Vec<Field> {
    vec![
        field(
            "source.jetStream.servers",
            [
                json!(["nats://nats.invalid:4222"]),
                json!(["nats://a.invalid:4222", "nats://b.invalid:4222"]),
            ],
            [json!("nats://a:4222"), json!(["http://a"]), json!([huge()]), json!([])],
        )
        .rejecting([Value::Null]),
        field(
            "source.jetStream.subjects",
            [json!(["a.>"]), json!(["a.>", "b.>"])],
            [json!(["a b"]), json!([huge()]), json!("a.>")],
        ),
        field("source.jetStream.duplicateWindow", [json!("2m"), json!("1m")], [json!("soon")])
            .rejecting([json!("50ms")]),
        field("source.jetStream.trim", [json!({"keep": "2h"}), Value::Null], [json!("soon")]),
        field(
            "source.jetStream.onGap",
            [json!("Halt"), json!("RecordAndContinue")],
            [json!("Ignore")],
        ),
        field(
            "source.jetStream.credentials",
            [json!({"secretRef": {"name": "nats"}}), json!({"secretRef": {"name": "broker"}})],
            [json!({"secretRef": 1}), json!("nats")],
        ),
        field("source.jetStream.stream", [], [json!("OTHER"), huge()]),
        field("source.jetStream.partitioning.partitions", [], [json!(8), json!(0), json!("four")]),
    ]
}

fn records() -> Vec<Field> {
    vec![
        field("decode.onError", [json!("DeadLetter"), json!("Halt")], [json!("Ignore"), huge()]),
        field("decode.coercion", [json!("None"), json!("Lossless")], [json!("Wild")]),
        field(
            "decode.limits.maxDepth",
            [json!(8), json!(64)],
            [json!(0), json!(129), json!("deep")],
        ),
        field("decode.limits.maxBytes", [json!("1Mi"), json!("512Ki")], [json!("lots"), huge()]),
        field(
            "filter.cel",
            [json!("record.n > 1"), json!("record.n < 7")],
            [json!(""), json!(5), huge()],
        ),
        field("dedup.window", [json!("1h"), json!("2h")], [json!("soon"), json!(-1)]),
        field("dedup.onMissingKey", [json!("Accept"), json!("DeadLetter")], [json!("Guess")]),
        field(
            "guarantee",
            [json!("ExactlyOnce"), json!("AtLeastOnce")],
            [json!("Twice"), json!(2)],
        ),
    ]
}

fn table() -> Vec<Field> {
    vec![
        field(
            "sink.file.targetSize",
            [json!("64Mi"), json!("128Mi"), json!("256Mi")],
            [json!("large"), json!(true)],
        ),
        field(
            "sink.file.compression",
            [json!("ZSTD"), json!("SNAPPY"), json!("LZ4"), json!("None")],
            [json!("GZIP"), huge()],
        ),
        field("sink.file.maxOpenPartitions", [json!(16), json!(64)], [json!(0), json!(2000)]),
        field(
            "sink.flush.maxRows",
            [json!(1000), json!(2_000_000)],
            [json!(0), json!(1_000_000_001), json!("many"), json!(1.5)],
        ),
        field("sink.flush.maxInterval", [json!("1s"), json!("10s"), json!("1m")], [json!("soon")]),
        field("sink.eventTime", [Value::Null], [json!("ts")]).rejecting([json!({"field": "nope"})]),
        field("sink.storage.url", [], [json!("s3://other/table"), json!("ftp://x"), huge()]),
        field("sink.partitionBy", [], [json!([{"field": "id", "transform": "Identity"}])]),
    ]
}

fn around() -> Vec<Field> {
    vec![
        field("suspend", [json!(false), json!(false), json!(true)], [json!("yes"), json!(3)]),
        field(
            "deadLetter.breaker",
            [json!({"maxPercent": 5}), json!({"maxPercent": 50, "over": "1m"})],
            [json!({"maxPercent": 0, "over": "1m"}), json!("never")],
        ),
        field("deletionPolicy.stream", [json!("Retain"), json!("Delete")], [json!("Keep"), huge()]),
        field("objectives.freshness", [json!("5m"), json!("10m")], [json!("never")]),
        field("replicas", [json!(1), json!(2)], [json!(257), json!(-1), json!("two")]),
        field("scaling.mode", [json!("Lag"), json!("Fixed"), json!("External")], [json!("Magic")]),
        field("scaling.minReplicas", [json!(1), json!(2)], [json!(-1), json!(300), json!("one")]),
        field("scaling.maxReplicas", [json!(2), json!(4)], [json!(0), json!(257)]),
        field("ledger", [], [json!("other"), huge()]),
    ]
}

fn pods() -> Vec<Field> {
    let limits = |memory: &str| json!({"limits": {"memory": memory}});
    vec![
        field(
            "template.labels",
            [json!({"team": "a"}), json!({"team": "b"})],
            [json!({"tidegate.dev/x": "y"}), json!("team"), json!({"team": huge()})],
        ),
        field(
            "template.annotations",
            [json!({"example.com/owner": "a"}), json!({"example.com/owner": "b"})],
            [json!({"tidegate.dev/x": "y"}), json!(1)],
        ),
        field(
            "template.resources",
            [limits("1Gi"), limits("2Gi")],
            [json!({"limits": {"memory": "lots"}}), json!("much")],
        ),
        field(
            "template.agentResources",
            [limits("128Mi"), limits("256Mi")],
            [json!({"requests": 1}), json!(true)],
        ),
        field(
            "template.nodeSelector",
            [json!({"disk": "fast"}), json!({"disk": "slow"})],
            [json!(["disk"]), json!({"disk": huge()})],
        ),
        field(
            "template.tolerations",
            [json!([]), json!([{"key": "a", "operator": "Exists"}])],
            [json!({}), json!([{"key": 1}])],
        ),
        field(
            "template.terminationGracePeriodSeconds",
            [json!(10), json!(20)],
            [json!(-1), json!("x")],
        ),
    ]
}

/// What a pipeline has no word for.
fn closed() -> Vec<Field> {
    let unknown = |path, value: Value| field(path, [], [value]);
    vec![
        unknown("template.image", json!("somebody/else")),
        unknown("template.command", json!(["sh"])),
        unknown("template.securityContext", json!({"privileged": true})),
        unknown("template.volumes", json!([{"name": "host", "hostPath": {"path": "/"}}])),
        unknown("template.hostNetwork", json!(true)),
        unknown("source.jetStream.credentials.secretRef.namespace", json!("kube-system")),
        unknown("namespace", json!("kube-system")),
        unknown("sink.storage.password", json!("secret")),
    ]
}
