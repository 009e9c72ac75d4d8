//! The environment of the pods.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector};

use super::{cloud_identity, volumes};
use crate::options::PodSettings;

/// Names the file with private authorities.
pub(crate) const PRIVATE_CA: &str = "TIDEGATE_PRIVATE_CA";

const OWN: [&str; 3] = ["POD_NAME", "POD_IP", PRIVATE_CA];
const PROXIES: [&str; 2] = ["HTTP_PROXY", "HTTPS_PROXY"];
const NO_PROXY: &str = "NO_PROXY";

/// Keeps a store of AWS from asking the machine for keys.
const MACHINE_DISABLED: &str = "AWS_EC2_METADATA_DISABLED";

/// The variables: where the pod is, the private authorities, and what the operator was told to hand on.
pub(crate) fn variables(settings: &PodSettings) -> Vec<EnvVar> {
    let mut variables =
        vec![of_the_pod("POD_NAME", "metadata.name"), of_the_pod("POD_IP", "status.podIP")];
    if settings.private_ca_config_map.is_some() {
        variables.push(variable(PRIVATE_CA, volumes::PRIVATE_CA_FILE.to_owned()));
    }
    let handed_on = handed_on(settings).into_iter();
    variables.extend(handed_on.map(|(name, value)| variable(name, value)));
    variables
}

/// By name, the last one of a name; ours cannot be replaced. An identity endpoint stands on the node
/// itself, where no proxy reaches it. One that the network's policy closes is not asked in vain, unless
/// somebody who knows better says so.
fn handed_on(settings: &PodSettings) -> BTreeMap<&str, String> {
    let written = settings.environment.iter();
    let mut variables: BTreeMap<&str, String> = written
        .filter(|(name, _)| !OWN.contains(&name.as_str()))
        .map(|(name, value)| (name.as_str(), value.clone()))
        .collect();
    if !cloud_identity::reaches_machine(settings.cloud_identity) {
        variables.entry(MACHINE_DISABLED).or_insert_with(|| "true".to_owned());
    }
    if PROXIES.iter().any(|proxy| variables.contains_key(proxy)) {
        let direct = cloud_identity::hosts(settings.cloud_identity);
        let listed = variables.remove(NO_PROXY).filter(|hosts| !hosts.is_empty());
        let hosts: Vec<_> = listed.into_iter().chain(direct.map(str::to_owned)).collect();
        if !hosts.is_empty() {
            variables.insert(NO_PROXY, hosts.join(","));
        }
    }
    variables
}

fn of_the_pod(name: &str, path: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector { api_version: None, field_path: path.to_owned() }),
            ..EnvVarSource::default()
        }),
        value: None,
    }
}

fn variable(name: &str, value: String) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value), value_from: None }
}
