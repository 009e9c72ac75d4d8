//! The requests that change an object as a whole, and how their answers are read.
//!
//! `object` says in words what a failure is about.

use std::fmt::Debug;

use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions, PropagationPolicy};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cluster::names::FIELD_MANAGER;
use crate::failure::Failure;

const NOT_FOUND: u16 = 404;
const CONFLICT: u16 = 409;

/// Makes an object. None: there is one of its name.
pub(crate) async fn create<K>(api: &Api<K>, wanted: &K, object: &str) -> Result<Option<K>, Failure>
where
    K: Clone + Debug + DeserializeOwned + Serialize,
{
    let how = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..Default::default() };
    match api.create(&how, wanted).await {
        Ok(made) => Ok(Some(made)),
        // A quota that changed meanwhile is a conflict too.
        Err(kube::Error::Api(status))
            if status.code == CONFLICT && status.reason == "AlreadyExists" =>
        {
            Ok(None)
        }
        Err(error) => Err(Failure::of_request(object, &error)),
    }
}

/// Deletes the object that has this uid, and what it owns; not the successor that somebody may have made
/// meanwhile. Answers whether it was there.
pub(crate) async fn delete<K>(
    api: &Api<K>,
    name: &str,
    uid: Option<String>,
    object: &str,
) -> Result<bool, Failure>
where
    K: Clone + Debug + DeserializeOwned,
{
    let how = DeleteParams {
        preconditions: Some(Preconditions { uid, resource_version: None }),
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    };
    match api.delete(name, &how).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if matches!(status.code, NOT_FOUND | CONFLICT) => Ok(false),
        Err(error) => Err(Failure::of_request(object, &error)),
    }
}

/// The object of this name. A list of one needs no right that the watches do not need.
pub(crate) async fn find<K>(api: &Api<K>, name: &str, object: &str) -> Result<Option<K>, Failure>
where
    K: Clone + Debug + DeserializeOwned,
{
    let alone = ListParams::default().fields(&format!("metadata.name={name}"));
    let found = api.list(&alone).await.map_err(|error| Failure::of_request(object, &error))?;
    Ok(found.items.into_iter().next())
}
