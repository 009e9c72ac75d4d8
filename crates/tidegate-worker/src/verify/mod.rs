//! `tidegate verify`: proves on a live table that nothing is missing and nothing is doubled (T2, T3).
//!
//! The main table is read first, then the dead letters, so that a worker that goes on meanwhile can
//! only make the dead letters newer; what lies beyond the floors of the main table is left out.

mod bulk;
mod bulk_contents;
mod bulk_dead_letters;
mod bulk_history;
mod bulk_source;
mod contents;
mod history;
mod repairs;
mod report;
mod sequences;
mod source;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::{ObjectStore, ObjectStoreExt};
use tidegate_config::{OnGap, PipelineConfig};
use tidegate_runtime::secrets::Secrets;
use tidegate_runtime::{RunError, open_store};
use tidegate_table::dead_letter::{self, pending};
use tidegate_table::files::layout::DataPath;
use tidegate_table::files::system::source_name;
use tidegate_table::ledger::{LedgerSettings, LedgerState, PartitionState, SideFile};
use tidegate_table::log::CommitLog;
use tidegate_types::{
    Counters, DedupKey, Guarantee, Incarnation, KeyPrecision, Ledger, Nonce, PartitionId, Reason,
    Span,
};

pub use bulk::verify_bulk;
pub use report::{Finding, VerifyReport, VerifyState};

use contents::Contents;
use history::History;
use repairs::RepairCheck;
use sequences::SequenceSet;

/// Everything that a verification of one incarnation looks at.
struct Scope<'a> {
    config: &'a PipelineConfig,
    incarnation: Incarnation,
    /// `_tg_src` of its rows.
    source: String,
    state: LedgerState,
    rows: &'a Contents,
    dead: &'a Contents,
    /// Dead-letter files that the main table names and the dead-letter table lacks (P4).
    waiting: BTreeMap<Nonce, Vec<PartitionId>>,
    history: History,
}

impl Scope<'_> {
    /// Counted dead letters of a partition that do not show yet.
    fn hidden(&self, partition: PartitionId) -> u64 {
        let pending = self.waiting.values().any(|partitions| partitions.contains(&partition));
        let counted = self.state.partition(partition).counters.dead;
        let shown = self.dead.of(&self.source, partition).len();
        if pending { counted.saturating_sub(shown) } else { 0 }
    }
}

/// Verifies the pipeline's table; with `with_source` also against what the stream still holds.
///
/// # Errors
///
/// When the table or, if asked for, the stream cannot be read. What is wrong with the table is not an
/// error but a finding.
pub async fn verify(
    config: &PipelineConfig,
    secrets_dir: Option<PathBuf>,
    with_source: bool,
) -> Result<VerifyReport, RunError> {
    let secrets = Secrets::new(secrets_dir);
    let store = open_store(&config.sink, &secrets)?;
    let log = CommitLog::open(&store);
    let Some(snapshot) = log.load().await? else {
        return Ok(VerifyReport::without_a_table(&config.sink.url));
    };
    let mut report = VerifyReport::new(snapshot.version());
    let files = log.live_files(&snapshot).await?;
    report.files = files.len() as u64;
    // WorkQueue and Interest streams deliver again what was committed and not acknowledged; which kind the
    // stream was, only the stream can tell.
    let redelivery = config.guarantee == Guarantee::AtLeastOnce;
    let with_ids = config.dedup.as_ref().is_some_and(|d| matches!(d.key, DedupKey::Header(_)));
    let rows = Contents::read(&store.data, &files, with_ids, redelivery, &mut report).await?;
    report.checked(format!(
        "{} files: there, whole, of the size and row count in the log",
        files.len()
    ));

    let dead_store = store.below(dead_letter::FOLDER);
    let dead_log = CommitLog::open(&dead_store);
    let dead_snapshot = dead_log.load().await?;
    let dead = match &dead_snapshot {
        Some(snapshot) => {
            let files = dead_log.live_files(snapshot).await?;
            Contents::read(&dead_store.data, &files, false, redelivery, &mut report).await?
        }
        None => Contents::default(),
    };

    let mut entries = log.history(0).await?;
    entries.retain(|entry| entry.version <= snapshot.version());
    let any = Incarnation::derive(&config.source.stream, "", 0);
    let state = LedgerState::read(snapshot.txns(), &config.ledger, any)?;
    if state.incarnations.is_empty() {
        let what = format!("ledger {} has no positions in this table", config.ledger);
        report.not_provable("ledger", what);
    }
    for incarnation in state.incarnations.keys().copied() {
        let state = LedgerState::read(snapshot.txns(), &config.ledger, incarnation)?;
        let history =
            history::walk(&entries, &config.ledger, incarnation, redelivery, &mut report)?;
        let source = source_name(&config.ledger, incarnation);
        let dead_state = match &dead_snapshot {
            Some(snapshot) => LedgerState::read(snapshot.txns(), &config.ledger, incarnation)?,
            None => LedgerState::default(),
        };
        let waiting = pending(&state, &dead_state);
        check_waiting(&dead_store.data, &config.ledger, &waiting, &mut report).await?;
        let (rows, dead) = (&rows, &dead);
        let scope = Scope { config, incarnation, source, state, rows, dead, waiting, history };
        check_incarnation(&scope, &mut report);
        if with_source {
            source::recount(&scope, &secrets, store.data.as_ref(), &mut report).await?;
        }
    }
    if let Some(nonce) = state.keys {
        match LedgerSettings::read(store.data.as_ref(), &config.ledger, nonce).await {
            Ok(settings) => check_ids(config, settings.narrowest_window, &rows, &mut report),
            Err(error) => report.damaged("ledger", format!("no worker can go on: {error}")),
        }
    }
    let repairs =
        RepairCheck { config, store: &store.data, snapshot: &snapshot, files: &files, rows: &rows };
    repairs.check(&state, &mut report).await?;
    report.rows = rows.rows_of(config.ledger.as_str());
    Ok(report)
}

