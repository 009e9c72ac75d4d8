//! The requests about runs: making and removing them, and writing their status.
//!
//! A run is made and never changed, so that it is created, not applied.

use std::time::Duration;

use kube::api::{Patch, PatchParams};
use kube::core::DynamicObject;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tidegate_api::{GROUP, IngestionRunStatus, VERSION};
use tidegate_types::Reason;

use super::facts::Run;
use super::read::KIND;
use crate::apply::requests::{create, delete};
use crate::cluster::names::FIELD_MANAGER;
use crate::cluster::run_resource;
use crate::context::Context;
use crate::failure::Failure;
use crate::key::Key;
use crate::news::take_in_run;

/// How long an object of a former pipeline may take to go.
const COLLECTED_WITHIN: Duration = Duration::from_secs(2);
const CONFLICT: u16 = 409;
const NOT_FOUND: u16 = 404;

/// Makes a run, unless one of that name is there.
pub(crate) async fn create_run(
    context: &Context,
    key: &Key,
    document: &Value,
) -> Result<(), Failure> {
    let name = document["metadata"]["name"].as_str().unwrap_or_default();
    let broken = |error: serde_json::Error| {
        Failure::transient(Reason::ApiRefused, format!("{KIND} {name}: {error}"))
    };
    let object: DynamicObject = serde_json::from_value(document.clone()).map_err(broken)?;
    let Some(made) = create(&api(context, key), &object, &format!("{KIND} {name}")).await? else {
        return there_already(context, key, &object);
    };
    tracing::info!(pipeline = %key, run = name, "made");
    take_in_run(context, made);
    Ok(())
}

/// A run of that name that a person made does. One of a former pipeline is about to be collected.
fn there_already(context: &Context, key: &Key, wanted: &DynamicObject) -> Result<(), Failure> {
    let name = wanted.name_any();
    let runs = context.caches.runs.of(key);
    let Some(live) = runs.iter().find(|run| run.name_any() == name) else { return Ok(()) };
    let owner = |run: &DynamicObject| run.owner_references().first().map(|owner| owner.uid.clone());
    let made_by_another = owner(live).is_some_and(|live| Some(live) != owner(wanted));
    if made_by_another || live.metadata.deletion_timestamp.is_some() {
        let what = format!("{KIND} {name} is made when one that belongs to somebody else is gone");
        return Err(Failure::waiting(Reason::Progressing, what, COLLECTED_WITHIN));
    }
    Ok(())
}

/// Removes a run, and with it its Jobs and the runs that are a part of it.
pub(crate) async fn delete_run(
    context: &Context,
    key: &Key,
    name: &str,
    uid: &str,
) -> Result<(), Failure> {
    let (uid, object) = (Some(uid.to_owned()), format!("{KIND} {name}"));
    if delete(&api(context, key), name, uid, &object).await? {
        tracing::info!(pipeline = %key, run = name, "removed, its time is over");
    }
    Ok(())
}

/// Writes a run's status. It carries the run's uid, so that a successor of the same name never gets it.
pub(crate) async fn write_status(
    context: &Context,
    key: &Key,
    run: &Run,
    status: &IngestionRunStatus,
) -> Result<(), Failure> {
    let document = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": KIND,
        "metadata": {"name": run.name, "uid": run.uid},
        "status": status,
    });
    let how = PatchParams::apply(FIELD_MANAGER).force();
    match api(context, key).patch_status(&run.name, &how, &Patch::Apply(document)).await {
        Ok(object) => {
            take_in_run(context, object);
            Ok(())
        }
        // It is gone, or another one has its name: the watch tells.
        Err(kube::Error::Api(status)) if matches!(status.code, NOT_FOUND | CONFLICT) => Ok(()),
        Err(error) => {
            Err(Failure::of_request(&format!("the status of {KIND} {}", run.name), &error))
        }
    }
}

fn api(context: &Context, key: &Key) -> Api<DynamicObject> {
    Api::namespaced_with(context.client.clone(), &key.namespace, &run_resource())
}
