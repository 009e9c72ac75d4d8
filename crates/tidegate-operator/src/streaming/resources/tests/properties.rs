//! What holds for every pipeline and every installation.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use proptest::prelude::*;
use serde::Serialize;
use tidegate_api::{CaKind, CaRef, CredentialsSpec, SecretRef, TlsSpec};

use super::fixture::{FULL, MINIMAL, decisions, pipeline, pod, templates};
use crate::cluster::labels;
use crate::objects::fixtures::{full_settings, settings};
use crate::options::{CloudIdentity, PodSettings};
use crate::streaming::resources::{build, cleanup_job};
use crate::validation::ValidatedPipeline;

const DEADLINE: Duration = Duration::from_secs(600);

/// A pipeline whose references are drawn from few names, so that they often meet.
fn pipelines() -> impl Strategy<Value = ValidatedPipeline> {
    let name = || prop::option::of(prop::sample::select(vec!["one", "two", "a.name-with.dots"]));
    let ca = prop::option::of((prop::sample::select(vec!["one", "two", "ca"]), any::<bool>()));
    (name(), name(), name(), name(), ca, any::<bool>()).prop_map(
        |(worker, admin, store, client, ca, full)| {
            let mut built = pipeline(if full { FULL } else { MINIMAL });
            let secret = |name: Option<&str>| name.map(|name| SecretRef { name: name.to_owned() });
            let credentials = |name| secret(name).map(|secret_ref| CredentialsSpec { secret_ref });
            let stream = built.spec.source.jet_stream.as_mut().expect("a stream");
            stream.credentials = credentials(worker);
            stream.admin_credentials = credentials(admin);
            let kind = |is_secret| if is_secret { CaKind::Secret } else { CaKind::ConfigMap };
            stream.tls = Some(TlsSpec {
                client_secret_ref: secret(client),
                ca_ref: ca.map(|(name, is_secret)| CaRef {
                    kind: kind(is_secret),
                    name: name.to_owned(),
                    key: "ca.crt".to_owned(),
                }),
            });
            built.spec.sink.storage.secret_ref = secret(store);
            built
        },
    )
}

fn installations() -> impl Strategy<Value = PodSettings> {
    let identities = vec![
        CloudIdentity::None,
        CloudIdentity::Irsa,
        CloudIdentity::EksPodIdentity,
        CloudIdentity::Gke,
        CloudIdentity::Azure,
    ];
    (any::<bool>(), prop::sample::select(identities)).prop_map(|(full, cloud_identity)| {
        let settings = if full { full_settings() } else { settings() };
        PodSettings { cloud_identity, ..settings }
    })
}

/// The pods of agent, workers and cleanup.
fn all_templates(pipeline: &ValidatedPipeline, settings: &PodSettings) -> [PodTemplateSpec; 3] {
    let [agent, workers] = templates(&build(pipeline, &decisions(), settings));
    let job = cleanup_job(pipeline, settings, DEADLINE).job;
    [agent, workers, job.spec.expect("a spec").template]
}

/// Secrets that a pod mounts.
fn secrets(pod: &PodSpec) -> BTreeSet<String> {
    let projected = pod.volumes.iter().flatten().filter_map(|volume| volume.projected.as_ref());
    let sources = projected.flat_map(|volume| volume.sources.iter().flatten());
    sources.filter_map(|source| source.secret.as_ref()).map(|secret| secret.name.clone()).collect()
}

