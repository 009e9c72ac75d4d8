//! What only matters in a cluster: how many workers, on which nodes, under which account, and what
//! remains when the pipeline is deleted. `tidegate run` passes over all of it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Affinity, LocalObjectReference, ResourceRequirements, Toleration, TopologySpreadConstraint,
};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_types::Span;

use crate::vocabulary;

/// What happens to what lies outside the cluster when the pipeline is deleted.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeletionPolicySpec {
    /// The stream: Retain (default) or Delete. Delete needs a stream that Tidegate keeps (`subjects`).
    #[serde(default)]
    pub stream: DeletionAction,
    /// The table with all its files: Retain (default) or Delete. Delete is refused on a table that
    /// other ledgers share (`sink.delta.shared`), and on that of a bulk pipeline.
    #[serde(default)]
    pub data: DeletionAction,
}

/// What happens to something on deletion.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum DeletionAction {
    /// It stays.
    #[default]
    Retain,
    /// It is deleted.
    Delete,
}

/// What is promised to readers of the table.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectivesSpec {
    /// How long after its publication a message may take to be in the table. Drives the alert for late
    /// data. Default: nothing is promised, and nothing alerts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "vocabulary::duration")]
    pub freshness: Option<Span>,
}

/// How the number of workers is found.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.maxReplicas) || self.minReplicas <= self.maxReplicas")
        .message("minReplicas is above maxReplicas; lower the one or raise the other")
        .field_path(".minReplicas"),
)]
pub struct ScalingSpec {
    /// Lag (default): as many workers as empty the stream within `targetDrain`. Fixed: `spec.replicas`.
    /// External: `spec.replicas` too, which a HorizontalPodAutoscaler or KEDA writes through the scale
    /// subresource.
    #[serde(default)]
    pub mode: ScalingMode,
    /// Fewest workers, 0 to 256; 0 lets an idle pipeline run without any. Only with mode Lag. Default 0.
    #[serde(default)]
    #[schemars(range(max = 256))]
    pub min_replicas: u32,
    /// Most workers, 1 to 256; more than partitions are never started. Only with mode Lag. Default: the
    /// number of partitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub max_replicas: Option<u32>,
    /// In what time the messages that wait should be worked off. Only with mode Lag. Default 1m.
    #[serde(default = "default_target_drain")]
    #[schemars(schema_with = "vocabulary::duration")]
    pub target_drain: Span,
    /// How long fewer workers must have sufficed before any is taken away. Only with mode Lag. Default
    /// 5m.
    #[serde(default = "default_cooldown_period")]
    #[schemars(schema_with = "vocabulary::duration")]
    pub cooldown_period: Span,
}

impl Default for ScalingSpec {
    fn default() -> Self {
        Self {
            mode: ScalingMode::default(),
            min_replicas: 0,
            max_replicas: None,
            target_drain: default_target_drain(),
            cooldown_period: default_cooldown_period(),
        }
    }
}

fn default_target_drain() -> Span {
    Span::seconds(60)
}

fn default_cooldown_period() -> Span {
    Span::seconds(300)
}

/// Who decides about the number of workers.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ScalingMode {
    /// The messages that wait.
    #[default]
    Lag,
    /// `spec.replicas`.
    Fixed,
    /// Whoever writes `spec.replicas`.
    External,
}

/// What may be said about the pods: a closed list. Image, command, volumes and security context are the
/// operator's.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TemplateSpec {
    /// CPU and memory of a worker, or of a run. The memory limit decides how much it buffers. Default: requests of
    /// 250m and 512Mi, a memory limit of 512Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// CPU and memory of the agent. Default: requests of 20m and 64Mi, a memory limit of 128Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_resources: Option<ResourceRequirements>,
    /// Labels that a node must have, at most 32.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "vocabulary::node_selector")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that the pods put up with, at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub tolerations: Vec<Toleration>,
    /// Where pods like to be, and where not. Pods of other namespaces cannot be named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// How workers spread over nodes and zones, at most 8. Default: evenly over nodes where possible.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// The priority class of the pods. Default: the cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "vocabulary::object_name")]
    pub priority_class_name: Option<String>,
    /// Secrets for pulling the image, at most 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// More labels of the pods, at most 32. Those of Tidegate itself cannot be set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "vocabulary::labels")]
    pub labels: BTreeMap<String, String>,
    /// More annotations of the pods, at most 32, with values of at most 4096 characters. Those of
    /// Tidegate itself and those that loosen the pods' security cannot be set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "vocabulary::annotations")]
    pub annotations: BTreeMap<String, String>,
    /// Seconds that a worker has for its last commit before it is killed, 10 to 3600. Default 60.
    #[serde(default = "default_grace")]
    #[schemars(range(min = 10, max = 3600))]
    pub termination_grace_period_seconds: i64,
}

impl Default for TemplateSpec {
    fn default() -> Self {
        Self {
            resources: None,
            agent_resources: None,
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            affinity: None,
            topology_spread_constraints: Vec::new(),
            priority_class_name: None,
            image_pull_secrets: Vec::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            termination_grace_period_seconds: default_grace(),
        }
    }
}

fn default_grace() -> i64 {
    60
}
