//! What of a pipeline's document only a cluster heeds.

use tidegate_api::{
    BulkSpec, ChunkPlacement, DeletionPolicySpec, IngestionPipelineSpec, ScalingSpec, TemplateSpec,
};

/// The number of workers that a spec has when it says nothing.
const DEFAULT_REPLICAS: u32 = 1;

/// The fields that say something here and have no effect.
pub(crate) fn ignored(spec: &IngestionPipelineSpec) -> Vec<&'static str> {
    let bulk = spec.bulk.as_ref();
    let said = [
        ("deletionPolicy", spec.deletion_policy != DeletionPolicySpec::default()),
        ("replicas", spec.replicas != DEFAULT_REPLICAS),
        ("scaling", spec.scaling != ScalingSpec::default()),
        ("serviceAccountName", spec.service_account_name.is_some()),
        ("template", spec.template != TemplateSpec::default()),
        ("bulk.schedule.dependsOn", bulk.is_some_and(waits_for_others)),
        ("bulk.chunking.placement", bulk.is_some_and(wants_pods)),
        ("bulk.runTemplate.activeDeadlineSeconds", bulk.is_some_and(has_deadline)),
    ];
    said.into_iter().filter(|(_, said)| *said).map(|(name, _)| name).collect()
}

fn waits_for_others(bulk: &BulkSpec) -> bool {
    bulk.schedule.as_ref().is_some_and(|schedule| !schedule.depends_on.is_empty())
}

fn wants_pods(bulk: &BulkSpec) -> bool {
    bulk.chunking.placement == ChunkPlacement::Pods
}

fn has_deadline(bulk: &BulkSpec) -> bool {
    bulk.run_template.active_deadline_seconds.is_some()
}

/// One line about the ignored fields of all pipelines; none when there are none. With the number of
/// workers where there are any.
pub(crate) fn notice<'a>(
    ignored: impl IntoIterator<Item = &'a [&'static str]>,
    workers: Option<u32>,
) -> Option<String> {
    let mut names: Vec<&str> = ignored.into_iter().flatten().copied().collect();
    names.sort_unstable();
    names.dedup();
    let (last, others) = names.split_last()?;
    let (names, have) = match others {
        [] => ((*last).to_owned(), "has"),
        others => (format!("{} and {last}", others.join(", ")), "have"),
    };
    let workers = workers.map(|workers| format!("; each pipeline has --workers {workers}"));
    Some(format!("{names} {have} no effect without a cluster{}", workers.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notice_is_one_line_for_all_pipelines() {
        let lists: [&[&'static str]; 3] = [&["template", "scaling"], &[], &["replicas", "scaling"]];
        assert_eq!(
            notice(lists, Some(2)).as_deref(),
            Some(
                "replicas, scaling and template have no effect without a cluster; \
                 each pipeline has --workers 2"
            )
        );
        let one: [&[&'static str]; 1] = [&["template"]];
        assert_eq!(notice(one, None).as_deref(), Some("template has no effect without a cluster"));
        let none: [&[&'static str]; 1] = [&[]];
        assert_eq!(notice(none, Some(1)), None);
    }
}
