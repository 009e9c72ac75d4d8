//! The runs that the operator makes: those of the schedule, and those of a range.

use serde_json::{Value, json};
use tidegate_api::{GROUP, VERSION};
use tidegate_types::DataInterval;

use super::facts::Run;
use super::names;
use super::read::{KIND, RERUN};
use crate::cluster::{Owner, labels};
use crate::key::Key;

/// The run of a tick.
pub(crate) fn scheduled_run(owner: &Owner, interval: DataInterval) -> Value {
    let name = names::scheduled(&owner.key.name, interval.end());
    run(&owner.key, &name, &of_pipeline(owner), "Scheduled", interval)
}

/// The run that does an interval again together with the one of a tick: the `back`-th before it.
pub(crate) fn repeated_run(
    owner: &Owner,
    tick: DataInterval,
    back: u32,
    interval: DataInterval,
) -> Value {
    let name = names::again(&owner.key.name, tick.end(), back);
    let mut run = run(&owner.key, &name, &of_pipeline(owner), "Backfill", interval);
    run["metadata"]["annotations"] = json!({(RERUN): "true"});
    run
}

/// The run of one interval of a range; `rerun`: also when it is done.
pub(crate) fn child_run(key: &Key, parent: &Run, interval: DataInterval, rerun: bool) -> Value {
    let name = names::child(&parent.name, interval.end());
    let owner = serde_json::to_value(parent.reference()).unwrap_or_default();
    let mut run = run(key, &name, &owner, "Backfill", interval);
    if rerun {
        run["metadata"]["annotations"] = json!({(RERUN): "true"});
    }
    run
}

fn of_pipeline(owner: &Owner) -> Value {
    serde_json::to_value(owner.reference()).unwrap_or_default()
}

fn run(key: &Key, name: &str, owner: &Value, trigger: &str, interval: DataInterval) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": KIND,
        "metadata": {
            "name": name,
            "namespace": key.namespace,
            "labels": labels::common(&key.name),
            "ownerReferences": [owner],
        },
        "spec": {
            "pipelineRef": {"name": key.name},
            "trigger": trigger,
            "interval": {
                "start": interval.start().to_string(),
                "end": interval.end().to_string(),
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runs_that_are_made_are_ones_that_the_definition_takes() {
        let owner = Owner { key: Key::new("ns", "orders"), uid: "u".to_owned() };
        let interval = "2026-06-01T00:00:00Z/2026-06-01T01:00:00Z".parse().unwrap();
        let object = super::super::read::tests::object("refill", &json!({}), &Value::Null);
        let parent = super::super::read::read(&object).unwrap();
        for (document, name, rerun) in [
            (scheduled_run(&owner, interval), "orders-20260601t010000z", false),
            (repeated_run(&owner, interval, 2, interval), "orders-20260601t010000z-r2", true),
            (child_run(&owner.key, &parent, interval, true), "refill-20260601t010000z-b", true),
            (child_run(&owner.key, &parent, interval, false), "refill-20260601t010000z-b", false),
        ] {
            let read = tidegate_api::read_run(&document);
            assert!(read.is_ok(), "{read:?}");
            let mut made = document.clone();
            made["metadata"]["uid"] = json!("made");
            let made = serde_json::from_value(made).unwrap();
            let read = super::super::read::read(&made).unwrap();
            assert_eq!((read.name.as_str(), read.interval()), (name, Some(interval)));
            assert_eq!(read.wish.unwrap().rerun, rerun, "{name}");
            assert!(read.maker.is_some());
        }
    }
}