/// The files that the next worker will commit must be there.
async fn check_waiting(
    store: &Arc<dyn ObjectStore>,
    ledger: &Ledger,
    waiting: &BTreeMap<Nonce, Vec<PartitionId>>,
    report: &mut VerifyReport,
) -> Result<(), RunError> {
    for nonce in waiting.keys() {
        let file = DataPath::dead_letters(ledger, *nonce);
        match store.head(file.object()).await {
            Ok(_) => {}
            Err(object_store::Error::NotFound { .. }) => {
                report.damaged("dead letters", format!("{} is missing", file.in_log()));
            }
            Err(source) => {
                let what = format!("{} cannot be looked at", file.in_log());
                return Err(RunError::transient(Reason::SinkUnreachable, what).because(source));
            }
        }
    }
    Ok(())
}

fn check_incarnation(scope: &Scope<'_>, report: &mut VerifyReport) {
    let mut sum = Counters::default();
    for (partition, state) in &scope.state.partitions {
        sum += state.counters;
        report.repaired += state.superseded;
        check_partition(scope, *partition, state, report);
    }
    report.read += sum.read;
    report.duplicates += sum.duplicate;
    report.filtered += sum.filtered;
    report.checked(format!(
        "{} partitions of {}: rows and dead letters against the counters, identities distinct",
        scope.state.partitions.len(),
        scope.source
    ));
    check_apart(scope, report);
    check_density(scope, sum.read, report);
    let waiting = &scope.waiting;
    let shown: u64 = (scope.state.partitions.keys())
        .map(|partition| scope.dead.of(&scope.source, *partition).len())
        .sum();
    // Dead letters that became visible after the main table was read are beyond its counters.
    if waiting.is_empty() && shown < sum.dead {
        let detail = format!("{shown} dead letters are there, the counters say {}", sum.dead);
        report.damaged("dead letters", detail);
    }
    // A worker that went on meanwhile may have made newer ones visible.
    if !waiting.is_empty() && shown < sum.dead {
        let detail = format!(
            "{} dead-letter commits are pending; the next worker makes them",
            waiting.len()
        );
        report.not_provable("dead letters", detail);
    }
}

