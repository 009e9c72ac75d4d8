//! What the source says now of intervals that the table holds: how many rows they have, and whether files
//! were added, changed or deleted after they were loaded (B8). Nothing is read, and nothing is claimed.

use std::path::PathBuf;
use std::time::Duration;

use futures::StreamExt;
use tidegate_config::{
    BulkSource, FilesReport, Recount, SourceAnswer, SourceSays, TransferConfig, WriteMode,
};
use tidegate_extract::ExtractError;
use tidegate_runtime::secrets::Secrets;
use tidegate_runtime::{RunError, in_words};
use tidegate_table::ledger::{IntervalKey, IntervalState, Intervals};

use crate::run::fingerprint_bits;
use crate::schedule::intervals;
use crate::source::{RealSources, Sources, request};

/// Intervals among which late files are looked for where nobody asks for more: a listing each.
pub const MOST_LOOKED_AT_FOR_LATE_FILES: usize = 24;
/// Intervals that are asked about side by side.
const AT_ONCE: usize = 4;
/// How long one answer may take: a database may have to wait for open transactions first.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a run that is done looks at the files of others. The next run looks again.
const LOOK_BACK_WITHIN: Duration = Duration::from_secs(30);

/// Asks the source about the newest intervals of the table's log, `most` at most.
///
/// # Errors
///
/// When the table's log cannot be read. What the source does not answer is an answer.
pub async fn recount(
    config: &TransferConfig,
    secrets_dir: Option<PathBuf>,
    most: usize,
) -> Result<Recount, RunError> {
    let known = intervals(config, secrets_dir.clone()).await?;
    Ok(ask(config, &Secrets::new(secrets_dir), &RealSources, &known, most).await)
}

/// What a run that is done tells of late files of the newest intervals: nobody else looks at them in a cluster.
/// None of other sources, and none where log or source did not answer in time: the run itself is done.
pub async fn look_back(
    config: &TransferConfig,
    secrets_dir: Option<PathBuf>,
) -> Option<FilesReport> {
    if !can_be_stale(config) {
        return None;
    }
    let asked = recount(config, secrets_dir, MOST_LOOKED_AT_FOR_LATE_FILES);
    let told = tokio::time::timeout(LOOK_BACK_WITHIN, asked).await.ok()?;
    told.ok()?.files_report(config.write_mode)
}

/// Whether its intervals are made of files that are named for them, so that late ones can be told.
#[must_use]
pub fn can_be_stale(config: &TransferConfig) -> bool {
    matches!(config.source, BulkSource::ObjectStore(_)) && config.schedule.is_some()
}

pub(crate) async fn ask(
    config: &TransferConfig,
    secrets: &Secrets,
    sources: &dyn Sources,
    known: &Intervals,
    most: usize,
) -> Recount {
    let told = comparable(config, known);
    let left_out = told.len().saturating_sub(most);
    let answers = told.into_iter().rev().take(most).map(|(key, state)| async move {
        let asked = answer(config, secrets, sources, key, state);
        let says = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(says)) => says,
            Ok(Err(error)) => SourceSays::Nothing(in_words(&error)),
            Err(_) => SourceSays::Nothing(format!("no answer within {} s", PATIENCE.as_secs())),
        };
        SourceAnswer { interval: key.interval(), says }
    });
    Recount { answers: futures::stream::iter(answers).buffered(AT_ONCE).collect().await, left_out }
}

/// The intervals that the table holds and of which source and table can be compared, the oldest first. One
/// that is claimed again is held as before, and so are the marks of its files.
fn comparable(config: &TransferConfig, known: &Intervals) -> Vec<(IntervalKey, IntervalState)> {
    let files = matches!(config.source, BulkSource::ObjectStore(_));
    let mut told: Vec<_> = known.iter().filter(|(_, state)| state.held().is_some()).collect();
    let by_interval = files || config.incremental.is_some();
    match config.write_mode {
        // Each load adds to those before.
        WriteMode::Append if !by_interval => told.clear(),
        // A load of everything took the place of the intervals, and lets none come after it (B3).
        WriteMode::ReplaceInterval if told.iter().any(|(key, _)| *key == IntervalKey::All) => {
            told.clear();
        }
        WriteMode::Append | WriteMode::ReplaceInterval if by_interval => {}
        // The last load took the place of all others (B9: one generation for all).
        _ => told = told.into_iter().max_by_key(|(_, state)| state.held()).into_iter().collect(),
    }
    told
}

/// What the source says of one interval that the table holds.
pub(crate) async fn answer(
    config: &TransferConfig,
    secrets: &Secrets,
    sources: &dyn Sources,
    key: IntervalKey,
    state: IntervalState,
) -> Result<SourceSays, ExtractError> {
    let files = matches!(config.source, BulkSource::ObjectStore(_));
    if files && state.fingerprint.is_none() {
        let why = "the log does not say of which files it was loaded";
        return Ok(SourceSays::Nothing(why.to_owned()));
    }
    let snapshot = sources.open(request(config, secrets, key.interval())).await?;
    let says = match &config.source {
        // The name of such a snapshot is the listing's fingerprint: nothing but a listing is needed.
        BulkSource::ObjectStore(_)
            if Some(fingerprint_bits(snapshot.id())) == state.fingerprint =>
        {
            Ok(SourceSays::SameFiles)
        }
        BulkSource::ObjectStore(_) => Ok(SourceSays::OtherFiles),
        BulkSource::Postgres(_) | BulkSource::MySql(_) => snapshot.plan().await.map(|plan| {
            let uncounted = || SourceSays::Nothing("the source does not count".to_owned());
            plan.rows.map_or_else(uncounted, SourceSays::Rows)
        }),
    };
    snapshot.close().await;
    says
}
