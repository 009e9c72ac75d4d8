//! The runs that the operator makes: those of the schedule, and those of a range.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Value, json};
use tidegate_api::{GROUP, RunTrigger, VERSION};
use tidegate_types::DataInterval;

use super::facts::Run;
use super::names;
use super::read::{KIND, RERUN};
use crate::cluster::{Owner, labels};
use crate::key::Key;

/// The run of a tick.
pub(crate) fn scheduled_run(owner: &Owner, interval: DataInterval) -> Value {
    RunDocument {
        name: names::scheduled(&owner.key.name, interval.end()),
        owner: owner.reference(),
        trigger: RunTrigger::Scheduled,
        interval,
        rerun: false,
    }
    .of(&owner.key)
}

/// The run that does an interval again together with the one of a tick: the `back`-th before it.
pub(crate) fn repeated_run(
    owner: &Owner,
    tick: DataInterval,
    back: u32,
    interval: DataInterval,
) -> Value {
    RunDocument {
        name: names::again(&owner.key.name, tick.end(), back),
        owner: owner.reference(),
        trigger: RunTrigger::Backfill,
        interval,
        rerun: true,
    }
    .of(&owner.key)
}

/// The run of one interval of a range; `rerun`: also when it is done.
pub(crate) fn child_run(key: &Key, parent: &Run, interval: DataInterval, rerun: bool) -> Value {
    RunDocument {
        name: names::child(&parent.name, interval.end()),
        owner: parent.reference(),
        trigger: RunTrigger::Backfill,
        interval,
        rerun,
    }
    .of(key)
}

struct RunDocument {
    name: String,
    owner: OwnerReference,
    trigger: RunTrigger,
    interval: DataInterval,
    /// Also when it is done.
    rerun: bool,
}

impl RunDocument {
    /// The document of a run of this pipeline.
    fn of(&self, key: &Key) -> Value {
        let mut run = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"),
            "kind": KIND,
            "metadata": {
                "name": self.name,
                "namespace": key.namespace,
                "labels": labels::common(&key.name),
                "ownerReferences": [self.owner],
            },
            "spec": {
                "pipelineRef": {"name": key.name},
                "trigger": self.trigger.as_str(),
                "interval": {
                    "start": self.interval.start().to_string(),
                    "end": self.interval.end().to_string(),
                },
            },
        });
        if self.rerun {
            run["metadata"]["annotations"] = json!({(RERUN): "true"});
        }
        run
    }
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
