//! Whose streamed rows a bulk pipeline replaces, and whether the two pipelines fit each other (B10).

use std::path::Path;

use tidegate_api::{BulkSpec, RepairsSpec};
use tidegate_config::{EventTime, PipelineConfig, Repairs, Sink};
use tidegate_types::{Ledger, PartitionTransform};

use crate::faults::Faults;
use crate::{Others, resolve_in};

const PLACE: &str = "spec.bulk.repairs.pipelineRef.name";

/// What a run must know of the pipeline that it repairs; none without repairs, or with faults.
pub(crate) fn resolve(
    bulk: &BulkSpec,
    (sink, ledger): (&Sink, &Ledger),
    directory: Option<&Path>,
    others: Others<'_>,
    faults: &mut Faults,
) -> Option<Repairs> {
    let spec = bulk.repairs.as_ref()?;
    if bulk.schedule.is_some() {
        faults.add("spec.bulk.schedule", "makes runs, and repairs are made when somebody asks");
        faults.instead("remove it");
    }
    let target = find(spec, directory, others, faults)?;
    let Some(event_time) = &target.sink.event_time else {
        faults.add(PLACE, format!("{} does not say which column is the event's time", target.name));
        faults.instead("write sink.eventTime there");
        return None;
    };
    check_cursor(bulk, event_time, faults);
    check_table(sink, ledger, &target, event_time, faults);
    Some(Repairs {
        pipeline: target.name.clone(),
        ledger: target.ledger.clone(),
        event_time: event_time.field.clone(),
        allowed_lateness: event_time.allowed_lateness,
        window: target.dedup.as_ref().map(|dedup| dedup.window),
        partitions: target.source.partitioning.count(),
    })
}

fn find(
    spec: &RepairsSpec,
    directory: Option<&Path>,
    others: Others<'_>,
    faults: &mut Faults,
) -> Option<PipelineConfig> {
    let name = &spec.pipeline_ref.name;
    let Some(pipeline) = others(name) else {
        faults.add(
            PLACE,
            format!(
                "there is no pipeline {name:?} in the same namespace, or it was never accepted"
            ),
        );
        faults.instead("create it, or give its file with another -f");
        return None;
    };
    if pipeline.spec.is_bulk() {
        faults.add(PLACE, format!("{name} is a bulk pipeline, whose intervals are run again"));
        faults.instead("name a pipeline that reads a stream");
        return None;
    }
    match resolve_in(&pipeline, directory) {
        Ok(resolved) => resolved.into_stream(),
        Err(violations) => {
            let first = violations.first().map(ToString::to_string).unwrap_or_default();
            faults.add(PLACE, format!("that pipeline cannot be used: {first}"));
            faults.instead("correct it first");
            None
        }
    }
}

/// The rows that a run reads must be those that it replaces.
fn check_cursor(bulk: &BulkSpec, event_time: &EventTime, faults: &mut Faults) {
    let Some(incremental) = &bulk.incremental else {
        faults
            .add("spec.bulk.incremental", "is missing, and a repair reads the rows of an interval");
        let field = &event_time.field;
        faults
            .instead(format!("write incremental: {{cursorField: {field}, mutability: Immutable}}"));
        return;
    };
    if incremental.cursor_field != event_time.field {
        let (cursor, field) = (&incremental.cursor_field, &event_time.field);
        let problem = format!("is {cursor}, and rows are replaced by their event time {field}");
        faults.add("spec.bulk.incremental.cursorField", problem);
        faults.instead(format!("write {field}; a query gives a column that name"));
    }
    if incremental.rerun_last > 0 {
        faults
            .add("spec.bulk.incremental.rerunLast", "goes with a schedule, and repairs have none");
        faults.instead("write 0");
    }
}

fn check_table(
    sink: &Sink,
    ledger: &Ledger,
    target: &PipelineConfig,
    event_time: &EventTime,
    faults: &mut Faults,
) {
    if sink.url != target.sink.url {
        let problem = format!("is not the table of {}, {}", target.name, target.sink.url);
        faults.add("spec.sink.storage.url", problem);
        faults.instead("write the same address in both");
    }
    if sink.partition_by != target.sink.partition_by {
        faults.add("spec.sink.partitionBy", format!("is not that of {}", target.name));
        faults.instead("write the same in both");
    }
    if *ledger == target.ledger {
        faults.add("spec.ledger", format!("is that of {} too", target.name));
        faults.instead("write another one: the log holds the repairs under it");
    }
    // The files leave such a column out, so that their rows do not say when they happened.
    let leaves_files = |column: &tidegate_types::PartitionColumn| {
        column.field == event_time.field && column.transform == PartitionTransform::Identity
    };
    if target.sink.partition_by.iter().any(leaves_files) {
        let field = &event_time.field;
        faults
            .add(PLACE, format!("{} is partitioned by its event time {field} itself", target.name));
        faults
            .instead("only tables that are partitioned by its day, hour or month can be repaired");
    }
}
