//! Numbers that cannot work together, found before they meet, each with its arithmetic.
//!
//! What is impossible is an [`Severity::Error`]; what works but is surely not meant is a
//! [`Severity::Warning`]. Rates are not in the configuration, so that arithmetic that needs one takes
//! it from [`Load`].

use std::fmt;

use tidegate_types::{ByteSize, KeyPrecision, PartitionTransform, Span};

use crate::PipelineConfig;

/// NATS refuses shorter windows.
const SHORTEST_DUPLICATE_WINDOW: Span = Span::millis(100);
/// What `trim.keep` must exceed `duplicateWindow` by: ids of trimmed messages are forgotten when the
/// broker restarts, and a publisher may still be retrying.
const TRIM_SLACK: Span = Span::seconds(600);
/// A weekend's outage should not lose messages; a day is the least to survive.
const LEAST_MAX_AGE: Span = Span::seconds(86_400);
/// Below this the log grows by more than 43 thousand entries a day.
const SHORTEST_INTERVAL: Span = Span::seconds(2);
/// What NATS keeps of one id in memory (measured: 234 bytes of its heap).
const BROKER_BYTES_PER_ID: u64 = 234;
/// The broker's memory that ids may take without a word.
const BROKER_MEMORY: ByteSize = ByteSize::mib(1024);
/// What one open file buffers at least: a column chunk being encoded and a part being sent, or less
/// when the whole file is smaller.
const BUFFER_PER_FILE: ByteSize = ByteSize::mib(8);

/// What the arithmetic assumes of the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Messages a second, of the whole pipeline.
    pub messages_per_second: u64,
    /// Bytes of a message.
    pub bytes_per_message: u64,
    /// Memory of a worker.
    pub memory: ByteSize,
}

/// A million devices with one message of a hundred bytes a minute, and a worker of 2 GiB.
impl Default for Load {
    fn default() -> Self {
        Self { messages_per_second: 17_000, bytes_per_message: 100, memory: ByteSize::mib(2_048) }
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It works, but surely not as meant.
    Warning,
    /// It cannot work.
    Error,
}

/// Numbers that do not go together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The field to change, such as `spec.sink.flush.maxInterval`.
    pub field: &'static str,
    /// The numbers, and what follows from them.
    pub arithmetic: String,
    /// How bad it is.
    pub severity: Severity,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.arithmetic)
    }
}

/// Looks for such numbers under the reference load.
#[must_use]
pub fn lint(config: &PipelineConfig) -> Vec<Finding> {
    lint_under(config, &Load::default())
}

/// Looks for such numbers under a given load.
#[must_use]
pub fn lint_under(config: &PipelineConfig, load: &Load) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    if !config.source.subjects.is_empty() {
        stream(config, load, &mut findings);
    }
    trim(config, &mut findings);
    flush(config, load, &mut findings);
    files(config, load, &mut findings);
    window(config, load, &mut findings);
    findings.0
}

struct Findings(Vec<Finding>);

impl Findings {
    fn warn(&mut self, field: &'static str, arithmetic: String) {
        self.0.push(Finding { field, arithmetic, severity: Severity::Warning });
    }

    fn refuse(&mut self, field: &'static str, arithmetic: String) {
        self.0.push(Finding { field, arithmetic, severity: Severity::Error });
    }
}

/// Limits of a stream that Tidegate keeps.
fn stream(config: &PipelineConfig, load: &Load, findings: &mut Findings) {
    let source = &config.source;
    let window = source.duplicate_window;
    let field = "spec.source.jetStream.duplicateWindow";
    if window < SHORTEST_DUPLICATE_WINDOW {
        let least = SHORTEST_DUPLICATE_WINDOW;
        findings.refuse(field, format!("{window} is less than the {least} that NATS takes"));
    }
    let ids = seconds(window).saturating_mul(load.messages_per_second);
    let memory = ids.saturating_mul(BROKER_BYTES_PER_ID);
    if memory > BROKER_MEMORY.0 {
        findings.warn(
            field,
            format!(
                "{window} × {}/s × {BROKER_BYTES_PER_ID} B = {} in the broker's memory; keep it short, the long window is dedup.window",
                load.messages_per_second,
                rounded(memory)
            ),
        );
    }
    match source.retention.max_age {
        Some(max_age) => age(config, max_age, findings),
        None if source.trim.is_none() => endless(config, findings),
        None => {}
    }
}

