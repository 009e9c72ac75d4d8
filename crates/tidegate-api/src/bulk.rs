//! Runs of a bulk pipeline: when they are made, what they read, and how they are divided and tried again.

use std::time::Duration;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tidegate_types::Span;

use crate::{PipelineRef, vocabulary};

/// Which runs are made, and how they read.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.incremental) || has(self.schedule) || has(self.repairs)")
        .message("incremental reads the rows of an interval, and intervals come from a schedule or, with repairs, from whoever asks; write schedule: {cron: \"0 * * * *\"}, or remove incremental")
        .field_path(".incremental"),
    validation = Rule::new("!has(self.repairs) || has(self.incremental)")
        .message("a repair reads the rows of an interval; write incremental: {cursorField: …, mutability: Immutable} with the event time as its cursor")
        .field_path(".repairs"),
    validation = Rule::new("!has(self.repairs) || !has(self.schedule)")
        .message("repairs are made when somebody asks for them; remove schedule")
        .field_path(".schedule"),
    validation = Rule::new("has(self.repairs) == has(oldSelf.repairs) && (!has(self.repairs) || self.repairs == oldSelf.repairs)")
        .message("whom a pipeline repairs cannot be changed, because the table's log holds its repairs under its name; make another pipeline")
        .field_path(".repairs"),
)]
pub struct BulkSpec {
    /// How a run finds the rows of its interval. Only with databases, and with a schedule or
    /// `repairs`. Default: every run reads everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incremental: Option<IncrementalSpec>,
    /// How a run is divided into chunks.
    #[serde(default)]
    pub chunking: ChunkingSpec,
    /// When runs are made. Default: only when somebody asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleSpec>,
    /// How many runs of the pipeline may be active at once, 1 to 16. Default 1.
    #[serde(default = "default_max_active_runs")]
    #[schemars(range(min = 1, max = 16))]
    pub max_active_runs: u32,
    /// The streamed pipeline whose rows the runs replace by event time, in the same table. Such a pipeline
    /// has no schedule: each run is a repair that somebody asks for. Only with `incremental`, whose cursor is
    /// the event time. Cannot be changed. Default: none; runs write rows of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repairs: Option<RepairsSpec>,
    /// Whether a run may leave less than half of the rows that its interval had before, or none of them.
    /// Default false: such a run fails, because a source that lost its rows looks the same.
    #[serde(default)]
    pub allow_shrink: bool,
    /// How many succeeded run objects are kept, 0 to 1000. The table's log forgets nothing. Default 24.
    #[serde(default = "default_history_limit")]
    #[schemars(range(max = 1000))]
    pub successful_runs_history_limit: u32,
    /// How many failed run objects are kept, 0 to 1000. Default 24.
    #[serde(default = "default_history_limit")]
    #[schemars(range(max = 1000))]
    pub failed_runs_history_limit: u32,
    /// How runs are tried again, and how long they and their objects live.
    #[serde(default)]
    pub run_template: RunTemplateSpec,
}

impl Default for BulkSpec {
    fn default() -> Self {
        Self {
            incremental: None,
            chunking: ChunkingSpec::default(),
            schedule: None,
            max_active_runs: default_max_active_runs(),
            repairs: None,
            allow_shrink: false,
            successful_runs_history_limit: default_history_limit(),
            failed_runs_history_limit: default_history_limit(),
            run_template: RunTemplateSpec::default(),
        }
    }
}

fn default_max_active_runs() -> u32 {
    1
}

fn default_history_limit() -> u32 {
    24
}

/// Reading by interval.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IncrementalSpec {
    /// The column that says when a row came: a run reads the rows whose value lies in its interval. Of a
    /// type date or timestamp. Cannot be changed.
    #[schemars(schema_with = "vocabulary::source_column")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("the cursor cannot be changed, because it decides which interval a row belongs to; make another pipeline"))]
    pub cursor_field: String,
    /// The zone of a cursor that has none itself, an IANA name such as Asia/Seoul. Required for such a
    /// cursor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "vocabulary::time_zone")]
    pub time_zone: Option<String>,
    /// Your word that rows never change after they appear: Immutable. Tables whose rows change are loaded
    /// whole, without `incremental`.
    pub mutability: Mutability,
    /// How long after the interval's end reading begins, for writers whose clocks are slow. Default 5m.
    #[serde(default = "default_settle")]
    #[schemars(schema_with = "vocabulary::duration")]
    pub settle: Span,
    /// How long a run waits for transactions that began before the interval's end, before the attempt
    /// ends and another is made. Default 30m.
    #[serde(default = "default_max_wait")]
    #[schemars(schema_with = "vocabulary::duration")]
    pub max_wait: Span,
    /// Roles whose open transactions are not waited for, because they never write here; at most 16.
    /// Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "vocabulary::roles")]
    pub ignore_roles: Vec<String>,
    /// What a row without a cursor does: Fail (default) fails the run, Ignore leaves it out and counts it.
    #[serde(default)]
    pub on_null_cursor: OnNullCursor,
    /// How many of the newest intervals before a scheduled one are run again with it, 0 to 1000. Only
    /// with writeMode ReplaceInterval. Default 0.
    #[serde(default)]
    #[schemars(range(max = 1000))]
    pub rerun_last: u32,
}

