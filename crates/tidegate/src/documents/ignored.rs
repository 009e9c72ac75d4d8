//! What of a pipeline's document only a cluster heeds.

use tidegate_api::{DeletionPolicySpec, IngestionPipelineSpec, ScalingSpec, TemplateSpec};

/// The number of workers that a spec has when it says nothing.
const DEFAULT_REPLICAS: u32 = 1;

/// The fields that say something here and have no effect.
pub(crate) fn ignored(spec: &IngestionPipelineSpec) -> Vec<&'static str> {
    let said = [
        ("deletionPolicy", spec.deletion_policy != DeletionPolicySpec::default()),
        ("replicas", spec.replicas != DEFAULT_REPLICAS),
        ("scaling", spec.scaling != ScalingSpec::default()),
        ("serviceAccountName", spec.service_account_name.is_some()),
        ("template", spec.template != TemplateSpec::default()),
    ];
    said.into_iter().filter(|(_, said)| *said).map(|(name, _)| name).collect()
}

/// One line about the ignored fields of all pipelines; none when there are none.
pub(crate) fn notice<'a>(
    ignored: impl IntoIterator<Item = &'a [&'static str]>,
    workers: u32,
) -> Option<String> {
    let mut names: Vec<&str> = ignored.into_iter().flatten().copied().collect();
    names.sort_unstable();
    names.dedup();
    let (last, others) = names.split_last()?;
    let (names, have) = match others {
        [] => ((*last).to_owned(), "has"),
        others => (format!("{} and {last}", others.join(", ")), "have"),
    };
    Some(format!(
        "{names} {have} no effect without a cluster; each pipeline has --workers {workers}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notice_is_one_line_for_all_pipelines() {
        let lists: [&[&'static str]; 3] = [&["template", "scaling"], &[], &["replicas", "scaling"]];
        assert_eq!(
            notice(lists, 2).as_deref(),
            Some(
                "replicas, scaling and template have no effect without a cluster; \
                 each pipeline has --workers 2"
            )
        );
        let one: [&[&'static str]; 1] = [&["template"]];
        assert_eq!(
            notice(one, 1).as_deref(),
            Some("template has no effect without a cluster; each pipeline has --workers 1")
        );
        let none: [&[&'static str]; 1] = [&[]];
        assert_eq!(notice(none, 1), None);
    }
}
