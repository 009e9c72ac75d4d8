//! Documents to change in one place.

#![allow(dead_code, reason = "no test uses all of them")]

use serde_json::{Value, json};

/// A document that uses every field.
pub(crate) const FULL: &str = r#"
apiVersion: tidegate.dev/v1alpha1
kind: IngestionPipeline
metadata: {name: clicks, namespace: analytics}
spec:
  suspend: false
  guarantee: ExactlyOnce
  ledger: analytics.clicks
  source:
    type: JetStream
    jetStream:
      servers: ["nats://nats.nats:4222"]
      stream: CLICKS
      subjects: ["clicks.>"]
      partitioning: {type: Subject, partitions: 8, idSubjectStable: true}
      retention: {maxBytes: 50Gi, maxAge: 72h, replicas: 3}
      duplicateWindow: 2m
      trim: {keep: 2h}
      startFrom: {type: Time, time: "2026-01-01T00:00:00Z"}
      onSourceReset: Halt
      onGap: RecordAndContinue
      credentials: {secretRef: {name: nats-creds}}
      adminCredentials: {secretRef: {name: nats-admin}}
      tls: {caRef: {kind: ConfigMap, name: nats-ca, key: ca.crt}, clientSecretRef: {name: nats-tls}}
  decode: {format: JSON, onError: DeadLetter, coercion: None, compression: None, limits: {maxBytes: 1Mi, maxDepth: 64}}
  schema:
    mode: Declared
    evolution: AddColumns
    unknownFields: Ignore
    fields:
      - {name: id, type: string, required: true}
      - {name: ts, type: timestamp}
      - {name: geo, type: "struct<lat: double, lon: double>", from: "$.position"}
  filter: {cel: "record.channel == 'web'"}
  dedup: {key: {type: Header, header: Nats-Msg-Id}, window: 1h, keys: Exact, onMissingKey: Accept}
  sink:
    type: Delta
    delta: {shared: false}
    storage: {url: "s3://lake/clicks", secretRef: {name: s3}, s3: {endpoint: "http://s3:9000", region: eu-west-1, addressingStyle: Path}}
    partitionBy: [{field: ts, transform: Day}, {field: id, transform: Bucket, buckets: 16}]
    file: {targetSize: 256Mi, compression: ZSTD, maxOpenPartitions: 64}
    flush: {maxInterval: 1m, maxRows: 2000000, idleAfter: 20s}
    eventTime: {field: ts, allowedLateness: 2h, latePolicy: Append, afterRepair: DeadLetter}
  deadLetter: {breaker: {maxPercent: 5, over: 5m}}
  deletionPolicy: {stream: Delete, data: Retain}
  serviceAccountName: lake-writer
  objectives: {freshness: 5m}
  replicas: 2
  scaling: {mode: Lag, minReplicas: 0, maxReplicas: 8, targetDrain: 1m, cooldownPeriod: 5m}
  template:
    resources: {requests: {cpu: 1, memory: 512Mi}, limits: {memory: 1Gi}}
    agentResources: {requests: {cpu: 20m, memory: 64Mi}, limits: {memory: 128Mi}}
    nodeSelector: {kubernetes.io/arch: amd64}
    tolerations: [{key: lake, operator: Exists, effect: NoSchedule}]
    affinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {matchExpressions: [{key: disk, operator: In, values: [ssd]}]}}]}}
    topologySpreadConstraints: [{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: ScheduleAnyway}]
    priorityClassName: lake
    imagePullSecrets: [{name: registry}]
    labels: {team: lake}
    annotations: {example.com/owner: lake}
    terminationGracePeriodSeconds: 120
"#;

