//! From the custom resource to the resolved configuration.
//!
//! [`resolve`] fills in every default, reads every text, and checks what compares fields with each
//! other and what a schema cannot say: columns that exist and fit, names that are distinct, paths and
//! addresses that can be read. It is a crate of its own so that pods need not carry the resource's
//! types and the resource's types need not know the configuration.
//!
//! [`check_evolution`] compares an edit with the spec that was accepted before.
//!
//! It is pure but for [`resolve`] asking for the working directory, and for the time, from which on ticks of
//! a schedule are looked at; nothing is opened or looked up.
//! Whether a filter compiles is checked where filters are run, and what a database has is seen by whoever
//! opens it.

mod bulk;
mod bulk_source;
mod columns;
mod evolution;
mod faults;
mod location;
mod numbers;
mod repairs;
mod sink;
mod source;

use std::path::Path;

use tidegate_api::{
    DeadLetterSpec, DecodeSpec, DedupSpec, IngestionPipeline, IngestionPipelineSpec, KeyType,
    Violation,
};
use tidegate_config::{Breaker, DeadLetter, Decode, PipelineConfig, Schema, TransferConfig};
use tidegate_types::{ByteSize, DedupKey, DuplicateWindow, Guarantee, Ledger};

use faults::Faults;

pub use bulk::catchup_policy;
pub use evolution::check_evolution;
pub use numbers::lint_transfer;

/// A pipeline, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// It reads a stream without pause.
    Stream(Box<PipelineConfig>),
    /// It is made of runs.
    Bulk(Box<TransferConfig>),
}

impl Resolved {
    /// The configuration of a stream; none of runs.
    #[must_use]
    pub fn into_stream(self) -> Option<PipelineConfig> {
        match self {
            Self::Stream(config) => Some(*config),
            Self::Bulk(_) => None,
        }
    }

    /// The configuration of runs; none of a stream.
    #[must_use]
    pub fn into_bulk(self) -> Option<TransferConfig> {
        match self {
            Self::Stream(_) => None,
            Self::Bulk(config) => Some(*config),
        }
    }
}

/// The namespace of a document that names none.
const DEFAULT_NAMESPACE: &str = "default";
/// The header that NATS itself uses for ids.
const DEFAULT_HEADER: &str = "Nats-Msg-Id";
/// A payload cannot be larger in any NATS server.
const LARGEST_PAYLOAD: ByteSize = ByteSize::mib(64);

/// Finds a pipeline of the same namespace by its name.
pub type Others<'a> = &'a dyn Fn(&str) -> Option<IngestionPipeline>;

/// Resolves a pipeline that names no other one; relative `file:` addresses are taken from the working
/// directory.
///
/// # Errors
///
/// Every violation, with the field's path.
pub fn resolve(pipeline: &IngestionPipeline) -> Result<Resolved, Vec<Violation>> {
    resolve_in(pipeline, std::env::current_dir().ok().as_deref())
}

/// Resolves a pipeline that names no other one; relative `file:` addresses are taken from `directory`, and
/// refused without one (as in a cluster).
///
/// # Errors
///
/// Every violation, with the field's path.
pub fn resolve_in(
    pipeline: &IngestionPipeline,
    directory: Option<&Path>,
) -> Result<Resolved, Vec<Violation>> {
    resolve_among(pipeline, directory, &|_| None)
}

/// The pipeline of this name in the same namespace as `beside`; none is the namespace `default`.
#[must_use]
pub fn find_among(
    pipelines: &[IngestionPipeline],
    beside: &IngestionPipeline,
    name: &str,
) -> Option<IngestionPipeline> {
    let is_meant = |other: &&IngestionPipeline| {
        other.metadata.name.as_deref() == Some(name) && namespace(other) == namespace(beside)
    };
    pipelines.iter().find(is_meant).cloned()
}

fn namespace(pipeline: &IngestionPipeline) -> &str {
    pipeline.metadata.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE)
}

