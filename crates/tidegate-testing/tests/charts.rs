//! Both Helm charts on a real API server, through the life of a release. Pods are stand-ins, so that
//! `--wait` has something to wait for.
#![allow(clippy::unwrap_used, reason = "the lint's exception for tests leaves their helpers out")]

use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};
use serde_json::json;
use tidegate_testing::{Namespace, ProcessNode, eventually, workspace};

const LONG: Duration = Duration::from_secs(60);
const DEFINITIONS: [&str; 2] =
    ["crd/ingestionpipelines.tidegate.dev", "crd/ingestionruns.tidegate.dev"];
/// Every kind that the chart has; what is left of them after an uninstall would be a leak.
const KINDS: &str = "deployments,services,serviceaccounts,poddisruptionbudgets,networkpolicies,\
     configmaps,roles,rolebindings,clusterroles,clusterrolebindings";

/// A cluster without Tidegate, and the releases that a test makes in it.
struct Releases {
    namespace: Namespace,
    _node: ProcessNode,
}

impl Releases {
    async fn new() -> Self {
        let namespace = Namespace::create("charts").await.unwrap();
        let node = ProcessNode::stand_in(&namespace).await.unwrap();
        for definition in DEFINITIONS {
            namespace.kubectl(&["delete", definition]).await.unwrap();
        }
        Self { namespace, _node: node }
    }

    async fn helm(&self, arguments: &[&str]) -> String {
        self.namespace.helm(arguments).await.unwrap()
    }

    /// `helm install` or `upgrade` of a chart under its own name, with values, until it is ready.
    async fn put(&self, verb: &str, chart: &str, values: &[&str]) -> String {
        let path = workspace().join("charts").join(chart);
        let mut arguments = vec![verb, chart, path.to_str().unwrap(), "--wait", "--timeout=60s"];
        arguments.extend(values.iter().flat_map(|value| ["--set", value]));
        self.helm(&arguments).await
    }

    async fn deployment(&self) -> DeploymentSpec {
        self.namespace.api::<Deployment>().get("tidegate").await.unwrap().spec.unwrap()
    }

    async fn names(&self, arguments: &[&str]) -> Vec<String> {
        let mut all = vec!["get", "--output=name"];
        all.extend(arguments);
        let text = self.namespace.kubectl(&all).await.unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// Objects of the operator's release, in the whole cluster.
    async fn of_the_release(&self, kinds: &str) -> Vec<String> {
        self.names(&[kinds, "--all-namespaces", "-l", "app.kubernetes.io/instance=tidegate"]).await
    }

    /// Whether somebody may do something, by the API server's own answer. A subresource stands behind
    /// a `#`; behind a `/` stands the name of an object.
    async fn may(&self, who: &str, verb: &str, what: &str, namespace: &str) -> bool {
        let (resource, part) = what.split_once('#').unwrap_or((what, ""));
        let (who, part) = (format!("--as={who}"), format!("--subresource={part}"));
        let arguments = ["auth", "can-i", verb, resource, &who, &part, "--namespace", namespace];
        // It exits with 1 for a no.
        self.namespace.kubectl(&arguments).await.is_ok()
    }

    async fn pipeline(&self) {
        let spec = json!({
            "source": {"type": "JetStream", "jetStream": {
                "servers": ["nats://nats:4222"], "stream": "CLICKS", "subjects": ["clicks.>"],
            }},
            "schema": {"fields": [{"name": "id", "type": "string"}]},
            "sink": {"type": "Delta", "storage": {"url": "s3://lake/clicks"}},
        });
        let pipeline = json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "IngestionPipeline",
            "metadata": {"name": "clicks"}, "spec": spec,
        });
        self.namespace.apply(&pipeline).await.unwrap();
    }
}