/// Documents that together use every field of bulk pipelines.
pub(crate) const BULK: [&str; 5] = [
    r#"
apiVersion: tidegate.dev/v1alpha1
kind: IngestionPipeline
metadata: {name: ledger-entries, namespace: billing}
spec:
  guarantee: ExactlyOnce
  source:
    type: Postgres
    postgres:
      connection: {secretRef: {name: billing-db}}
      table: public.ledger_entries
      tls: {mode: VerifyFull, caRef: {kind: Secret, name: db-ca, key: ca.crt}}
  decode: {onError: Halt}
  bulk:
    incremental: {cursorField: created_at, timeZone: UTC, mutability: Immutable, settle: 5m, maxWait: 30m, ignoreRoles: [reporting], onNullCursor: Ignore, rerunLast: 2}
    chunking: {field: id, targetRows: 5000000, parallelism: 4}
    schedule: {cron: "0 * * * *", timeZone: Asia/Seoul, delay: 5m, startAt: "2026-01-01T00:00:00Z", catchupPolicy: All, dependsOn: [{name: customers}]}
    maxActiveRuns: 2
    allowShrink: false
    successfulRunsHistoryLimit: 24
    failedRunsHistoryLimit: 24
    runTemplate: {retry: {limit: 3, backoff: {duration: 30s, factor: 2, maxDuration: 10m}}, activeDeadlineSeconds: 7200, ttlSecondsAfterFinished: 604800}
  sink: {type: Delta, writeMode: ReplaceInterval, storage: {url: "s3://lake/ledger"}}
"#,
    r#"
apiVersion: tidegate.dev/v1alpha1
kind: IngestionPipeline
metadata: {name: orders}
spec:
  source:
    type: Postgres
    postgres: {connection: {secretRef: {name: billing-db}}, query: "SELECT * FROM orders", tls: {mode: Disable}}
  sink: {writeMode: Overwrite, storage: {url: "file:./orders"}}
"#,
    r#"
apiVersion: tidegate.dev/v1alpha1
kind: IngestionPipeline
metadata: {name: parts}
spec:
  source:
    type: MySQL
    mysql: {connection: {secretRef: {name: shop-db}}, table: shop.parts, tls: {mode: VerifyFull, caRef: {kind: ConfigMap, name: db-ca, key: ca.crt}}}
  sink: {storage: {url: "file:./parts"}}
"#,
    r#"
apiVersion: tidegate.dev/v1alpha1
kind: IngestionPipeline
metadata: {name: trips}
spec:
  source:
    type: ObjectStore
    objectStore:
      storage: {url: "s3://landing/trips", secretRef: {name: landing}, s3: {endpoint: "http://s3:9000", region: eu-west-1, addressingStyle: Path}}
      glob: "dt=%Y-%m-%d/*.csv"
      format: CSV
      compression: Auto
      csv: {delimiter: ";", header: true, "null": "NA"}
      onBadFile: DeadLetter
  schema: {fields: [{name: id, type: long}, {name: at, type: timestamp}]}
  bulk: {schedule: {cron: "0 0 * * *"}}
  sink: {storage: {url: "s3://lake/trips"}}
"#,
    r#"
apiVersion: tidegate.dev/v1alpha1
kind: IngestionPipeline
metadata: {name: invoices}
spec:
  source:
    type: ObjectStore
    objectStore:
      storage: {url: "abfss://landing@shop.dfs.core.windows.net/invoices", secretRef: {name: shop}, endpoint: "http://azurite:10000"}
      glob: "*.parquet"
      format: Parquet
  sink: {storage: {url: "abfss://lake@shop.dfs.core.windows.net/invoices", secretRef: {name: shop}, endpoint: "http://azurite:10000"}}
"#,
];

/// A bulk pipeline that repairs the table of a streamed one.
pub(crate) const REPAIR: &str = r#"
apiVersion: tidegate.dev/v1alpha1
kind: IngestionPipeline
metadata: {name: clicks-repair, namespace: analytics}
spec:
  source:
    type: Postgres
    postgres: {connection: {secretRef: {name: truth-db}}, table: public.clicks}
  bulk:
    repairs: {pipelineRef: {name: clicks}}
    incremental: {cursorField: ts, mutability: Immutable}
  sink: {storage: {url: "s3://lake/clicks"}}
"#;

/// Documents that together use every field of a run.
pub(crate) const RUNS: [&str; 2] = [
    r#"
apiVersion: tidegate.dev/v1alpha1
kind: IngestionRun
metadata: {name: orders-20260601t010000z, namespace: billing}
spec:
  pipelineRef: {name: orders}
  trigger: Scheduled
  interval: {start: "2026-06-01T00:00:00Z", end: "2026-06-01T01:00:00Z"}
"#,
    r#"
apiVersion: tidegate.dev/v1alpha1
kind: IngestionRun
metadata: {generateName: june-}
spec:
  pipelineRef: {name: orders}
  trigger: Backfill
  range: {start: "2026-06-01T00:00:00Z", end: "2026-07-01T00:00:00Z"}
  reprocess: Failed
  dryRun: true
"#,
];

/// Sets the value at a dotted path, making maps on the way; null removes it.
pub(crate) fn set(document: &mut Value, path: &str, value: Value) {
    let (parent, name) = path.rsplit_once('.').unwrap_or(("", path));
    let mut node = document;
    for step in parent.split('.').filter(|step| !step.is_empty()) {
        node = match step.parse::<usize>() {
            Ok(index) => &mut node[index],
            Err(_) => &mut node[step],
        };
        if node.is_null() {
            *node = json!({});
        }
    }
    let members = node.as_object_mut().expect("the path leads through maps");
    if value.is_null() {
        members.remove(name);
    } else {
        members.insert(name.to_owned(), value);
    }
}