fn check_partition(
    scope: &Scope<'_>,
    partition: PartitionId,
    state: &PartitionState,
    report: &mut VerifyReport,
) {
    let (counters, floor) = (&state.counters, state.floor.unwrap_or_default());
    if !counters.conserved() {
        let detail = format!(
            "partition {partition}: {} read, but {} rows + {} dead + {} duplicates + {} filtered",
            counters.read, counters.rows, counters.dead, counters.duplicate, counters.filtered
        );
        report.damaged("conservation", detail);
    }
    let rows = scope.rows.of(&scope.source, partition);
    let expected = counters.rows.saturating_sub(state.removed + state.superseded);
    let again = scope.rows.again(&scope.source, partition);
    if again > 0 {
        let detail = format!("partition {partition} holds {again} rows that were delivered again");
        report.not_provable("identity", detail);
    }
    if rows.len() + again != expected {
        let detail = format!(
            "partition {partition} holds {} distinct rows, the counters say {expected}",
            rows.len()
        );
        if scope.history.foreign_edits {
            report.not_provable("rows", detail);
        } else {
            report.damaged("rows", detail);
        }
    }
    let dead = scope.dead.of(&scope.source, partition);
    report.dead += dead.len().min(counters.dead);
    if let Some(beyond) = rows.max().filter(|highest| *highest > floor.0) {
        let detail = format!("partition {partition} holds a row at {beyond}, its floor is {floor}");
        report.damaged("floors", detail);
    }
}

/// A message is of one partition, and there either a row or a dead letter.
fn check_apart(scope: &Scope<'_>, report: &mut VerifyReport) {
    let (mut all, mut twice) = (SequenceSet::default(), 0);
    for partition in scope.state.partitions.keys() {
        for contents in [scope.rows, scope.dead] {
            twice += all.merge(&contents.of(&scope.source, *partition));
        }
    }
    if twice == 0 {
        return;
    }
    let detail =
        format!("{twice} messages stand in two partitions, or both as row and as dead letter");
    // What is delivered again may be judged again, by another release.
    match scope.config.guarantee {
        Guarantee::AtLeastOnce => report.not_provable("identity", detail),
        _ => report.damaged("identity", detail),
    }
}

/// Stream sequences are dense, so where every partition stands at one floor the records are as many as
/// the sequences since the start (S3).
fn check_density(scope: &Scope<'_>, read: u64, report: &mut VerifyReport) {
    let floors: Vec<u64> =
        scope.state.partitions.values().filter_map(|p| p.floor).map(|f| f.0).collect();
    let initial: Vec<u64> = scope.history.initial.values().map(|f| f.0).collect();
    let all = scope.config.source.partitioning.count() as usize;
    let equal = |values: &[u64]| values.len() == all && values.windows(2).all(|w| w[0] == w[1]);
    if !equal(&floors) || !equal(&initial) {
        return;
    }
    let sequences = floors[0].saturating_sub(initial[0]);
    if sequences == read {
        report.checked(format!(
            "{sequences} sequences up to the common floor {}, each counted once",
            floors[0]
        ));
    } else {
        let detail = format!(
            "{read} records are counted over {sequences} sequences from {} to {}",
            initial[0] + 1,
            floors[0]
        );
        let exact = scope.config.guarantee != Guarantee::AtLeastOnce;
        match scope.config.source.on_gap {
            OnGap::Halt if exact => report.damaged("floors", detail),
            // A gap that the user chose to go on behind looks the same, and redelivery counts twice.
            OnGap::Halt | OnGap::RecordAndContinue => report.not_provable("floors", detail),
        }
    }
}

fn check_ids(
    config: &PipelineConfig,
    narrowest: Option<Span>,
    rows: &Contents,
    report: &mut VerifyReport,
) {
    let Some(dedup) = config.dedup.as_ref().filter(|d| matches!(d.key, DedupKey::Header(_))) else {
        return;
    };
    if !rows.ids_complete {
        report.not_provable("ids", "there are more ids than are compared");
        return;
    }
    // A window that was widened says nothing about the rows before.
    let window = narrowest.map_or(dedup.window, |narrowest| narrowest.min(dedup.window));
    let doubled = rows.doubles_within(window.as_micros());
    if doubled > 0 && dedup.keys == KeyPrecision::Exact {
        let detail = format!("{doubled} rows have the id of a row less than {window} before them");
        report.damaged("ids", detail);
    }
    report.ids_in_two_partitions = rows.ids_in_two_partitions();
    report.checked(format!("no id twice within {window} in a partition"));
}

/// The filters of the partitions, for the recount.
fn filters(config: &PipelineConfig) -> BTreeMap<PartitionId, Option<String>> {
    crate::source_setup::filters(&config.source)
}
