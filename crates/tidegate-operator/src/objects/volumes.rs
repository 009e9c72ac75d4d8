//! What is mounted where.

use k8s_openapi::api::core::v1::{
    ConfigMapProjection, ConfigMapVolumeSource, EmptyDirVolumeSource, PodSpec,
    ProjectedVolumeSource, SecretProjection, Volume, VolumeMount, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::secrets::Folder;
use super::shape::Shape;
use crate::cluster::labels::Component;
use crate::cluster::names::{self, ASSIGNMENT_KEY, CONFIG_KEY};
use crate::options::PodSettings;
use crate::validation::ValidatedPipeline;

/// The folder of secrets: `<name>/<key>`.
pub(crate) const SECRETS_DIR: &str = "/etc/tidegate/secrets";
/// The folder that may be written: the duplicate window's overflow. It is empty at every start.
pub(crate) const DATA_DIR: &str = "/var/lib/tidegate";
/// The file with authorities of the cluster's own, trusted beside the system's.
pub(crate) const PRIVATE_CA_FILE: &str = "/etc/tidegate/ca/ca.crt";
/// The volume behind [`DATA_DIR`].
pub(crate) const DATA: &str = "data";

const CONFIG_DIR: &str = "/etc/tidegate/config";
const ASSIGNMENT_DIR: &str = "/etc/tidegate/assignment";
const CA_DIR: &str = "/etc/tidegate/ca";
const CONFIG: &str = "config";
const ASSIGNMENT: &str = "assignment";
const CA: &str = "private-ca";

/// Owner and group may read, others nothing. The group is the pod's.
const SECRET_MODE: i32 = 0o440;
/// Space for the ids of a worker's windows, about 24 bytes each. A limit of `ephemeral-storage` in the
/// template replaces it.
const WORKER_SPACE: &str = "10Gi";

/// The configuration in the pods.
pub(crate) fn config_file() -> String {
    format!("{CONFIG_DIR}/{CONFIG_KEY}")
}

/// The assignment in the pods.
pub(crate) fn assignment_file() -> String {
    format!("{ASSIGNMENT_DIR}/{ASSIGNMENT_KEY}")
}

/// The volumes of a pod, one for each of its [`mounts`].
pub(crate) fn volumes<C>(
    pipeline: &ValidatedPipeline<C>,
    settings: &PodSettings,
    shape: &Shape,
) -> Vec<Volume> {
    let config = names::config(&pipeline.name, &pipeline.config_hash);
    let mut volumes = vec![config_map(CONFIG, config, None)];
    if shape.component == Component::Worker {
        volumes.push(config_map(ASSIGNMENT, names::assignment(&pipeline.name), None));
    }
    if let Some(authorities) = &settings.private_ca_config_map {
        volumes.push(config_map(CA, authorities.clone(), Some(true)));
    }
    if writes(shape) {
        volumes.push(data(shape));
    }
    volumes.extend(shape.folders.iter().map(secrets));
    volumes
}

/// Where they are.
pub(crate) fn mounts(settings: &PodSettings, shape: &Shape) -> Vec<VolumeMount> {
    let mut mounts = vec![read_only(CONFIG, CONFIG_DIR)];
    if shape.component == Component::Worker {
        mounts.push(read_only(ASSIGNMENT, ASSIGNMENT_DIR));
    }
    if settings.private_ca_config_map.is_some() {
        mounts.push(read_only(CA, CA_DIR));
    }
    if writes(shape) {
        mounts.push(VolumeMount {
            name: DATA.to_owned(),
            mount_path: DATA_DIR.to_owned(),
            ..VolumeMount::default()
        });
    }
    let folders = shape.folders.iter();
    mounts.extend(folders.map(|folder| {
        let path = format!("{SECRETS_DIR}/{}", folder.name);
        read_only(&folder.volume(), &path)
    }));
    mounts
}

/// The `ConfigMap`s that pods of a spec mount.
pub(crate) fn maps_of(spec: &PodSpec) -> impl Iterator<Item = String> + '_ {
    let volumes = spec.volumes.iter().flatten();
    volumes.filter_map(|volume| Some(volume.config_map.as_ref()?.name.clone()))
}

/// The others keep nothing: a run has no file of its own that is not in the table's store.
fn writes(shape: &Shape) -> bool {
    shape.component == Component::Worker
}

fn read_only(volume: &str, path: &str) -> VolumeMount {
    VolumeMount {
        name: volume.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

fn config_map(volume: &str, name: String, optional: Option<bool>) -> Volume {
    Volume {
        name: volume.to_owned(),
        config_map: Some(ConfigMapVolumeSource { name, optional, ..Default::default() }),
        ..Volume::default()
    }
}

fn data(shape: &Shape) -> Volume {
    let limits = shape.resources.limits.as_ref();
    let written = limits.and_then(|limits| limits.get("ephemeral-storage"));
    let space = written.map_or_else(|| Quantity(WORKER_SPACE.to_owned()), Quantity::clone);
    Volume {
        name: DATA.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource { medium: None, size_limit: Some(space) }),
        ..Volume::default()
    }
}

/// All keys of the objects of one name. They may be missing: the pod starts and says which one, and
/// goes on by itself when it comes.
fn secrets(folder: &Folder) -> Volume {
    let secret = folder.secret.then(|| VolumeProjection {
        secret: Some(SecretProjection {
            name: folder.name.clone(),
            items: None,
            optional: Some(true),
        }),
        ..VolumeProjection::default()
    });
    let config_map = folder.config_map.then(|| VolumeProjection {
        config_map: Some(ConfigMapProjection {
            name: folder.name.clone(),
            items: None,
            optional: Some(true),
        }),
        ..VolumeProjection::default()
    });
    Volume {
        name: folder.volume(),
        projected: Some(ProjectedVolumeSource {
            default_mode: Some(SECRET_MODE),
            sources: Some(secret.into_iter().chain(config_map).collect()),
        }),
        ..Volume::default()
    }
}