/// Resolves a pipeline that may name others (`bulk.repairs`), as [`resolve_in`] otherwise.
///
/// # Errors
///
/// Every violation, with the field's path; that the other one is not there is one.
pub fn resolve_among(
    pipeline: &IngestionPipeline,
    directory: Option<&Path>,
    others: Others<'_>,
) -> Result<Resolved, Vec<Violation>> {
    let name = pipeline.metadata.name.clone().unwrap_or_default();
    let namespace = namespace(pipeline);
    let spec = &pipeline.spec;
    let mut faults = Faults::new(&name);
    let ledger = ledger(spec.ledger.as_ref(), namespace, &name, &mut faults);
    let full_name = format!("{namespace}/{name}");
    let resolved = if spec.is_bulk() {
        let config = bulk::resolve(spec, full_name, ledger, (directory, others), &mut faults);
        config.map(|config| Resolved::Bulk(Box::new(config)))
    } else {
        let config = stream(spec, full_name, ledger, directory, &mut faults);
        config.map(|config| Resolved::Stream(Box::new(config)))
    };
    match resolved {
        Some(resolved) => faults.or(resolved),
        None => Err(faults.into_violations()),
    }
}

fn stream(
    spec: &IngestionPipelineSpec,
    name: String,
    ledger: Option<Ledger>,
    directory: Option<&Path>,
    faults: &mut Faults,
) -> Option<PipelineConfig> {
    let source = source::resolve(&spec.source, faults);
    let decode = decode(&spec.decode, faults);
    let fields = columns::resolve(&spec.schema.fields, faults);
    let dedup = dedup(spec.dedup.as_ref(), spec.guarantee, faults);
    let sink = sink::resolve(&spec.sink, directory, faults);
    let dead_letter = dead_letter(&spec.dead_letter, faults);
    if let (Some(fields), Some(sink)) = (&fields, &sink) {
        columns::check_partitions(fields, &sink.partition_by, faults);
        columns::check_event_time(fields, sink.event_time.as_ref(), faults);
        columns::check_dedup_key(fields, dedup.as_ref(), &sink.partition_by, faults);
    }
    Some(PipelineConfig {
        name,
        ledger: ledger?,
        guarantee: spec.guarantee,
        source: source?,
        decode,
        schema: Schema {
            evolution: spec.schema.evolution,
            unknown_fields: spec.schema.unknown_fields,
            fields: fields?,
        },
        filter: spec.filter.as_ref().map(|filter| filter.cel.clone()),
        dedup,
        sink: sink?,
        dead_letter,
    })
}

fn ledger(
    written: Option<&Ledger>,
    namespace: &str,
    name: &str,
    faults: &mut Faults,
) -> Option<Ledger> {
    if let Some(ledger) = written {
        return Some(ledger.clone());
    }
    match Ledger::new(format!("{namespace}.{name}")) {
        Ok(ledger) => Some(ledger),
        Err(error) => {
            faults.add("spec.ledger", format!("the default is no ledger name: {error}"));
            faults.instead("write a ledger");
            None
        }
    }
}

fn decode(spec: &DecodeSpec, faults: &mut Faults) -> Decode {
    let max_bytes = spec.limits.max_bytes;
    if max_bytes.0 == 0 || max_bytes > LARGEST_PAYLOAD {
        faults.add("spec.decode.limits.maxBytes", format!("{max_bytes} is out of range"));
        faults.instead(format!("write 1 to {LARGEST_PAYLOAD}"));
    }
    Decode {
        on_error: spec.on_error,
        coercion: spec.coercion,
        compression: spec.compression,
        max_bytes,
        max_depth: spec.limits.max_depth,
    }
}

/// ExactlyOnce compares ids unless told otherwise; the weaker guarantees only when told so.
fn dedup(
    spec: Option<&DedupSpec>,
    guarantee: Guarantee,
    faults: &mut Faults,
) -> Option<DuplicateWindow> {
    let default = (guarantee == Guarantee::ExactlyOnce).then(DedupSpec::default);
    let spec = spec.or(default.as_ref())?;
    faults.positive("spec.dedup.window", spec.window);
    let written = |text: Option<&String>| text.cloned().unwrap_or_default();
    let key = match &spec.key {
        None => DedupKey::Header(DEFAULT_HEADER.to_owned()),
        Some(key) => match key.key_type {
            KeyType::Header => DedupKey::Header(written(key.header.as_ref())),
            KeyType::Field => DedupKey::Field(written(key.field.as_ref())),
        },
    };
    Some(DuplicateWindow {
        key,
        window: spec.window,
        keys: spec.keys,
        on_missing_key: spec.on_missing_key,
    })
}

fn dead_letter(spec: &DeadLetterSpec, faults: &mut Faults) -> DeadLetter {
    let breaker = spec.breaker.as_ref().map(|breaker| {
        faults.positive("spec.deadLetter.breaker.over", breaker.over);
        Breaker { max_percent: breaker.max_percent, over: breaker.over }
    });
    DeadLetter { breaker }
}
