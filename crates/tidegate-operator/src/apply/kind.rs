//! The kinds of objects that pipelines have.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Resource;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cluster::{Cache, Caches};

/// A kind of object that pipelines have.
pub(crate) trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Serialize
    + DeserializeOwned
    + Clone
    + Debug
    + Send
    + Sync
    + 'static
{
    /// The kind's name.
    const NAME: &'static str;
    /// Where it is cached.
    fn cache(caches: &Caches) -> &Cache<Self>;
}

macro_rules! kinds {
    ($($kind:ident => $cache:ident,)+) => {
        $(impl Kind for $kind {
            const NAME: &'static str = stringify!($kind);
            fn cache(caches: &Caches) -> &Cache<Self> {
                &caches.$cache
            }
        })+
    };
}

kinds! {
    ServiceAccount => service_accounts,
    NetworkPolicy => network_policies,
    ConfigMap => config_maps,
    Deployment => deployments,
    Service => services,
    StatefulSet => stateful_sets,
    PodDisruptionBudget => disruption_budgets,
    Job => jobs,
}

/// An object in words, such as `Service clicks-worker`.
pub(crate) fn describe<K: Kind>(name: &str) -> String {
    format!("{} {name}", K::NAME)
}