fn age(config: &PipelineConfig, max_age: Span, findings: &mut Findings) {
    let source = &config.source;
    let field = "spec.source.jetStream.retention.maxAge";
    let interval = config.sink.flush.max_interval;
    if source.duplicate_window > max_age {
        let window = source.duplicate_window;
        let text = format!("{max_age} is less than duplicateWindow {window}, which NATS refuses");
        findings.refuse(field, text);
    }
    if max_age <= interval {
        let text = format!(
            "messages vanish after {max_age}, and may wait {interval} (flush.maxInterval) for their commit"
        );
        findings.refuse(field, text);
    } else if max_age < LEAST_MAX_AGE {
        let outage = difference(max_age, interval);
        let text = format!(
            "{max_age} − {interval} (flush.maxInterval) = {outage}: a longer outage loses messages; {LEAST_MAX_AGE} is the least to be calm"
        );
        findings.warn(field, text);
    }
}

/// Neither age nor trim removes anything.
fn endless(config: &PipelineConfig, findings: &mut Findings) {
    let text = match config.source.retention.max_bytes {
        Some(max_bytes) => format!(
            "nothing is ever removed: after {max_bytes} publishers are refused for good; write trim or retention.maxAge"
        ),
        None => "nothing is ever removed and there is no limit: the broker's disk fills; write trim or retention".to_owned(),
    };
    findings.warn("spec.source.jetStream.trim", text);
}

fn trim(config: &PipelineConfig, findings: &mut Findings) {
    let source = &config.source;
    let Some(trim) = &source.trim else { return };
    let field = "spec.source.jetStream.trim.keep";
    let least = sum(source.duplicate_window, TRIM_SLACK);
    if trim.keep < least {
        let text = format!(
            "{} is less than duplicateWindow {} + {TRIM_SLACK} = {least}: ids of trimmed messages are forgotten when the broker restarts",
            trim.keep, source.duplicate_window
        );
        findings.warn(field, text);
    }
    if let Some(max_age) = source.retention.max_age.filter(|max_age| trim.keep >= *max_age) {
        let text = format!("{} is not less than maxAge {max_age}: it trims nothing", trim.keep);
        findings.warn(field, text);
    }
}

fn flush(config: &PipelineConfig, load: &Load, findings: &mut Findings) {
    let flush = &config.sink.flush;
    let interval = flush.max_interval;
    let field = "spec.sink.flush.maxInterval";
    if interval < SHORTEST_INTERVAL {
        let a_day = 86_400_000 / interval.as_millis().max(1);
        let text = format!("a commit every {interval} is {a_day} entries a day in the table's log");
        findings.warn(field, text);
    }
    let rows = seconds(interval).saturating_mul(load.messages_per_second).min(flush.max_rows);
    let bytes = rows.saturating_mul(load.bytes_per_message);
    if bytes > load.memory.0 / 2 {
        let text = format!(
            "{rows} rows × {} B = {} of one flush, more than half of {} memory; shorten it or lower maxRows",
            load.bytes_per_message,
            rounded(bytes),
            load.memory
        );
        findings.warn(field, text);
    }
    if flush.idle_after > interval {
        let text = format!("{} is longer than maxInterval {interval}: no effect", flush.idle_after);
        findings.warn("spec.sink.flush.idleAfter", text);
    }
    if let Some(breaker) = config.dead_letter.breaker.as_ref().filter(|b| b.over < interval) {
        let text = format!(
            "{} is shorter than flush.maxInterval {interval}: it judges less than one commit",
            breaker.over
        );
        findings.warn("spec.deadLetter.breaker.over", text);
    }
    let largest = config.decode.max_bytes;
    if largest.0 > load.memory.0 / 8 {
        let text = format!("one message of {largest} is more than an eighth of {}", load.memory);
        findings.refuse("spec.decode.limits.maxBytes", text);
    }
}

