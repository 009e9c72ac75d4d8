//! How Kubernetes asks pods whether they live.
//!
//! `/livez` says that the process still turns; a pod that waits for its broker or its store answers it.
//! `/readyz` says that it does its work.

use k8s_openapi::api::core::v1::{HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::pods::PORT_NAME;

/// Two minutes to begin to listen, which takes well under a second where CPU is not scarce.
pub(crate) fn startup() -> Probe {
    probe("/livez", 1, 120)
}

/// Not ready after three answers.
pub(crate) fn readiness() -> Probe {
    probe("/readyz", 5, 3)
}

/// Killed after a minute without an answer: a restart costs more than a slow minute.
pub(crate) fn liveness() -> Probe {
    probe("/livez", 10, 6)
}

fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(PORT_NAME.to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(3),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}
