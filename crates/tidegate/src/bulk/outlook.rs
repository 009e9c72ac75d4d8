//! What a bulk pipeline would do: where it reads, where it writes, and which runs are due.

use std::path::PathBuf;

use jiff::Timestamp;
use tidegate_config::{
    BulkSource, DatabaseSource, FileFormat, Relation, TransferConfig, WriteMode,
};
use tidegate_transfer::decide::DueRuns;
use tidegate_transfer::{due_runs, refused_runs};
use tidegate_types::DataInterval;

use crate::documents::LoadedBulk;
use crate::failure::{Failure, run_failed};
use crate::output::{count, grouped};

/// Due intervals that are named; the rest is counted.
const NAMED: usize = 20;
/// Refused intervals that are told with why; the cause is mostly a common one.
const REFUSED: usize = 1;
/// Due intervals that are looked for.
const LOOKED_FOR: usize = 100_000;

/// What `tidegate plan` says about one pipeline.
#[derive(Debug, Default)]
pub(crate) struct Outlook {
    pub(crate) lines: Vec<String>,
    /// Whether a run that is due would be refused until somebody changes something.
    pub(crate) is_refused: bool,
}

impl From<Vec<String>> for Outlook {
    fn from(lines: Vec<String>) -> Self {
        Self { lines, is_refused: false }
    }
}

/// The outlook of one pipeline.
pub(crate) async fn outlook(
    pipeline: &LoadedBulk,
    secrets_dir: Option<PathBuf>,
) -> Result<Outlook, Failure> {
    let LoadedBulk { config, policy, .. } = pipeline;
    let mut lines = vec![
        format!("pipeline {} (ledger {})", config.name, config.ledger),
        format!("read {}", source_in_words(&config.source)),
        format!("{} {}", what_happens(config.write_mode), config.sink.url),
    ];
    if let Some(repairs) = &config.repairs {
        let whose = &repairs.pipeline;
        lines.push(format!("repair rows of {whose}, when `tidegate backfill` asks for it"));
        return Ok(lines.into());
    }
    if config.schedule.is_none() {
        lines.push("one run of everything, at each call".to_owned());
        return Ok(lines.into());
    }
    let now = Timestamp::now();
    let query = policy.query(now, LOOKED_FOR);
    let due = due_runs(config, secrets_dir.clone(), &query, now).await.map_err(run_failed)?;
    lines.extend(due_in_words(&due));
    let refused = refused_runs(config, secrets_dir, &due).await.map_err(run_failed)?;
    lines.extend(refused_in_words(&refused));
    lines.extend(schedule_in_words(config));
    Ok(Outlook { lines, is_refused: !refused.is_empty() })
}

/// Those of the runs that are due now that the log refuses; none without a schedule.
pub(crate) async fn refused_in_outlook(
    pipeline: &LoadedBulk,
    secrets_dir: Option<PathBuf>,
) -> Result<Vec<String>, Failure> {
    let LoadedBulk { config, policy, .. } = pipeline;
    if config.schedule.is_none() || config.repairs.is_some() {
        return Ok(Vec::new());
    }
    let now = Timestamp::now();
    let query = policy.query(now, NAMED);
    let due = due_runs(config, secrets_dir.clone(), &query, now).await.map_err(run_failed)?;
    let refused = refused_runs(config, secrets_dir, &due).await.map_err(run_failed)?;
    Ok(refused.into_iter().take(REFUSED).map(|(interval, why)| in_words(interval, &why)).collect())
}

/// The refused ones, with why.
fn refused_in_words(refused: &[(DataInterval, String)]) -> Vec<String> {
    let told = refused.iter().take(REFUSED);
    let mut lines: Vec<_> =
        told.map(|(one, why)| format!("refused: {}", in_words(*one, why))).collect();
    if let hidden @ 1.. = refused.len().saturating_sub(REFUSED) {
        lines.push(format!("refused: {} more", grouped(hidden as u64)));
    }
    lines
}

/// An interval and why it is refused.
fn in_words(interval: DataInterval, why: &str) -> String {
    format!("{interval}: {why}")
}

/// What is read, for people.
pub(crate) fn source_in_words(source: &BulkSource) -> String {
    match source {
        BulkSource::Postgres(database) => format!("Postgres {}", relation_in_words(database)),
        BulkSource::MySql(database) => format!("MySQL {}", relation_in_words(database)),
        BulkSource::ObjectStore(store) => {
            let format = match store.format {
                FileFormat::Csv => "CSV",
                FileFormat::NdJson => "NDJSON",
                FileFormat::Parquet => "Parquet",
            };
            format!("{}/{} ({format})", store.url, store.glob)
        }
    }
}

fn relation_in_words(database: &DatabaseSource) -> String {
    match &database.relation {
        Relation::Table { schema: Some(schema), name } => format!("table {schema}.{name}"),
        Relation::Table { schema: None, name } => format!("table {name}"),
        Relation::Query(_) => "query".to_owned(),
    }
}

fn what_happens(mode: WriteMode) -> &'static str {
    match mode {
        WriteMode::Append => "append to the table",
        WriteMode::ReplaceInterval => "replace intervals of the table",
        WriteMode::Overwrite => "replace the pipeline's rows in the table",
    }
}

fn schedule_in_words(config: &TransferConfig) -> Option<String> {
    let schedule = config.schedule.as_ref()?;
    Some(format!("ticks: {} in {}", schedule.cron, schedule.time_zone))
}

fn due_in_words(due: &DueRuns) -> Vec<String> {
    let mut lines = vec![match due.now.len() {
        0 => "nothing is due".to_owned(),
        number => format!("due now: {}", count(number as u64, "run", "runs")),
    }];
    lines.extend(
        due.now
            .iter()
            .take(NAMED)
            .map(|run| format!("  {}{}", run.interval, if run.again { ", once more" } else { "" })),
    );
    let hidden = due.now.len().saturating_sub(NAMED);
    if hidden > 0 {
        lines.push(format!("  … and {} more", grouped(hidden as u64)));
    }
    lines.extend(due.next.map(|next| format!("due next at {next}")));
    lines
}

#[cfg(test)]
mod tests {
    use tidegate_transfer::decide::DueRun;

    use super::*;
    use crate::bulk::fixtures::hour;

    #[test]
    fn what_is_due_is_named_and_the_rest_counted() {
        let again = |n, again| DueRun { interval: hour(n), again };
        let next = Timestamp::from_second(7_200).ok();
        let due = DueRuns { now: vec![again(0, true), again(1, false)], next };
        assert_eq!(
            due_in_words(&due),
            [
                "due now: 2 runs",
                "  1970-01-01T00:00:00Z/1970-01-01T01:00:00Z, once more",
                "  1970-01-01T01:00:00Z/1970-01-01T02:00:00Z",
                "due next at 1970-01-01T02:00:00Z",
            ]
        );
        let many = DueRuns { now: (0..30).map(|n| again(n, false)).collect(), next: None };
        assert_eq!(due_in_words(&many).last().map(String::as_str), Some("  … and 10 more"));
        assert_eq!(due_in_words(&DueRuns::default()), ["nothing is due"]);
    }
}
