//! What tells one component's pods from another's.

use k8s_openapi::api::core::v1::{ResourceRequirements, TopologySpreadConstraint};

use super::secrets::Folder;
use crate::cluster::labels::Component;

/// See the module.
pub(crate) struct Shape {
    /// What they do.
    pub(crate) component: Component,
    /// The command line behind the binary.
    pub(crate) arguments: Vec<String>,
    /// The folders of secrets that they need.
    pub(crate) folders: Vec<Folder>,
    /// CPU and memory.
    pub(crate) resources: ResourceRequirements,
    /// Seconds between SIGTERM and SIGKILL.
    pub(crate) grace_seconds: i64,
    /// How they spread.
    pub(crate) spread: Vec<TopologySpreadConstraint>,
}
