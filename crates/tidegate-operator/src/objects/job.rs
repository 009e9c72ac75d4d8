//! What Jobs have in common.
//!
//! Where attempts have a number a Job is not tried again by Kubernetes: who makes the next one decides by
//! how the last one ended.

use k8s_openapi::api::batch::v1::{
    JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement,
    PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::PodTemplateSpec;

use super::pod::CONTAINER;
use crate::pods::PERMANENT;

/// A Job that is tried once, for at most so many seconds, and stays for so many when it is over.
pub(crate) fn once(
    template: PodTemplateSpec,
    seconds: Option<i64>,
    kept_seconds: Option<i32>,
) -> JobSpec {
    JobSpec {
        active_deadline_seconds: seconds,
        backoff_limit: Some(0),
        template,
        ttl_seconds_after_finished: kept_seconds,
        ..JobSpec::default()
    }
}

/// A permanent failure ends the Job, or with `FailIndex` its index; an eviction is no attempt.
pub(crate) fn failure_policy(permanent: &str) -> PodFailurePolicy {
    let permanent = PodFailurePolicyRule {
        action: permanent.to_owned(),
        on_exit_codes: Some(PodFailurePolicyOnExitCodesRequirement {
            container_name: Some(CONTAINER.to_owned()),
            operator: "In".to_owned(),
            values: vec![PERMANENT],
        }),
        on_pod_conditions: None,
    };
    let evicted = PodFailurePolicyRule {
        action: "Ignore".to_owned(),
        on_exit_codes: None,
        on_pod_conditions: Some(vec![PodFailurePolicyOnPodConditionsPattern {
            status: "True".to_owned(),
            type_: "DisruptionTarget".to_owned(),
        }]),
    };
    PodFailurePolicy { rules: vec![permanent, evicted] }
}
