//! The names of everything that a pipeline has in the cluster. Nobody formats one elsewhere.

/// The field manager of every write.
pub(crate) const FIELD_MANAGER: &str = "tidegate-operator";
/// The finalizer of pipelines that leave something outside the cluster to be deleted.
pub(crate) const FINALIZER: &str = "tidegate.dev/cleanup";

/// The key of the configuration in its `ConfigMap`, and the name of its file.
pub(crate) const CONFIG_KEY: &str = "pipeline.json";
/// The key of the assignment, and the name of its file.
pub(crate) const ASSIGNMENT_KEY: &str = "assignment.json";
/// The key of the accepted spec.
pub(crate) const ACCEPTED_KEY: &str = "spec.json";

/// The longest name of a pipeline. The pods of a `StatefulSet` carry its name with eleven characters
/// behind it as a label, and a label has at most 63: 63 − 11 − `-worker`.
pub(crate) const LONGEST_PIPELINE: usize = 45;

/// The `StatefulSet` of the workers, its Service and its `PodDisruptionBudget`.
pub(crate) fn workers(pipeline: &str) -> String {
    format!("{pipeline}-worker")
}

/// The pod of a worker, which is also its name in assignments.
pub(crate) fn worker_pod(pipeline: &str, ordinal: u32) -> String {
    format!("{pipeline}-worker-{ordinal}")
}

/// The agent's Deployment.
pub(crate) fn agent(pipeline: &str) -> String {
    format!("{pipeline}-agent")
}

/// The Job that deletes what lies outside the cluster.
pub(crate) fn cleanup(pipeline: &str) -> String {
    format!("{pipeline}-cleanup")
}

/// The `ConfigMap` of one configuration. It is never a label, and a name has up to 253 characters.
pub(crate) fn config(pipeline: &str, content_hash: &str) -> String {
    format!("{pipeline}-config-{content_hash}")
}

/// The `ConfigMap` that says who reads what.
pub(crate) fn assignment(pipeline: &str) -> String {
    format!("{pipeline}-assignment")
}

/// The `ConfigMap` that remembers the spec that was accepted last.
pub(crate) fn accepted(pipeline: &str) -> String {
    format!("{pipeline}-accepted")
}

/// What belongs to all pods of a pipeline: their `ServiceAccount` and `NetworkPolicy`.
pub(crate) fn shared(pipeline: &str) -> String {
    format!("{pipeline}-pipeline")
}

/// Whether a `ConfigMap` of ours holds a configuration, an older one perhaps.
pub(crate) fn is_config(pipeline: &str, object: &str) -> bool {
    object
        .strip_prefix(pipeline)
        .and_then(|rest| rest.strip_prefix("-config-"))
        .is_some_and(|hash| !hash.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_pipeline_has_names_that_are_labels_where_they_have_to_be() {
        let pipeline = "p".repeat(LONGEST_PIPELINE);
        let revision = format!("{}-1234567890", workers(&pipeline));
        let names = [
            revision,
            worker_pod(&pipeline, 255),
            agent(&pipeline),
            cleanup(&pipeline),
            assignment(&pipeline),
            accepted(&pipeline),
            shared(&pipeline),
        ];
        for name in &names {
            assert!(name.len() <= 63, "{name} has {} characters", name.len());
        }
        assert_eq!(names[0].len(), 63, "a longer pipeline would not do");
    }

    #[test]
    fn configurations_are_told_from_the_other_documents() {
        assert!(is_config("clicks", &config("clicks", "0123456789ab")));
        assert!(!is_config("clicks", &assignment("clicks")));
        assert!(!is_config("clicks", &accepted("clicks")));
        assert!(!is_config("clicks", &config("clicks-two", "0123456789ab")));
        assert!(!is_config("clicks", "clicks-config-"));
    }
}