fn default_settle() -> Span {
    Span::seconds(300)
}

fn default_max_wait() -> Span {
    Span::seconds(1_800)
}

/// Whether rows change after they appear.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mutability {
    /// They do not.
    Immutable,
}

/// What a row without a cursor does.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum OnNullCursor {
    /// The run fails.
    #[default]
    Fail,
    /// It is left out.
    Ignore,
}

/// How a run is divided.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChunkingSpec {
    /// The column by whose ranges a table is divided, of a whole number's type and best one with an index.
    /// Only with databases. Default: the primary key or the table's own blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "vocabulary::source_column")]
    pub field: Option<String>,
    /// About how many rows a chunk has, 1000 to 1000000000. Default 5000000.
    #[serde(default = "default_target_rows")]
    #[schemars(range(min = 1000, max = 1_000_000_000))]
    pub target_rows: u64,
    /// How many chunks are read at a time, each over a connection of its own, 1 to 32. Default 4.
    #[serde(default = "default_parallelism")]
    #[schemars(range(min = 1, max = 32))]
    pub parallelism: u32,
    /// Where chunks are read: InProcess (default), by the pod that makes the run, or Pods, each in a pod
    /// of its own, of which `parallelism` run at a time and which are tried again one by one. Only with
    /// Postgres and ObjectStore; without a cluster it has no effect.
    #[serde(default)]
    pub placement: ChunkPlacement,
}

impl Default for ChunkingSpec {
    fn default() -> Self {
        Self {
            field: None,
            target_rows: default_target_rows(),
            parallelism: default_parallelism(),
            placement: ChunkPlacement::default(),
        }
    }
}

/// Where chunks are read.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ChunkPlacement {
    /// By the pod that makes the run.
    #[default]
    InProcess,
    /// Each in a pod of its own.
    Pods,
}

fn default_target_rows() -> u64 {
    5_000_000
}

fn default_parallelism() -> u32 {
    4
}

/// When runs are made.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleSpec {
    /// The ticks, five fields: minute, hour, day of month, month, day of week. At least five minutes lie
    /// between two. The interval of a tick reaches from the tick before to it.
    #[schemars(schema_with = "vocabulary::cron")]
    pub cron: String,
    /// The zone that the ticks are told in, an IANA name such as Asia/Seoul. Where the cron names hours, a
    /// tick that summer time skips comes when the clock has moved on, and one that it repeats comes once;
    /// `*` hours tick with every hour that passes. Default UTC.
    #[serde(default = "default_time_zone")]
    #[schemars(schema_with = "vocabulary::time_zone")]
    pub time_zone: String,
    /// How long after its tick an interval is run. Default 0s.
    #[serde(default)]
    #[schemars(schema_with = "vocabulary::duration")]
    pub delay: Span,
    /// No interval begins before this instant, RFC 3339; in the past it asks for what was, according to
    /// `catchupPolicy`. Default: when the pipeline was made, or, where `catchupPolicy` is All, since
    /// the table's log knows the pipeline if that is earlier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "vocabulary::instant")]
    pub start_at: Option<String>,
    /// What happens to intervals that went by without a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catchup_policy: Option<CatchupPolicy>,
    /// Pipelines of the same namespace that must be complete up to the interval's end first, at most 16.
    /// Default: none. No effect under `tidegate run`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 16),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub depends_on: Vec<DependencySpec>,
}

fn default_time_zone() -> String {
    "UTC".to_owned()
}

// The schema of an optional enum takes its description from here.
/// What happens to intervals that went by without a run: All runs each of them, oldest first; Latest
/// only the newest; None only those that end from now on. Default: All, and Latest where every run
/// reads the whole source.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CatchupPolicy {
    /// Each is run.
    All,
    /// The newest is run.
    Latest,
    /// None is run.
    None,
}