/// One test, because each step needs the one before, and the definition is the cluster's only one.
#[tokio::test]
#[ignore = "needs a control plane; run by make test"]
async fn cluster_charts_are_installed_upgraded_rolled_back_and_uninstalled() {
    let cluster = Releases::new().await;
    let home = cluster.namespace.name().to_owned();
    let operator = cluster.namespace.user("tidegate");

    // Without the definition the notes say what is missing.
    let here = format!("watchNamespaces={{{home}}}");
    let notes = cluster.put("install", "tidegate", &[&here]).await;
    assert!(notes.contains("is not known to the cluster yet"), "{notes}");
    cluster.put("install", "tidegate-crds", &[]).await;
    cluster.pipeline().await;
    let first = cluster.deployment().await;
    assert_eq!(first.replicas, Some(2));

    // The rights end at the namespace, and are the ones that the operator needs.
    assert!(cluster.may(&operator, "create", "statefulsets.apps", &home).await);
    assert!(cluster.may(&operator, "patch", "ingestionpipelines.tidegate.dev#status", &home).await);
    assert!(cluster.may(&operator, "update", "leases/tidegate-operator", &home).await);
    for (verb, resource, namespace) in [
        ("get", "secrets", home.as_str()),
        ("list", "secrets", &home),
        ("create", "pods#exec", &home),
        ("update", "leases/somebody-else", &home),
        ("create", "statefulsets.apps", "default"),
        ("list", "ingestionpipelines.tidegate.dev", "default"),
        ("list", "nodes", &home),
    ] {
        assert!(!cluster.may(&operator, verb, resource, namespace).await, "{verb} {resource}");
    }

    // People with the cluster's own roles may work with pipelines.
    for role in ["view", "edit"] {
        let user = format!("--user={role}er");
        let arguments = ["create", "rolebinding", role, "--clusterrole", role, &user];
        cluster.namespace.kubectl(&arguments).await.unwrap();
    }
    let kind = "ingestionpipelines.tidegate.dev";
    eventually("the roles are aggregated", LONG, async || {
        cluster.may("viewer", "list", kind, &home).await
            && cluster.may("editer", "delete", kind, &home).await
    })
    .await
    .unwrap();
    assert!(!cluster.may("viewer", "patch", kind, &home).await);
    assert!(!cluster.may("editer", "patch", &format!("{kind}#status"), &home).await);

    // An upgrade changes what was asked for, rights included.
    let notes = cluster.put("upgrade", "tidegate", &["replicaCount=3", "operator.log=debug"]).await;
    assert!(notes.contains("every namespace"), "{notes}");
    assert_eq!(cluster.deployment().await.replicas, Some(3));
    assert_ne!(cluster.deployment().await.template, first.template);
    assert!(cluster.may(&operator, "create", "statefulsets.apps", "default").await);
    assert!(!cluster.may(&operator, "list", "secrets", "default").await);

    // A rollback puts everything back.
    cluster.helm(&["rollback", "tidegate", "1", "--wait", "--timeout=60s"]).await;
    assert_eq!(cluster.deployment().await, first);
    assert!(!cluster.may(&operator, "create", "statefulsets.apps", "default").await);

    // What is left of both is the definition and the pipelines, and they are taken over again.
    assert!(!cluster.of_the_release(KINDS).await.is_empty());
    cluster.helm(&["uninstall", "tidegate", "--wait"]).await;
    cluster.helm(&["uninstall", "tidegate-crds", "--wait"]).await;
    assert_eq!(cluster.of_the_release(KINDS).await, Vec::<String>::new());
    assert_eq!(cluster.names(&["secrets", "-l", "owner=helm"]).await, Vec::<String>::new());
    assert_eq!(cluster.names(&DEFINITIONS).await.len(), 2);
    assert_eq!(cluster.names(&[kind]).await.len(), 1);
    cluster.put("install", "tidegate-crds", &[]).await;
    cluster.put("install", "tidegate", &[&here]).await;
    assert_eq!(cluster.names(&[kind]).await.len(), 1);
}
