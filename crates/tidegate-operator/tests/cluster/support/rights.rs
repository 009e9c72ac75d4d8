//! The operator's account and Role, as the chart renders them.

use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tidegate_testing::{Namespace, cluster::cluster_tools, workspace};

/// The operator's service account.
pub(crate) const ACCOUNT: &str = "tidegate";
/// Stands for the namespace in what Helm rendered once for all tests.
const PLACEHOLDER: &str = "some-namespace";

/// Makes the account and gives it its rights in the namespace.
pub(crate) async fn grant(namespace: &Namespace) -> Result<()> {
    static RENDERED: OnceLock<Result<Vec<String>>> = OnceLock::new();
    let documents = RENDERED.get_or_init(render).as_ref();
    let documents = documents.map_err(|error| anyhow::anyhow!("render the chart: {error:#}"))?;
    for document in documents {
        let document = document.replace(PLACEHOLDER, namespace.name());
        let document: Value = serde_yaml::from_str(&document).context("read the chart's YAML")?;
        namespace.apply(&document).await?;
    }
    Ok(())
}

/// What is of one namespace; roles for people are of the whole cluster.
fn render() -> Result<Vec<String>> {
    let output = Command::new(cluster_tools()?.join("helm"))
        .args(["template", ACCOUNT])
        .arg(workspace().join("charts/tidegate"))
        .args(["--namespace", PLACEHOLDER, "--set", &format!("watchNamespaces={{{PLACEHOLDER}}}")])
        .args(["--set", "fullnameOverride=tidegate", "--kube-version", "1.34"])
        .args(["--show-only", "templates/rbac.yaml"])
        .args(["--show-only", "templates/serviceaccount.yaml"])
        .output()
        .context("run helm")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "helm template: {complaint}");
    let text = String::from_utf8(output.stdout).context("Helm writes text")?;
    let documents = text.split("\n---").filter(|document| document.contains("kind:"));
    Ok(documents.map(|document| document.trim_start_matches("---").to_owned()).collect())
}
