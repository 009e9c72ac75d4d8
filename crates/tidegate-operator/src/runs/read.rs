//! From the resource to one value. A run that cannot be read hurts only itself.

use jiff::Timestamp;
use kube::core::DynamicObject;
use kube::{Resource as _, ResourceExt};
use serde_json::Value;
use tidegate_api::{IngestionRunSpec, IngestionRunStatus, IntervalSpec};
use tidegate_types::{DataInterval, Reason};

use super::facts::{Run, What, Wish};
use crate::validation::Rejection;

pub(crate) use tidegate_api::RUN_KIND as KIND;

/// Annotation of a run that does again what is done; set by the operator.
pub(crate) const RERUN: &str = "tidegate.dev/rerun";

/// Reads a run; none for an object that the API server has not finished making.
pub(crate) fn read(object: &DynamicObject) -> Option<Run> {
    let controller = object.owner_references().iter().find(|owner| owner.controller == Some(true));
    let created = object.meta().creation_timestamp.as_ref();
    let status = object.data.get("status").cloned().unwrap_or(Value::Null);
    Some(Run {
        name: object.name_any(),
        uid: object.uid()?,
        generation: object.metadata.generation.unwrap_or_default(),
        created: created.map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        leaving: object.metadata.deletion_timestamp.is_some(),
        maker: controller.map(|owner| owner.uid.clone()),
        wish: wish(object),
        status: serde_json::from_value::<IngestionRunStatus>(status).unwrap_or_default(),
    })
}

fn wish(object: &DynamicObject) -> Result<Wish, Rejection> {
    let spec = object.data.get("spec").cloned().unwrap_or(Value::Null);
    let spec: IngestionRunSpec =
        serde_json::from_value(spec).map_err(|error| refused(format!("spec: {error}")))?;
    let what = match (&spec.interval, &spec.range) {
        (Some(_), Some(_)) => {
            return Err(refused("spec: a run is one interval or a range; write one of them"));
        }
        (None, None) => What::Whole,
        (Some(interval), None) => What::Interval(stretch("spec.interval", interval)?),
        (None, Some(range)) => What::Range {
            range: stretch("spec.range", range)?,
            reprocess: spec.reprocess.unwrap_or_default(),
            dry_run: spec.dry_run.unwrap_or_default(),
        },
    };
    let rerun = object.annotations().get(RERUN).is_some_and(|value| value == "true");
    Ok(Wish { trigger: spec.trigger, rerun, what })
}

fn stretch(field: &str, written: &IntervalSpec) -> Result<DataInterval, Rejection> {
    let instant = |name: &str, text: &str| {
        text.parse::<Timestamp>().map_err(|error| refused(format!("{field}.{name}: {error}")))
    };
    let (start, end) = (instant("start", &written.start)?, instant("end", &written.end)?);
    DataInterval::new(start, end).map_err(|error| refused(format!("{field}: {error}")))
}

fn refused(message: impl Into<String>) -> Rejection {
    Rejection { reason: Reason::InvalidConfiguration, message: message.into() }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;
    use tidegate_api::{Reprocess, RunTrigger};

    use super::*;

    /// A run with this spec beside its pipeline, and this status.
    pub(crate) fn object(name: &str, spec: &Value, status: &Value) -> DynamicObject {
        let mut whole = json!({"pipelineRef": {"name": "orders"}});
        if let (Some(whole), Some(spec)) = (whole.as_object_mut(), spec.as_object()) {
            whole.extend(spec.clone());
        }
        serde_json::from_value(json!({
            "apiVersion": "tidegate.dev/v1alpha1",
            "kind": KIND,
            "metadata": {
                "name": name, "namespace": "ns", "uid": format!("uid-{name}"), "generation": 1,
                "creationTimestamp": "2026-06-01T00:30:00Z",
            },
            "spec": whole,
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn a_run_says_what_it_asks_for() {
        let hour = json!({"start": "2026-06-01T00:00:00Z", "end": "2026-06-01T01:00:00Z"});
        let interval = "2026-06-01T00:00:00Z/2026-06-01T01:00:00Z".parse().unwrap();
        let of = |spec: Value| read(&object("r", &spec, &Value::Null)).unwrap().wish.unwrap();
        let one = of(json!({"trigger": "Scheduled", "interval": hour}));
        assert_eq!((one.trigger, one.what), (RunTrigger::Scheduled, What::Interval(interval)));
        assert_eq!(of(json!({"trigger": "Manual"})).what, What::Whole);
        let many = of(json!({
            "trigger": "Backfill", "range": hour, "reprocess": "All", "dryRun": true,
        }));
        let range = What::Range { range: interval, reprocess: Reprocess::All, dry_run: true };
        assert_eq!(many.what, range);
    }

    #[test]
    fn what_cannot_be_read_says_so_and_keeps_its_name() {
        for (spec, words) in [
            (json!({"trigger": 7}), "spec"),
            (json!({}), "trigger"),
            (json!({"trigger": "Manual", "interval": {"start": "now", "end": "then"}}), "start"),
            (
                json!({"trigger": "Manual", "interval":
                    {"start": "2026-06-01T01:00:00Z", "end": "2026-06-01T00:00:00Z"}}),
                "spec.interval",
            ),
        ] {
            let object = object("r", &spec, &json!({"phase": 5}));
            let run = read(&object).unwrap();
            assert_eq!(run.name, "r");
            let rejection = run.wish.unwrap_err();
            assert!(rejection.message.contains(words), "{rejection:?}");
        }
    }
}
