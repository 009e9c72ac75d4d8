//! Why a reconcile did not get through, and what happens next.

use std::time::Duration;

use kube::core::Status;
use tidegate_types::Reason;

use crate::metrics::Outcome;
use crate::queue::Again;

/// What keeps a reconcile from its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The category.
    pub(crate) reason: Reason,
    /// What failed, with the object's kind and name.
    pub(crate) message: String,
    /// What has to happen.
    pub(crate) next: Next,
}

/// What has to happen before it can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Something else, which is looked for again after this time.
    Waiting(Duration),
    /// Another try.
    Transient,
}

impl Failure {
    pub(crate) fn waiting(reason: Reason, message: impl Into<String>, after: Duration) -> Self {
        Self { reason, message: message.into(), next: Next::Waiting(after) }
    }

    pub(crate) fn transient(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), next: Next::Transient }
    }

    /// The failure of a request about an object, such as `StatefulSet clicks-worker`.
    pub(crate) fn of_request(object: &str, error: &kube::Error) -> Self {
        let reason = reason_of(error);
        Self::transient(reason, format!("{object}: {}", describe(error)))
    }

    pub(crate) fn again(&self) -> Again {
        match self.next {
            Next::Waiting(after) => Again::After(after),
            Next::Transient => Again::AfterFailure,
        }
    }

    pub(crate) fn outcome(&self) -> Outcome {
        match self.next {
            Next::Waiting(_) => Outcome::Waiting,
            Next::Transient => Outcome::Failed,
        }
    }
}

/// A refusal is about the request; everything else about the way to the API server. Nothing new can be
/// made in a namespace that is being deleted.
fn reason_of(error: &kube::Error) -> Reason {
    match error {
        kube::Error::Api(status) if is_terminating(status) => Reason::Deleting,
        kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 429 => {
            Reason::ApiRefused
        }
        _ => Reason::ApiUnavailable,
    }
}

fn is_terminating(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_is_told_from_an_api_server_out_of_reach() {
        let status = |code: u16, cause: &str| {
            let status = json!({
                "code": code, "message": "no",
                "details": {"causes": [{"reason": cause, "message": "", "field": ""}]},
            });
            let status: Status = serde_json::from_value(status).expect("a status");
            kube::Error::Api(status.boxed())
        };
        for (error, reason) in [
            (status(403, ""), Reason::ApiRefused),
            (status(409, ""), Reason::ApiRefused),
            (status(422, "FieldValueInvalid"), Reason::ApiRefused),
            (status(429, ""), Reason::ApiUnavailable),
            (status(503, ""), Reason::ApiUnavailable),
            (status(403, "NamespaceTerminating"), Reason::Deleting),
        ] {
            let failure = Failure::of_request("ConfigMap c", &error);
            assert_eq!((failure.reason, failure.message.as_str()), (reason, "ConfigMap c: no"));
            assert_eq!(failure.again(), Again::AfterFailure);
        }
    }
}
