//! The way to the API server, counted.

use std::time::Duration;

use futures::future::BoxFuture;
use http::{Method, Request, Response};
use kube::client::Body;
use kube::config::KubeConfigOptions;
use kube::{Client, Config};
use tower::service_fn;

use crate::error::OperatorError;
use crate::metrics::Metrics;

/// How long the API server may take to let us in.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// A client for the cluster around us, by the pod's service account, or for the one that `KUBECONFIG`
/// names.
///
/// # Errors
///
/// [`OperatorError::Connect`] when there is neither. Nothing is asked of the API server yet.
pub async fn connect() -> Result<Client, OperatorError> {
    let failed = |looked| {
        move |source: Box<dyn std::error::Error + Send + Sync>| OperatorError::Connect {
            looked,
            source,
        }
    };
    let (looked, config) = match std::env::var_os("KUBECONFIG") {
        Some(_) => {
            let found = Config::from_kubeconfig(&KubeConfigOptions::default()).await;
            ("KUBECONFIG", found.map_err(Into::into))
        }
        None => ("the pod's service account", Config::incluster().map_err(Into::into)),
    };
    let mut config = config.map_err(failed(looked))?;
    config.connect_timeout = Some(CONNECT_WITHIN);
    Client::try_from(config).map_err(|error| failed(looked)(error.into()))
}

/// The same client, whose requests are counted by verb and resource.
pub(crate) fn counted(client: &Client, metrics: &Metrics) -> Client {
    let (inner, metrics) = (client.clone(), metrics.clone());
    let service = service_fn(move |request: Request<Body>| {
        let (inner, metrics) = (inner.clone(), metrics.clone());
        let call = Call::of(request.method(), request.uri().path(), request.uri().query());
        let answer: BoxFuture<'static, Result<Response<Body>, kube::Error>> =
            Box::pin(async move {
                let answer = inner.send(request).await;
                let code = answer.as_ref().map_or(0, |response| response.status().as_u16());
                metrics.requested(call.verb, &call.resource, code);
                answer
            });
        answer
    });
    Client::new(service, client.default_namespace().to_owned())
}

/// A request in the words of a Role.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Call {
    verb: &'static str,
    /// With its subresource, such as `ingestionpipelines/status`.
    resource: String,
}

impl Call {
    fn of(method: &Method, path: &str, query: Option<&str>) -> Self {
        let (resource, named) = resource_of(path);
        let watches = query.is_some_and(|query| query.split('&').any(|part| part == "watch=true"));
        let verb = match *method {
            Method::GET if watches => "watch",
            Method::GET if named => "get",
            Method::GET => "list",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if named => "delete",
            Method::DELETE => "deletecollection",
            _ => "other",
        };
        Self { verb, resource }
    }
}

/// The resource of a path, and whether the path names one object of it.
fn resource_of(path: &str) -> (String, bool) {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    match parts.next() {
        Some("api") => drop(parts.next()),
        Some("apis") => drop((parts.next(), parts.next())),
        _ => return ("other".to_owned(), true),
    }
    let mut rest: Vec<&str> = parts.collect();
    if rest.first() == Some(&"namespaces") && rest.len() > 2 {
        rest.drain(..2);
    }
    match rest.as_slice() {
        [] => ("other".to_owned(), true),
        [resource] => ((*resource).to_owned(), false),
        [resource, _] => ((*resource).to_owned(), true),
        [resource, _, sub, ..] => (format!("{resource}/{sub}"), true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_in_the_words_of_a_role() {
        for (method, path, query, verb, resource) in [
            (Method::GET, "/api/v1/pods", Some("watch=true&x=1"), "watch", "pods"),
            (Method::GET, "/api/v1/namespaces/a/pods", Some("limit=500"), "list", "pods"),
            (Method::GET, "/api/v1/namespaces/a", None, "get", "namespaces"),
            (
                Method::PATCH,
                "/apis/apps/v1/namespaces/a/deployments/d",
                Some("force=true"),
                "patch",
                "deployments",
            ),
            (
                Method::PATCH,
                "/apis/tidegate.dev/v1alpha1/namespaces/a/ingestionpipelines/p/status",
                None,
                "patch",
                "ingestionpipelines/status",
            ),
            (Method::POST, "/apis/events.k8s.io/v1/namespaces/a/events", None, "create", "events"),
            (
                Method::PUT,
                "/apis/coordination.k8s.io/v1/namespaces/a/leases/l",
                None,
                "update",
                "leases",
            ),
            (Method::DELETE, "/api/v1/namespaces/a/configmaps/c", None, "delete", "configmaps"),
            (Method::GET, "/version", None, "get", "other"),
        ] {
            let call = Call::of(&method, path, query);
            assert_eq!((call.verb, call.resource.as_str()), (verb, resource), "{path}");
        }
    }
}
