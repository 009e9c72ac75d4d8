//! A real Kubernetes control plane for tests, and ways into it.
//!
//! ```no_run
//! # async fn test() -> anyhow::Result<()> {
//! use serde_json::json;
//! use tidegate_testing::{Namespace, ProcessNode};
//!
//! let namespace = Namespace::create("scaling").await?; // starts the control plane if need be
//! let node = ProcessNode::start(&namespace).await?; // or `stand_in`: pods without processes
//! namespace
//!     .apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}))
//!     .await?;
//! namespace.kubectl(&["get", "pods"]).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Tests that use it are ignored with the reason `needs a control plane; run by make test`, and the path
//! of their names begins with `cluster`, so that they can be left out where the programs cannot be built.

mod access;
mod audit;
mod component;
mod control_plane;
mod namespace;
mod tap;
mod tools;

pub use access::Access;
pub use audit::{AuditObject, AuditRecord, AuditStatus, AuditUser};
pub use control_plane::ControlPlane;
pub use namespace::Namespace;
pub use tap::{Asked, Moment, Tap, TapLayer};
pub use tools::cluster_tools;