fn bytes(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("JSON")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_mount_has_its_volume_and_no_name_comes_twice(
        pipeline in pipelines(),
        settings in installations(),
    ) {
        for template in all_templates(&pipeline, &settings) {
            let pod = pod(&template);
            let container = &pod.containers[0];
            let volumes: Vec<_> = pod.volumes.iter().flatten().map(|v| v.name.clone()).collect();
            let mounts = container.volume_mounts.as_ref().expect("mounts");
            let mounted: Vec<_> = mounts.iter().map(|mount| mount.name.clone()).collect();
            prop_assert_eq!(&volumes, &mounted);
            let paths: BTreeSet<_> = mounts.iter().map(|mount| mount.mount_path.clone()).collect();
            prop_assert_eq!(paths.len(), mounts.len());
            let distinct: BTreeSet<_> = volumes.iter().collect();
            prop_assert_eq!(distinct.len(), volumes.len());
            for name in &volumes {
                prop_assert!(name.len() <= 63 && !name.contains('.'), "{} is no volume", name);
            }
            let env = container.env.as_ref().expect("variables");
            let names: BTreeSet<_> = env.iter().map(|variable| variable.name.clone()).collect();
            prop_assert_eq!(names.len(), env.len());
        }
    }

    #[test]
    fn each_component_mounts_the_secrets_that_it_needs_and_no_more(
        pipeline in pipelines(),
        settings in installations(),
    ) {
        let stream = pipeline.spec.source.jet_stream.as_ref().expect("a stream");
        let named = |reference: Option<&SecretRef>| reference.map(|secret| secret.name.clone());
        let worker = named(stream.credentials.as_ref().map(|c| &c.secret_ref));
        let admin = named(stream.admin_credentials.as_ref().map(|c| &c.secret_ref));
        let tls = stream.tls.as_ref().expect("TLS");
        let mut common: BTreeSet<_> = named(tls.client_secret_ref.as_ref()).into_iter().collect();
        common.extend(named(pipeline.spec.sink.storage.secret_ref.as_ref()));
        let ca = tls.ca_ref.as_ref().filter(|ca| ca.kind == CaKind::Secret);
        common.extend(ca.map(|ca| ca.name.clone()));
        let with = |more: [Option<String>; 2]| -> BTreeSet<String> {
            common.iter().cloned().chain(more.into_iter().flatten()).collect()
        };
        let [agent, workers, cleanup] = all_templates(&pipeline, &settings);
        prop_assert_eq!(secrets(pod(&workers)), with([worker.clone(), None]));
        prop_assert_eq!(secrets(pod(&agent)), with([worker.clone(), admin.clone()]));
        prop_assert_eq!(secrets(pod(&cleanup)), with([admin.or(worker), None]));
    }

    #[test]
    fn secrets_reach_pods_as_optional_files_only(
        pipeline in pipelines(),
        settings in installations(),
    ) {
        for template in all_templates(&pipeline, &settings) {
            let pod = pod(&template);
            let volumes = pod.volumes.as_ref().expect("volumes");
            prop_assert!(volumes.iter().all(|volume| volume.secret.is_none()));
            let projected = volumes.iter().filter_map(|volume| volume.projected.as_ref());
            for source in projected.flat_map(|volume| volume.sources.iter().flatten()) {
                let secret = source.secret.as_ref().map(|secret| secret.optional);
                let config_map = source.config_map.as_ref().map(|map| map.optional);
                prop_assert_eq!(secret.or(config_map), Some(Some(true)));
                prop_assert!(source.service_account_token.is_none());
            }
            prop_assert!(!bytes(&template).contains("secretKeyRef"));
            prop_assert!(!bytes(&template).contains("envFrom"));
        }
    }

    #[test]
    fn pods_are_restricted_and_found_whatever_the_user_writes(
        mut pipeline in pipelines(),
        settings in installations(),
        keys in prop::collection::vec("(tidegate.dev|app.kubernetes.io|example.com)/[a-z]{1,9}", 0..9),
    ) {
        let written: BTreeMap<_, _> = keys.into_iter().map(|key| (key, "user".to_owned())).collect();
        pipeline.spec.template.labels.extend(written.clone());
        pipeline.spec.template.annotations.extend(written);
        let components = [
            labels::Component::Agent,
            labels::Component::Worker,
            labels::Component::Cleanup,
        ];
        for (template, component) in all_templates(&pipeline, &settings).iter().zip(components) {
            let metadata = template.metadata.as_ref().expect("metadata");
            let found = metadata.labels.as_ref().expect("labels");
            prop_assert!(labels::is_ours(Some(found)));
            for (key, value) in labels::of(&pipeline.name, component) {
                prop_assert_eq!(found.get(&key), Some(&value));
            }
            let annotations = metadata.annotations.as_ref().expect("annotations");
            prop_assert_eq!(annotations.get(labels::CONFIG_HASH), Some(&pipeline.config_hash));
            let pod = pod(template);
            prop_assert_eq!(pod.automount_service_account_token, Some(false));
            prop_assert_eq!(pod.security_context.as_ref().and_then(|s| s.run_as_non_root), Some(true));
            let security = pod.containers[0].security_context.as_ref().expect("a context");
            prop_assert_eq!(security.allow_privilege_escalation, Some(false));
            prop_assert_eq!(security.read_only_root_filesystem, Some(true));
            prop_assert!(pod.containers[0].command.is_none());
        }
    }

    #[test]
    fn the_same_inputs_give_the_same_bytes(pipeline in pipelines(), settings in installations()) {
        let [first, second] = [(); 2].map(|()| {
            let resources = build(&pipeline, &decisions(), &settings);
            let cleanup = cleanup_job(&pipeline, &settings, DEADLINE);
            [
                bytes(&resources.service_account),
                bytes(&resources.network_policy),
                bytes(&resources.accepted),
                bytes(&resources.config),
                bytes(&resources.assignment),
                bytes(&resources.agent),
                bytes(&resources.service),
                bytes(&resources.workers),
                bytes(&resources.disruption_budget),
                bytes(&cleanup.job),
            ]
        });
        prop_assert_eq!(first, second);
    }
}

