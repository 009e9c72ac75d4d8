//! The objects as they are sent.

use std::time::Duration;

use insta::assert_yaml_snapshot;
use tidegate_api::IngestionPipelineSpec;

use super::fixture::{FULL, MINIMAL, decisions, pipeline};
use crate::objects::fixtures::{full_settings, settings};
use crate::streaming::resources::{Cleanup, build, cleanup_job};

#[test]
fn a_minimal_pipeline_has_these_objects() {
    let resources = build(&pipeline(MINIMAL), &decisions(), &settings());
    assert_yaml_snapshot!("minimal_service_account", resources.service_account);
    assert_yaml_snapshot!("minimal_network_policy", resources.network_policy);
    assert_yaml_snapshot!("minimal_config", resources.config);
    assert_yaml_snapshot!("minimal_assignment", resources.assignment);
    assert_yaml_snapshot!("minimal_agent", resources.agent);
    assert_yaml_snapshot!("minimal_service", resources.service);
    assert_yaml_snapshot!("minimal_workers", resources.workers);
    assert_yaml_snapshot!("minimal_disruption_budget", resources.disruption_budget);
}

#[test]
fn a_pipeline_that_says_everything_has_these_objects() {
    let resources = build(&pipeline(FULL), &decisions(), &full_settings());
    assert!(resources.service_account.is_none(), "the spec names one");
    assert_yaml_snapshot!("full_network_policy", resources.network_policy);
    assert_yaml_snapshot!("full_agent", resources.agent);
    assert_yaml_snapshot!("full_workers", resources.workers);
}

#[test]
fn a_cleanup_has_these_objects() {
    let deadline = Duration::from_secs(600);
    let Cleanup { service_account, network_policy, config, job } =
        cleanup_job(&pipeline(FULL), &settings(), deadline);
    assert!(service_account.is_none(), "the spec names one");
    for metadata in [&network_policy.metadata, &config.metadata, &job.metadata] {
        let owners = metadata.owner_references.as_deref().expect("an owner");
        assert!(owners.iter().all(|owner| owner.block_owner_deletion == Some(false)));
    }
    assert_yaml_snapshot!("cleanup_job", job);
}

#[test]
fn the_accepted_spec_can_be_read_again() {
    for document in [MINIMAL, FULL] {
        let pipeline = pipeline(document);
        let accepted = build(&pipeline, &decisions(), &settings()).accepted;
        let text = accepted.data.expect("data").remove("spec.json").expect("the spec");
        let read: IngestionPipelineSpec = serde_json::from_str(&text).expect("a spec");
        assert_eq!(read, pipeline.spec);
    }
}
