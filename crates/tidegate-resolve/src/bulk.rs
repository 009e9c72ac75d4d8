//! Bulk pipelines: what a run needs to know, and what its parts must be to each other.

use std::path::Path;

use jiff::Timestamp;
use tidegate_api::{
    BulkSpec, CatchupPolicy, ChunkPlacement, IncrementalSpec, IngestionPipelineSpec, OnNullCursor,
    ScheduleSpec, WriteMode as ModeSpec,
};
use tidegate_config::{
    BulkSource, Chunking, Incremental, NullCursorPolicy, Placement, Schedule, TransferConfig,
    WriteMode,
};
use tidegate_schedule::{Grid, ScheduleError};
use tidegate_types::{Field, FieldType, Guarantee, Ledger};

use crate::faults::Faults;
use crate::{Others, bulk_source, columns, repairs, sink};

/// What happens to intervals that went by without a run: all of them are run, and where every run reads
/// the whole source only the newest, because older ones would read the same.
#[must_use]
pub fn catchup_policy(bulk: &BulkSpec, write_mode: WriteMode) -> CatchupPolicy {
    let written = bulk.schedule.as_ref().and_then(|schedule| schedule.catchup_policy);
    written.unwrap_or(match write_mode {
        WriteMode::Overwrite => CatchupPolicy::Latest,
        WriteMode::Append | WriteMode::ReplaceInterval => CatchupPolicy::All,
    })
}

