//! What the objects of all pipelines are made of, without a client.
//!
//! The same inputs give the same bytes: nothing is counted, timed or drawn, and what users list is kept
//! in their order. Pods read two documents, the configuration (its hash is in the `ConfigMap`'s name, so
//! another one rolls the pods) and the assignment (a fixed name, so another one rolls nothing).

mod cloud_identity;
pub(crate) mod config_maps;
mod environment;
#[cfg(test)]
pub(crate) mod fixtures;
pub(crate) mod job;
pub(crate) mod metadata;
pub(crate) mod network_policy;
pub(crate) mod pod;
mod probes;
pub(crate) mod secrets;
pub(crate) mod service_account;
pub(crate) mod shape;
pub(crate) mod volumes;