#[test]
fn another_configuration_rolls_the_pods_and_another_assignment_does_not() {
    let pipeline = pipeline(FULL);
    let before = templates(&build(&pipeline, &decisions(), &settings()));

    let mut moved = decisions();
    moved.assignment.generation += 1;
    moved.replicas += 1;
    assert_eq!(templates(&build(&pipeline, &moved, &settings())), before);

    let mut edited = pipeline.clone();
    edited.config_hash = "ba9876543210".to_owned();
    for (new, old) in templates(&build(&edited, &decisions(), &settings())).iter().zip(&before) {
        assert_ne!(new, old);
    }
}

#[test]
fn what_pods_need_not_know_does_not_roll_them() {
    let pipeline = pipeline(FULL);
    let before = templates(&build(&pipeline, &decisions(), &settings()));
    let mut edited = pipeline.clone();
    edited.spec.suspend = true;
    edited.spec.replicas = 3;
    edited.spec.scaling.min_replicas = 1;
    edited.spec.deletion_policy = tidegate_api::DeletionPolicySpec::default();
    assert_eq!(templates(&build(&edited, &decisions(), &settings())), before);
}

#[test]
fn the_cleanup_deletes_only_what_the_policy_says() {
    use tidegate_api::DeletionAction::{Delete, Retain};
    let table = [
        (Delete, Delete, &["--delete-stream", "--delete-data"][..]),
        (Delete, Retain, &["--delete-stream"]),
        (Retain, Delete, &["--delete-data"]),
        (Retain, Retain, &[]),
    ];
    for (stream, data, expected) in table {
        let mut pipeline = pipeline(MINIMAL);
        pipeline.spec.deletion_policy = tidegate_api::DeletionPolicySpec { stream, data };
        let job = cleanup_job(&pipeline, &settings(), DEADLINE).job;
        let template = job.spec.expect("a spec").template;
        let arguments = pod(&template).containers[0].args.clone().expect("arguments");
        let deletes: Vec<_> = arguments.iter().filter(|a| a.starts_with("--delete-")).collect();
        assert_eq!(deletes, expected);
    }
}

#[test]
fn an_identity_endpoint_is_reached_without_the_proxy() {
    let no_proxy = |identity, settings: PodSettings| {
        let settings = PodSettings { cloud_identity: identity, ..settings };
        let [agent, _] = templates(&build(&pipeline(MINIMAL), &decisions(), &settings));
        let env = pod(&agent).containers[0].env.clone().expect("variables");
        env.into_iter().find(|variable| variable.name == "NO_PROXY").and_then(|found| found.value)
    };
    let eks = no_proxy(CloudIdentity::EksPodIdentity, full_settings());
    assert_eq!(eks.as_deref(), Some(".svc,169.254.170.23,fd00:ec2::23"));
    assert_eq!(no_proxy(CloudIdentity::Irsa, full_settings()).as_deref(), Some(".svc"));
    assert_eq!(no_proxy(CloudIdentity::EksPodIdentity, settings()), None);
}
