//! `tidegate plan`: what a run would create, and from where reading would go on. Nothing is changed.

use std::fmt;
use std::path::PathBuf;

use tidegate_config::{Assessment, Finding, PathFacts, PipelineConfig, assess, lint};
use tidegate_runtime::secrets::Secrets;
use tidegate_runtime::{RunError, open_store};
use tidegate_source::{SourceError, StreamFacts, pending_after, resolve_start, stream_facts};
use tidegate_table::ledger::{LedgerState, PartitionState};
use tidegate_table::log::{CommitLog, TableSnapshot};
use tidegate_table::schema::{check_partitioning, plan_evolution};
use tidegate_types::{Holder, PartitionId, Position};

use crate::preflight::path_facts;
use crate::{setup, source_setup};

/// What a run would do.
#[derive(Debug, Clone)]
pub struct Plan {
    lines: Vec<String>,
    /// What the path gives, as far as it is known.
    pub assessment: Assessment,
    /// Numbers that do not go together.
    pub findings: Vec<Finding>,
}

/// Looks at stream and table and says what a run would do.
///
/// # Errors
///
/// When something that is there cannot be read, or the table does not fit the pipeline.
pub async fn plan(config: &PipelineConfig, secrets_dir: Option<PathBuf>) -> Result<Plan, RunError> {
    let secrets = Secrets::new(secrets_dir);
    let (.., layout) = setup::compile(config)?;
    let mut lines = vec![format!("pipeline {} (ledger {})", config.name, config.ledger)];
    let stream = look_at_stream(config, &secrets, &mut lines).await?;
    let store = open_store(&config.sink, &secrets)?;
    let snapshot = CommitLog::open(&store).load().await?;
    match &snapshot {
        None => lines.push(format!(
            "create table {} with {} columns, partitioned by [{}]",
            config.sink.url,
            layout.spec.schema.fields().len(),
            layout.spec.partition_columns.join(", ")
        )),
        Some(snapshot) => table_lines(config, snapshot, &layout, &mut lines)?,
    }
    if let Some((connection, facts)) = &stream {
        lines.extend(position_lines(config, connection, facts, snapshot.as_ref()).await?);
    }
    let facts = stream.map_or_else(PathFacts::default, |(_, facts)| PathFacts {
        store: tidegate_config::StoreFacts::default(),
        ..path_facts(&facts, true)
    });
    Ok(Plan { lines, assessment: assess(config, &facts), findings: lint(config) })
}

async fn look_at_stream(
    config: &PipelineConfig,
    secrets: &Secrets,
    lines: &mut Vec<String>,
) -> Result<Option<(tidegate_source::Connection, StreamFacts)>, RunError> {
    let source = &config.source;
    if source.servers.is_empty() {
        lines.push("start an embedded nats-server (no servers are given)".to_owned());
        return Ok(None);
    }
    let name = "tidegate plan".to_owned();
    let connection = source_setup::connect(source, secrets, false, name).await?;
    match stream_facts(&connection, &source.stream).await {
        Ok(facts) => {
            let keep = if source.subjects.is_empty() { "read" } else { "keep" };
            lines.push(format!(
                "{keep} stream {} ({} messages, {} to {})",
                facts.name, facts.messages, facts.first_sequence, facts.last_sequence
            ));
            Ok(Some((connection, facts)))
        }
        Err(SourceError::StreamMissing { stream }) if !source.subjects.is_empty() => {
            lines.push(format!("create stream {stream} for [{}]", source.subjects.join(", ")));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn table_lines(
    config: &PipelineConfig,
    snapshot: &TableSnapshot,
    layout: &setup::Layout,
    lines: &mut Vec<String>,
) -> Result<(), RunError> {
    let mismatch = |error: tidegate_table::schema::SchemaMismatch| {
        RunError::permanent(error.reason(), "the pipeline's schema does not fit the table")
            .because(error)
    };
    lines.push(format!("append to table {} at version {}", config.sink.url, snapshot.version()));
    check_partitioning(snapshot.partition_columns(), &layout.spec.partition_columns)
        .map_err(mismatch)?;
    let added = plan_evolution(snapshot.schema(), &layout.spec.schema, config.schema.evolution)
        .map_err(mismatch)?;
    for column in added {
        lines.push(format!("add column {column} {}", column.field.data_type()));
    }
    Ok(())
}

async fn position_lines(
    config: &PipelineConfig,
    connection: &tidegate_source::Connection,
    facts: &StreamFacts,
    snapshot: Option<&TableSnapshot>,
) -> Result<Vec<String>, RunError> {
    let state = match snapshot {
        Some(snapshot) => {
            let txns = snapshot.txns();
            let incarnation = source_setup::incarnation(connection, config, facts, txns).await?;
            LedgerState::read(txns, &config.ledger, incarnation)?
        }
        None => LedgerState::default(),
    };
    let start = source_setup::start_at(&config.source.start_from);
    let initial = resolve_start(connection, &facts.name, start).await?;
    let mut lines = Vec::new();
    for (partition, filter) in source_setup::filters(&config.source) {
        let known = state.partition(partition);
        let from = known.floor.unwrap_or(initial);
        let pending = pending_after(connection, &facts.name, filter.as_deref(), from).await?;
        lines.push(position_line(partition, &known, from, pending));
    }
    Ok(lines)
}

fn position_line(
    partition: PartitionId,
    known: &PartitionState,
    from: Position,
    pending: u64,
) -> String {
    let how = if known.floor.is_some() { "go on" } else { "begin" };
    let held = if known.holder == Holder::RELEASED { "" } else { ", held by a worker" };
    format!(
        "partition {partition}: {how} at sequence {} ({pending} messages wait{held})",
        from.next()
    )
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        let Assessment { requested, effective, .. } = &self.assessment;
        write!(f, "guarantee {requested:?} asked for, {effective:?} given")?;
        if let Some(hop) = &self.assessment.weakest_hop {
            write!(f, "\n  weakest hop: {hop}")?;
        }
        for caveat in &self.assessment.caveats {
            write!(f, "\n  note: {}", caveat.text)?;
        }
        for finding in &self.findings {
            write!(f, "\n  {:?} {}: {}", finding.severity, finding.field, finding.arithmetic)?;
        }
        Ok(())
    }
}
