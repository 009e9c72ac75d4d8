//! Pods: where they listen, what they and Kubernetes say of them, and how they ended.

mod address;
mod client;
mod ended;
mod facts;

pub(crate) use address::{PORT, PORT_NAME, address, base_url};
pub(crate) use client::PodClient;
pub(crate) use ended::{
    End, Ended, PERMANENT, ended, is_of, last_condition, newest_pod, terminated,
};
pub(crate) use facts::{PodFacts, Trouble, pod_facts, trouble_to_begin};
