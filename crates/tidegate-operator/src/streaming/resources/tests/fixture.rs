//! Pipelines to build.

use std::sync::LazyLock;

use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use tidegate_config::{Assignment, WorkerAssignment};
use tidegate_types::{PartitionId, Reason};

use crate::streaming::facts::{Decisions, ScalingDecision};
use crate::streaming::resources::{Prepared, Resources};
use crate::validation::ValidatedPipeline;

/// The least that can run in a cluster.
pub(super) const MINIMAL: &str = r"
apiVersion: tidegate.dev/v1alpha1
kind: IngestionPipeline
metadata: {name: readings, namespace: plant}
spec:
  source:
    type: JetStream
    jetStream: {servers: ['nats://nats.nats:4222'], stream: READINGS, subjects: ['readings.>']}
  schema: {fields: [{name: id, type: string}]}
  sink: {storage: {url: 's3://lake/readings'}}
";

/// Whatever reaches an object.
pub(super) const FULL: &str = r"
apiVersion: tidegate.dev/v1alpha1
kind: IngestionPipeline
metadata: {name: clicks, namespace: analytics}
spec:
  deletionPolicy: {stream: Delete, data: Delete}
  serviceAccountName: lake-writer
  source:
    type: JetStream
    jetStream:
      servers: ['tls://nats.nats:4222']
      stream: CLICKS
      subjects: ['clicks.>']
      partitioning: {type: Subject, partitions: 4, idSubjectStable: true}
      credentials: {secretRef: {name: nats-worker}}
      adminCredentials: {secretRef: {name: nats-admin}}
      tls:
        caRef: {kind: ConfigMap, name: nats-tls}
        clientSecretRef: {name: nats-tls}
  schema: {fields: [{name: id, type: string}]}
  sink: {storage: {url: 's3://lake/clicks', secretRef: {name: lake}}}
  template:
    resources:
      requests: {cpu: '0.5', memory: 1024Mi}
      limits: {memory: 2Gi, ephemeral-storage: 20480Mi}
    agentResources: {requests: {cpu: 10m}}
    nodeSelector: {disk: ssd}
    tolerations: [{key: dedicated, operator: Equal, value: ingest, effect: NoSchedule}]
    affinity:
      nodeAffinity:
        requiredDuringSchedulingIgnoredDuringExecution:
          nodeSelectorTerms:
          - matchExpressions: [{key: kubernetes.io/arch, operator: In, values: [amd64]}]
    topologySpreadConstraints:
    - {maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule}
    priorityClassName: ingest
    imagePullSecrets: [{name: registry}]
    labels: {team: web}
    annotations: {note: hello}
    terminationGracePeriodSeconds: 120
";

/// [`MINIMAL`] or [`FULL`] as *validate* hands it over. Its configuration is a stand-in, because nothing
/// here reads it.
pub(super) fn pipeline(document: &str) -> ValidatedPipeline {
    // Checking a document takes a tenth of a second, and properties ask hundreds of times.
    static MINIMAL_READ: LazyLock<ValidatedPipeline> = LazyLock::new(|| read(MINIMAL));
    static FULL_READ: LazyLock<ValidatedPipeline> = LazyLock::new(|| read(FULL));
    if document == FULL { FULL_READ.clone() } else { MINIMAL_READ.clone() }
}

fn read(document: &str) -> ValidatedPipeline {
    let mut parsed = tidegate_api::parse("test.yaml", document).expect("a pipeline");
    let parsed = parsed.remove(0);
    let config = tidegate_resolve::resolve_in(&parsed, None).expect("a configuration");
    let config = config.into_stream().expect("a stream");
    let name = parsed.metadata.name.clone().expect("a name");
    ValidatedPipeline {
        namespace: parsed.metadata.namespace.clone().expect("a namespace"),
        owner: OwnerReference {
            api_version: "tidegate.dev/v1alpha1".to_owned(),
            kind: "IngestionPipeline".to_owned(),
            name: name.clone(),
            uid: "5b0a1c4e-0000-4000-8000-000000000001".to_owned(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        },
        name,
        spec: parsed.spec,
        config,
        config_json: r#"{"stand":"in"}"#.to_owned(),
        config_hash: "0123456789ab".to_owned(),
    }
}

/// Two workers that share four partitions.
pub(super) fn decisions() -> Decisions {
    let worker = |ordinal: u32, partitions: [u32; 2]| WorkerAssignment {
        name: format!("clicks-worker-{ordinal}"),
        partitions: partitions.map(PartitionId).to_vec(),
    };
    Decisions {
        replicas: 2,
        agents: 1,
        assignment: Assignment {
            generation: 3,
            workers: vec![worker(0, [0, 1]), worker(1, [2, 3])],
        },
        scaling: ScalingDecision {
            reason: Reason::ScalingFixed,
            message: String::new(),
            memory: None,
        },
        hold_templates: false,
    }
}

/// The pods of agent and workers.
pub(super) fn templates(resources: &Resources<Prepared>) -> [PodTemplateSpec; 2] {
    let agent = resources.agent.spec.clone().expect("a spec").template;
    let workers = resources.workers.spec.clone().expect("a spec").template;
    [agent, workers]
}

/// What a template says about its pods.
pub(super) fn pod(template: &PodTemplateSpec) -> &PodSpec {
    template.spec.as_ref().expect("a spec")
}