pub(crate) fn resolve(
    spec: &IngestionPipelineSpec,
    name: String,
    ledger: Option<Ledger>,
    (directory, others): (Option<&Path>, Others<'_>),
    faults: &mut Faults,
) -> Option<TransferConfig> {
    let bulk = spec.bulk_or_default();
    let source = bulk_source::resolve(&spec.source, directory, faults);
    let declared = !spec.schema.fields.is_empty();
    let fields = if declared { columns::resolve(&spec.schema.fields, faults) } else { None };
    let sink = sink::resolve(&spec.sink, directory, faults);
    if let (Some(fields), Some(sink)) = (&fields, &sink) {
        columns::check_partitions(fields, &sink.partition_by, faults);
    }
    let grid = schedule_grid(bulk.schedule.as_ref(), faults);
    if let Some(incremental) = &bulk.incremental {
        check_incremental(incremental, fields.as_deref(), faults);
    }
    check_backoff(&bulk, faults);
    check_deadline(&bulk, faults);
    let (source, sink, ledger) = (source?, sink?, ledger?);
    if declared && fields.is_none() {
        return None;
    }
    check_from(&source, fields.as_deref(), faults);
    if let Some(grid) = &grid {
        bulk_source::check_names(&source, grid, Timestamp::now(), faults);
    }
    let intervals = bulk.incremental.is_some() || source.is_by_interval();
    let write_mode = write_mode(spec, &bulk, intervals, faults);
    let repairs = repairs::resolve(&bulk, (&sink, &ledger), directory, others, faults);
    Some(TransferConfig {
        name,
        ledger,
        guarantee: spec.guarantee,
        source,
        fields,
        evolution: spec.schema.evolution,
        on_error: spec.decode.on_error,
        incremental: bulk.incremental.as_ref().map(incremental),
        chunking: Chunking {
            field: bulk.chunking.field.clone(),
            target_rows: bulk.chunking.target_rows,
            parallelism: bulk.chunking.parallelism,
        },
        placement: match bulk.chunking.placement {
            ChunkPlacement::InProcess => Placement::InProcess,
            ChunkPlacement::Pods => Placement::Pods,
        },
        schedule: bulk.schedule.as_ref().map(|schedule| Schedule {
            cron: schedule.cron.clone(),
            time_zone: schedule.time_zone.clone(),
        }),
        write_mode,
        allow_shrink: bulk.allow_shrink,
        repairs,
        sink,
    })
}

fn incremental(spec: &IncrementalSpec) -> Incremental {
    Incremental {
        cursor_field: spec.cursor_field.clone(),
        time_zone: spec.time_zone.clone(),
        settle: spec.settle,
        max_wait: spec.max_wait,
        ignore_roles: spec.ignore_roles.clone(),
        on_null_cursor: match spec.on_null_cursor {
            OnNullCursor::Fail => NullCursorPolicy::Fail,
            OnNullCursor::Ignore => NullCursorPolicy::Ignore,
        },
        rerun_last: spec.rerun_last,
    }
}

/// The ticks, when they and the first of them can be read.
fn schedule_grid(schedule: Option<&ScheduleSpec>, faults: &mut Faults) -> Option<Grid> {
    let schedule = schedule?;
    let start_at = schedule.start_at.as_deref();
    if let Some(text) = start_at.filter(|text| text.parse::<Timestamp>().is_err()) {
        faults.add("spec.bulk.schedule.startAt", format!("{text:?} is no instant"));
        faults.instead("write RFC 3339 with a zone, such as 2026-01-01T00:00:00Z");
    }
    let grid = Grid::new(&schedule.cron, &schedule.time_zone);
    if let Err(error) = &grid {
        let (field, problem, instead) = match error {
            ScheduleError::Zone(zone) => (
                "timeZone",
                format!("{zone:?} is no known time zone"),
                "write an IANA name such as Europe/Berlin, or UTC",
            ),
            ScheduleError::TooOften { first, second, .. } => (
                "cron",
                format!("ticks at {first} and {second}, less than five minutes apart"),
                "write one that ticks every five minutes or less often, such as */5 * * * *",
            ),
            ScheduleError::Cron { problem, .. } => {
                ("cron", format!("cannot be read: {problem}"), "write one such as 0 * * * *")
            }
            other => ("cron", other.to_string(), "write one such as 0 * * * *"),
        };
        faults.add(format!("spec.bulk.schedule.{field}"), problem);
        faults.instead(instead);
    }
    grid.ok()
}

/// The cursor is an instant, a day, or a time of a clock whose zone is told.
fn check_incremental(spec: &IncrementalSpec, fields: Option<&[Field]>, faults: &mut Faults) {
    let place = "spec.bulk.incremental";
    faults.positive(&format!("{place}.maxWait"), spec.max_wait);
    if let Some(zone) = &spec.time_zone
        && jiff::tz::TimeZone::get(zone).is_err()
    {
        faults.add(format!("{place}.timeZone"), format!("{zone:?} is no known time zone"));
        faults.instead("write an IANA name such as Europe/Berlin, or UTC");
    }
    let find = |field: &&Field| field.name == spec.cursor_field;
    // A column may decide and not be written.
    let Some(cursor) = fields.and_then(|fields| fields.iter().find(find)) else { return };
    match cursor.data_type {
        FieldType::Timestamp => {}
        FieldType::TimestampNtz | FieldType::Date if spec.time_zone.is_some() => {}
        FieldType::TimestampNtz | FieldType::Date => {
            let problem = format!("is missing, and {} has no zone itself", cursor.name);
            faults.add(format!("{place}.timeZone"), problem);
            faults.instead("write the zone that its values are told in, such as UTC");
        }
        ref other => {
            let problem = format!("{} has the type {other}", cursor.name);
            faults.add(format!("{place}.cursorField"), problem);
            faults.instead("name a column of a type timestamp or date, or load the table whole");
        }
    }
}

fn check_backoff(bulk: &BulkSpec, faults: &mut Faults) {
    let backoff = &bulk.run_template.retry.backoff;
    let place = "spec.bulk.runTemplate.retry.backoff";
    faults.positive(&format!("{place}.duration"), backoff.duration);
    if backoff.duration > backoff.max_duration {
        let problem = format!("{} is above maxDuration {}", backoff.duration, backoff.max_duration);
        faults.add(format!("{place}.duration"), problem);
        faults.instead("lower the one or raise the other");
    }
}

/// An attempt that is still allowed to wait must not be over.
fn check_deadline(bulk: &BulkSpec, faults: &mut Faults) {
    let (Some(deadline), Some(incremental)) =
        (bulk.run_template.active_deadline_seconds, &bulk.incremental)
    else {
        return;
    };
    let (settle, wait) = (incremental.settle, incremental.max_wait);
    let waits = settle.as_millis().saturating_add(wait.as_millis());
    if u64::try_from(deadline).unwrap_or(0).saturating_mul(1_000) <= waits {
        faults.add(
            "spec.bulk.runTemplate.activeDeadlineSeconds",
            format!("{deadline}s end before settle {settle} and maxWait {wait} may be over"),
        );
        faults.instead(format!("write more than {}, or shorten those", waits / 1_000));
    }
}

/// Databases and columns of files are found by name; paths lead into JSON.
fn check_from(source: &BulkSource, fields: Option<&[Field]>, faults: &mut Faults) {
    if bulk_source::holds_json(source) {
        return;
    }
    for (index, field) in fields.into_iter().flatten().enumerate() {
        if field.from.is_some() {
            let place = format!("spec.schema.fields[{index}].from");
            faults.add(place, "leads into JSON, which this source does not hold");
            faults.instead("remove it; a database's column is renamed by a query");
        }
    }
}

/// What a commit does to earlier rows: as written, otherwise by what a run reads; refused when rows would
/// be doubled or lost.
fn write_mode(
    spec: &IngestionPipelineSpec,
    bulk: &BulkSpec,
    intervals: bool,
    faults: &mut Faults,
) -> WriteMode {
    if intervals && bulk.schedule.is_none() && bulk.repairs.is_none() {
        // Of a database the definition says so already.
        faults.add("spec.bulk.schedule", "is missing, and the glob is about intervals");
        faults.instead("write schedule: {cron: \"0 0 * * *\"}, or a glob without % fields");
    }
    let mode = match spec.sink.write_mode {
        Some(ModeSpec::Append) => WriteMode::Append,
        Some(ModeSpec::ReplaceInterval) => WriteMode::ReplaceInterval,
        Some(ModeSpec::Overwrite) => WriteMode::Overwrite,
        None if intervals => WriteMode::ReplaceInterval,
        None => WriteMode::Overwrite,
    };
    let place = "spec.sink.writeMode";
    match mode {
        WriteMode::ReplaceInterval if !intervals => {
            faults.add(
                place,
                "ReplaceInterval replaces an interval, and every run reads the whole source",
            );
            faults.instead("write bulk.incremental, a glob with the interval's time, or Overwrite");
        }
        WriteMode::Append if bulk.repairs.is_some() => {
            faults.add(place, "Append would add rows to those that are to be replaced");
            faults.instead("remove it; repairs are written with ReplaceInterval");
        }
        WriteMode::Overwrite if bulk.incremental.is_some() => {
            faults.add(place, "Overwrite would leave only the newest interval in the table");
            faults.instead("write ReplaceInterval, or remove bulk.incremental");
        }
        WriteMode::Overwrite if bulk.max_active_runs > 1 => {
            faults.add("spec.bulk.maxActiveRuns", "is above 1, and every run replaces everything");
            faults.instead("write 1");
        }
        WriteMode::Append if !intervals && spec.guarantee == Guarantee::ExactlyOnce => {
            faults
                .add(place, "Append adds the whole source with every run, so that rows come again");
            faults.instead("write Overwrite, give runs intervals, or ask for AtLeastOnce");
        }
        WriteMode::Append | WriteMode::Overwrite | WriteMode::ReplaceInterval => {}
    }
    check_rerun(bulk, mode, faults);
    mode
}

/// Running an interval again is only the same when its rows are replaced.
fn check_rerun(bulk: &BulkSpec, mode: WriteMode, faults: &mut Faults) {
    let reruns = bulk.incremental.as_ref().is_some_and(|incremental| incremental.rerun_last > 0);
    if reruns && mode != WriteMode::ReplaceInterval {
        faults
            .add("spec.bulk.incremental.rerunLast", format!("would add rows twice with {mode:?}"));
        faults.instead("write 0, or writeMode: ReplaceInterval");
    }
}
