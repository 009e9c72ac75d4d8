//! The kind `IngestionRun`.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{IngestionRunStatus, vocabulary};

/// One execution of a bulk pipeline over one data interval, or a request for many of them.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "IngestionRun",
    plural = "ingestionruns",
    shortname = "irun",
    category = "tidegate",
    namespaced,
    derive = "PartialEq",
    doc = "One execution of a bulk pipeline over one data interval, or a request for many of them.",
    status = "IngestionRunStatus",
    validation = Rule::new("self.metadata.name.size() <= 58")
        .message("the name is longer than 58 characters, and the Jobs of a run carry it with the attempt's number behind it; choose a shorter one"),
    validation = Rule::new("self.metadata.name.size() > 58 || self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
        .message("the name is not one that a Job's pods can have; write a-z, 0-9 and '-', beginning and ending with a letter or digit"),
    printcolumn(
        name = "Pipeline",
        type_ = "string",
        json_path = ".spec.pipelineRef.name"
    ),
    printcolumn(name = "Trigger", type_ = "string", json_path = ".spec.trigger"),
    printcolumn(
        name = "Start",
        type_ = "string",
        description = "The first instant of the run's interval.",
        json_path = ".spec.interval.start"
    ),
    printcolumn(
        name = "End",
        type_ = "string",
        description = "The first instant behind the run's interval.",
        json_path = ".spec.interval.end"
    ),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Chunks",
        type_ = "string",
        description = "Chunks that are written, of all.",
        json_path = ".status.chunks.progress"
    ),
    printcolumn(
        name = "Rows",
        type_ = "integer",
        description = "Rows in the table.",
        json_path = ".status.rows.committed"
    ),
    printcolumn(
        name = "Duration",
        type_ = "string",
        description = "From the first attempt's start to the end.",
        json_path = ".status.duration"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self == oldSelf")
        .message("a run cannot be changed; make another one"),
    validation = Rule::new("!has(self.interval) || !has(self.range)")
        .message("a run is one interval, or a range of many; write one of interval and range"),
    validation = Rule::new("!has(self.range) || self.trigger == 'Backfill'")
        .message("a range is a backfill; write trigger: Backfill, or interval instead of range")
        .field_path(".trigger"),
    validation = Rule::new("self.trigger != 'Backfill' || has(self.range) || has(self.interval)")
        .message("a backfill is of an interval or a range; write range: {start: …, end: …}")
        .field_path(".trigger"),
    validation = Rule::new("self.trigger != 'Scheduled' || has(self.interval)")
        .message("a scheduled run has the interval of its tick; write interval, or trigger: Manual")
        .field_path(".trigger"),
    validation = Rule::new("self.trigger != 'Repair' || has(self.interval)")
        .message("a repair is of one interval; write interval: {start: …, end: …}")
        .field_path(".trigger"),
    validation = Rule::new("has(self.range) || !has(self.reprocess)")
        .message("reprocess goes with range only; remove it")
        .field_path(".reprocess"),
    validation = Rule::new("has(self.range) || !has(self.dryRun)")
        .message("dryRun goes with range only; remove it")
        .field_path(".dryRun"),
)]
pub struct IngestionRunSpec {
    /// The bulk pipeline, in the same namespace.
    pub pipeline_ref: PipelineRef,
    /// Why the run is made. Scheduled: its tick came; on an interval that the table's log holds already it
    /// ends at once (`AlreadyComplete`). Manual: somebody asks; what is done is done again. Backfill:
    /// past intervals. Repair: an interval of a streamed table is read again; of a pipeline with
    /// `bulk.repairs`, which has no other runs.
    pub trigger: RunTrigger,
    /// The interval, a union of whole ticks of the pipeline's schedule; of a repair any whole seconds.
    /// Default with Manual: the whole source, for pipelines that read it whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<IntervalSpec>,
    /// Many intervals: a run is made for each tick in it, `maxActiveRuns` at a time. Only with Backfill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<IntervalSpec>,
    /// Which intervals of the range are run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reprocess: Option<Reprocess>,
    /// Whether the status only says which runs would be made. Only with `range`. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

/// A pipeline of the same namespace.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PipelineRef {
    /// Its name.
    #[schemars(schema_with = "vocabulary::object_name")]
    pub name: String,
}

/// A half-open stretch of time.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.start < self.end")
        .message("the end does not lie behind the start; write the earlier instant as start"),
)]
pub struct IntervalSpec {
    /// Its first instant, RFC 3339 in whole seconds.
    #[schemars(schema_with = "vocabulary::instant")]
    pub start: String,
    /// The first instant behind it, RFC 3339 in whole seconds.
    #[schemars(schema_with = "vocabulary::instant")]
    pub end: String,
}

/// Why a run is made.
#[derive(
    JsonSchema, Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum RunTrigger {
    /// The schedule came round.
    Scheduled,
    /// Somebody asks.
    Manual,
    /// Past intervals.
    Backfill,
    /// An interval of a streamed table, from another source.
    Repair,
}

impl RunTrigger {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Scheduled, Self::Manual, Self::Backfill, Self::Repair];

    /// The word in the resource and in arguments.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "Scheduled",
            Self::Manual => "Manual",
            Self::Backfill => "Backfill",
            Self::Repair => "Repair",
        }
    }
}

// The schema of an optional enum takes its description from here.
/// Which intervals of the range are run: Missing, those that the table's log does not hold as done;
/// Failed, those whose last run was begun and not done, also when they were done before; All. Only with
/// `range`. Default: Missing.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Reprocess {
    /// Those that are not done.
    #[default]
    Missing,
    /// Those whose last run was begun and not done, also when they were done before.
    Failed,
    /// All.
    All,
}