/// A pipeline that must be complete first.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DependencySpec {
    /// Its name.
    #[schemars(schema_with = "vocabulary::object_name")]
    pub name: String,
}

/// Whose rows are replaced.
#[derive(KubeSchema, Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepairsSpec {
    /// The streamed pipeline, in the same namespace; under `tidegate`, in one of the files given.
    pub pipeline_ref: PipelineRef,
}

/// How runs are tried again, and how long they live.
#[derive(KubeSchema, Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunTemplateSpec {
    /// How often a run is tried again when trying again may help.
    #[serde(default)]
    pub retry: RetrySpec,
    /// How long one attempt may take, in seconds, 60 to 2592000. Default: as long as it takes. No effect
    /// under `tidegate run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60, max = 2_592_000))]
    pub active_deadline_seconds: Option<i64>,
    /// How long the object of a finished run stays, in seconds, 0 to 31536000. Default: until the history
    /// limits remove it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 31_536_000))]
    pub ttl_seconds_after_finished: Option<i64>,
}

/// Trying again.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetrySpec {
    /// How many attempts follow the first one, 0 to 20. Default 3.
    #[serde(default = "default_retry_limit")]
    #[schemars(range(max = 20))]
    pub limit: u32,
    /// How long before each.
    #[serde(default)]
    pub backoff: BackoffSpec,
}

impl RetrySpec {
    /// How long to wait after the failed attempt of this number, which counts from 1; none when it was the
    /// last.
    #[must_use]
    pub fn pause_after(&self, attempt: u32) -> Option<Duration> {
        let BackoffSpec { duration, factor, max_duration } = &self.backoff;
        let (first, longest) = (duration.to_duration(), max_duration.to_duration());
        let grown = factor.max(&1).checked_pow(attempt.saturating_sub(1));
        let pause = grown.and_then(|grown| first.checked_mul(grown));
        (attempt <= self.limit).then(|| pause.map_or(longest, |pause| pause.min(longest)))
    }
}

impl Default for RetrySpec {
    fn default() -> Self {
        Self { limit: default_retry_limit(), backoff: BackoffSpec::default() }
    }
}

fn default_retry_limit() -> u32 {
    3
}

/// How long before each attempt.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackoffSpec {
    /// Before the second attempt. Default 30s.
    #[serde(default = "default_backoff")]
    #[schemars(schema_with = "vocabulary::duration")]
    pub duration: Span,
    /// What it is multiplied by before each further one, 1 to 10. Default 2.
    #[serde(default = "default_factor")]
    #[schemars(range(min = 1, max = 10))]
    pub factor: u32,
    /// It never gets longer than this. Default 10m.
    #[serde(default = "default_max_backoff")]
    #[schemars(schema_with = "vocabulary::duration")]
    pub max_duration: Span,
}

impl Default for BackoffSpec {
    fn default() -> Self {
        Self {
            duration: default_backoff(),
            factor: default_factor(),
            max_duration: default_max_backoff(),
        }
    }
}

fn default_backoff() -> Span {
    Span::seconds(30)
}

fn default_factor() -> u32 {
    2
}

fn default_max_backoff() -> Span {
    Span::seconds(600)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(retry: &RetrySpec, attempts: std::ops::RangeInclusive<u32>) -> Vec<Option<u64>> {
        attempts.map(|attempt| retry.pause_after(attempt).map(|pause| pause.as_secs())).collect()
    }

    #[test]
    fn pauses_grow_up_to_a_bound_and_end_with_the_last_attempt() {
        let retry = RetrySpec { limit: 7, ..RetrySpec::default() };
        let expected = [30, 60, 120, 240, 480, 600, 600].map(Some);
        assert_eq!(seconds(&retry, 1..=7), expected);
        assert_eq!(retry.pause_after(8), None);
        assert_eq!(RetrySpec { limit: 0, ..retry.clone() }.pause_after(1), None);
        let endless = RetrySpec { limit: u32::MAX, ..retry };
        assert_eq!(seconds(&endless, u32::MAX..=u32::MAX), [Some(600)]);
    }

    #[test]
    fn a_factor_of_one_stays_and_the_bound_holds_for_the_first_too() {
        let mut retry = RetrySpec { limit: 20, ..RetrySpec::default() };
        retry.backoff.factor = 10;
        assert_eq!(seconds(&retry, 20..=20), [Some(600)]);
        retry.backoff.factor = 1;
        assert_eq!(retry.pause_after(9), retry.pause_after(1));
        retry.backoff.max_duration = Span::seconds(5);
        assert_eq!(seconds(&retry, 1..=1), [Some(5)]);
    }
}
