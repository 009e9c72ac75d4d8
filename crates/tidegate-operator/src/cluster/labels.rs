//! Labels and annotations of our objects: how they are found, and who they belong to.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{Resource, ResourceExt};

/// The application.
pub(crate) const NAME: &str = "app.kubernetes.io/name";
/// The pipeline, for tools that know nothing of Tidegate.
pub(crate) const INSTANCE: &str = "app.kubernetes.io/instance";
/// The [`Component`].
pub(crate) const COMPONENT: &str = "app.kubernetes.io/component";
/// Who keeps the object.
pub(crate) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The pipeline.
pub(crate) const PIPELINE: &str = "tidegate.dev/pipeline";
/// The run that an attempt belongs to.
pub(crate) const RUN: &str = "tidegate.dev/run";
/// The number of an attempt.
pub(crate) const ATTEMPT: &str = "tidegate.dev/attempt";
/// Of a service account: whether pipelines may name it.
pub(crate) const PIPELINE_USE: &str = "tidegate.dev/pipeline-use";

/// Annotation of our objects: the hash of what was applied.
pub(crate) const APPLIED_HASH: &str = "tidegate.dev/applied-hash";
/// Annotation of pods: the hash of the configuration that they work with.
pub(crate) const CONFIG_HASH: &str = "tidegate.dev/config-hash";
/// What begins so is ours: users cannot set it on pods.
pub(crate) const OWN_PREFIX: &str = "tidegate.dev/";

/// Selects our objects, whatever their pipeline.
pub(crate) const OURS: &str = "app.kubernetes.io/managed-by=tidegate-operator";

const APPLICATION: &str = "tidegate";
const MANAGER: &str = "tidegate-operator";

/// What a pod does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Component {
    /// Reads partitions.
    Worker,
    /// Looks after stream, table and log.
    Agent,
    /// Deletes what lies outside the cluster.
    Cleanup,
    /// Makes one attempt of a run.
    Transfer,
    /// Reads one chunk of a run.
    Chunk,
    /// Says what the table's log holds.
    Calendar,
}

impl Component {
    /// The label's value, and the pod's command.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Agent => "agent",
            Self::Cleanup => "cleanup",
            Self::Transfer => "transfer",
            Self::Chunk => "transfer-chunk",
            Self::Calendar => "calendar",
        }
    }
}

/// Whether an object belongs to a component.
pub(crate) fn is_of<K: Resource>(object: &K, component: Component) -> bool {
    object.labels().get(COMPONENT).is_some_and(|label| label == component.as_str())
}

/// The labels of every object of a pipeline.
pub(crate) fn common(pipeline: &str) -> BTreeMap<String, String> {
    pairs([(NAME, APPLICATION), (INSTANCE, pipeline), (MANAGED_BY, MANAGER), (PIPELINE, pipeline)])
}

/// The labels of the objects that belong to one component, and of its pods.
pub(crate) fn of(pipeline: &str, component: Component) -> BTreeMap<String, String> {
    let mut labels = common(pipeline);
    labels.insert(COMPONENT.to_owned(), component.as_str().to_owned());
    labels
}

/// Selects a component's pods. Selectors of workloads can never change, so neither can this.
pub(crate) fn selector(pipeline: &str, component: Component) -> LabelSelector {
    let labels = pairs([(COMPONENT, component.as_str()), (PIPELINE, pipeline)]);
    LabelSelector { match_labels: Some(labels), match_expressions: None }
}

/// [`selector`] as text, as the scale subresource wants it.
pub(crate) fn selector_text(pipeline: &str, component: Component) -> String {
    format!("{COMPONENT}={},{PIPELINE}={pipeline}", component.as_str())
}

/// Selects all pods of a pipeline.
pub(crate) fn all_pods(pipeline: &str) -> LabelSelector {
    LabelSelector { match_labels: Some(pairs([(PIPELINE, pipeline)])), match_expressions: None }
}

/// Whether an object with these labels is kept by the operator. It says nothing about which pipeline
/// owns it: see its owner reference.
pub(crate) fn is_ours(labels: Option<&BTreeMap<String, String>>) -> bool {
    let Some(labels) = labels else { return false };
    labels.get(MANAGED_BY).is_some_and(|manager| manager == MANAGER)
        && labels.contains_key(PIPELINE)
}

/// Labels or annotations of a pod: what users write is taken unless it is ours.
pub(crate) fn merged(
    users: &BTreeMap<String, String>,
    ours: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let mut merged = users.clone();
    merged.retain(|key, _| !key.starts_with(OWN_PREFIX));
    merged.extend(ours);
    merged
}

fn pairs<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_find_what_is_labelled() {
        for component in [
            Component::Worker,
            Component::Agent,
            Component::Cleanup,
            Component::Transfer,
            Component::Chunk,
            Component::Calendar,
        ] {
            let labels = of("clicks", component);
            for selector in [selector("clicks", component), all_pods("clicks")] {
                for (key, value) in selector.match_labels.expect("labels") {
                    assert_eq!(labels.get(&key), Some(&value), "{key} of {component:?}");
                }
            }
            for pair in selector_text("clicks", component).split(',') {
                let (key, value) = pair.split_once('=').expect("a pair");
                assert_eq!(labels.get(key).map(String::as_str), Some(value), "{pair}");
            }
        }
    }

    #[test]
    fn only_what_the_operator_keeps_is_ours() {
        assert!(is_ours(Some(&common("clicks"))));
        assert!(is_ours(Some(&of("clicks", Component::Agent))));
        assert!(!is_ours(None));
        let mut helms = common("clicks");
        helms.insert(MANAGED_BY.to_owned(), "Helm".to_owned());
        assert!(!is_ours(Some(&helms)));
        let mut of_nobody = common("clicks");
        of_nobody.remove(PIPELINE);
        assert!(!is_ours(Some(&of_nobody)));
        assert_eq!(OURS, format!("{MANAGED_BY}={MANAGER}"));
    }

    #[test]
    fn users_add_labels_but_never_ours() {
        let users =
            pairs([("team", "web"), (PIPELINE, "other"), ("tidegate.dev/new", "x"), (NAME, "y")]);
        let merged = merged(&users, common("clicks"));
        assert_eq!(merged.get("team").map(String::as_str), Some("web"));
        assert_eq!(merged.get(PIPELINE).map(String::as_str), Some("clicks"));
        assert_eq!(merged.get(NAME).map(String::as_str), Some("tidegate"));
        assert!(!merged.contains_key("tidegate.dev/new"));
    }
}
