//! Objects that are made once and never changed: created, not applied.
//!
//! One that is there already was made by whoever decided the same.

use kube::{Api, ResourceExt};
use tidegate_types::Reason;

use super::kind::{Kind, describe};
use super::requests;
use crate::context::Context;
use crate::failure::Failure;

/// Makes an object, unless it is there; answers whether it was made.
pub(crate) async fn create<K: Kind>(
    context: &Context,
    namespace: &str,
    wanted: K,
) -> Result<bool, Failure> {
    let api: Api<K> = Api::namespaced(context.client.clone(), namespace);
    let object = describe::<K>(&wanted.name_any());
    let Some(made) = requests::create(&api, &wanted, &object).await? else {
        let live = requests::find(&api, &wanted.name_any(), &object).await?;
        K::cache(&context.caches).put(ours(live, &wanted, &object)?);
        return Ok(false);
    };
    tracing::debug!(namespace, object, "made");
    K::cache(&context.caches).put(made);
    Ok(true)
}

/// Removes an object and what it owns.
pub(crate) async fn remove<K: Kind>(
    context: &Context,
    namespace: &str,
    live: &K,
) -> Result<(), Failure> {
    let api: Api<K> = Api::namespaced(context.client.clone(), namespace);
    let object = describe::<K>(&live.name_any());
    if requests::delete(&api, &live.name_any(), live.uid(), &object).await? {
        tracing::debug!(namespace, object, "removed");
    }
    Ok(())
}

/// The one of that name that is there, if it is ours: it has the same owner.
fn ours<K: Kind>(live: Option<K>, wanted: &K, object: &str) -> Result<K, Failure> {
    let Some(live) = live else {
        let what = format!("{object} is being deleted");
        return Err(Failure::transient(Reason::Progressing, what));
    };
    let owner = |of: &K| of.owner_references().first().map(|owner| owner.uid.clone());
    if owner(&live) == owner(wanted) && live.meta().deletion_timestamp.is_none() {
        return Ok(live);
    }
    let what = format!("{object} belongs to somebody else, or is being deleted");
    Err(Failure::transient(Reason::NameTaken, what))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::batch::v1::Job;
    use serde_json::json;

    use super::*;

    #[test]
    fn one_of_that_name_is_ours_when_it_has_the_same_owner_and_stays() {
        let job = |owner: &str, leaving: bool| -> Job {
            let deleted = leaving.then_some("2026-06-01T00:00:00Z");
            let owner =
                json!({"apiVersion": "v1", "kind": "IngestionRun", "name": "r", "uid": owner});
            let metadata =
                json!({"name": "j", "ownerReferences": [owner], "deletionTimestamp": deleted});
            serde_json::from_value(json!({"metadata": metadata})).expect("a Job")
        };
        let wanted = job("run", false);
        for (live, reason) in [
            (Some(job("run", false)), None),
            (Some(job("run", true)), Some(Reason::NameTaken)),
            (Some(job("another", false)), Some(Reason::NameTaken)),
            (None, Some(Reason::Progressing)),
        ] {
            let found = ours(live, &wanted, "Job j");
            assert_eq!(found.err().map(|failure| failure.reason), reason);
        }
    }
}
