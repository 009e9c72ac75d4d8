//! How many workers may be evicted at a time.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::cluster::labels::{self, Component};
use crate::cluster::names;
use crate::objects::metadata;
use crate::validation::ValidatedPipeline;

/// One worker at a time; one that is not ready does no work, so it never blocks the drain of a node.
pub(super) fn build(pipeline: &ValidatedPipeline) -> PodDisruptionBudget {
    PodDisruptionBudget {
        metadata: metadata::of(pipeline, names::workers(&pipeline.name), Component::Worker),
        spec: Some(PodDisruptionBudgetSpec {
            max_unavailable: Some(IntOrString::Int(1)),
            selector: Some(labels::selector(&pipeline.name, Component::Worker)),
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    }
}