fn files(config: &PipelineConfig, load: &Load, findings: &mut Findings) {
    let file = &config.sink.file;
    let open = u64::from(file.max_open_partitions);
    let field = "spec.sink.file.maxOpenPartitions";
    if !config.sink.partition_by.is_empty() {
        let each = file.target_size.0.min(BUFFER_PER_FILE.0);
        let memory = open.saturating_mul(each);
        if memory > load.memory.0 / 2 {
            let text = format!(
                "{open} files × {} of buffers = {}, more than half of {} memory",
                rounded(each),
                rounded(memory),
                load.memory
            );
            findings.warn(field, text);
        }
    }
    for partition in &config.sink.partition_by {
        if let PartitionTransform::Bucket(buckets) = partition.transform
            && u64::from(buckets) > open
        {
            let text = format!(
                "{buckets} buckets of {} > {open} open files: each is closed early and small",
                partition.field
            );
            findings.warn(field, text);
        }
    }
    open_by_time(config, field, findings);
}

/// How many time partitions can be written at once is bounded by the lateness in both directions.
fn open_by_time(config: &PipelineConfig, field: &'static str, findings: &mut Findings) {
    let Some(event_time) = &config.sink.event_time else { return };
    let length = config
        .sink
        .partition_by
        .iter()
        .filter(|partition| partition.field == event_time.field)
        .filter_map(|partition| match partition.transform {
            PartitionTransform::Hour => Some(("hours", 3_600)),
            PartitionTransform::Day => Some(("days", 86_400)),
            _ => None,
        })
        .min_by_key(|(_, length)| *length);
    let Some((unit, length)) = length else { return };
    let lateness = event_time.allowed_lateness;
    let at_once = (2 * seconds(lateness)).div_ceil(length) + 1;
    if at_once > u64::from(config.sink.file.max_open_partitions) {
        let text = format!(
            "2 × allowedLateness {lateness} spans {at_once} {unit} > {} open files: late records close files early",
            config.sink.file.max_open_partitions
        );
        findings.warn(field, text);
    }
}

/// The window in the worker's memory; beyond the budget it spills to disk.
fn window(config: &PipelineConfig, load: &Load, findings: &mut Findings) {
    let Some(dedup) = &config.dedup else { return };
    let bytes_per_id = match dedup.keys {
        KeyPrecision::Exact => 20,
        KeyPrecision::Fingerprint => 11,
    };
    let ids = seconds(dedup.window).saturating_mul(load.messages_per_second);
    let memory = ids.saturating_mul(bytes_per_id);
    if memory > load.memory.0 {
        let text = format!(
            "{} × {}/s × {bytes_per_id} B = {}, more than the {} of one worker: the rest spills to disk",
            dedup.window,
            load.messages_per_second,
            rounded(memory),
            load.memory
        );
        findings.warn("spec.dedup.window", text);
    }
}

/// Whole seconds, rounded up.
fn seconds(span: Span) -> u64 {
    span.as_millis().div_ceil(1_000)
}

fn sum(a: Span, b: Span) -> Span {
    Span::millis(a.as_millis().saturating_add(b.as_millis()))
}

fn difference(a: Span, b: Span) -> Span {
    Span::millis(a.as_millis().saturating_sub(b.as_millis()))
}

/// A size for people: whole MiB, or bytes when there are few.
fn rounded(bytes: u64) -> String {
    if bytes < 1 << 20 { format!("{bytes} B") } else { format!("{} MiB", bytes >> 20) }
}
