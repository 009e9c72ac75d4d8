//! What the log says about what is to be done.

use std::path::PathBuf;

use jiff::Timestamp;
use tidegate_config::TransferConfig;
use tidegate_runtime::secrets::Secrets;
use tidegate_runtime::{RunError, open_store};
use tidegate_schedule::{CatchUp, Grid};
use tidegate_table::ledger::Intervals;
use tidegate_table::log::{CommitLog, TableSnapshot};
use tidegate_types::{DataInterval, Reason};

use crate::decide::{
    BackfillPlan, ClaimDecision, ClaimFacts, DueRuns, DueRunsFacts, Reprocess, cursor_mark,
    decide_claim, decide_due, plan_backfill, plan_repair,
};
use crate::fit::check_ledger;
use crate::rewound::check_not_rewound;

/// Due runs that are compared with the log before they are made: what refuses one refuses the first ones.
const LOOKED_AT: usize = 100;

/// What is asked about a pipeline's schedule, beside its ticks.
#[derive(Debug, Clone, Copy)]
pub struct DueQuery {
    /// What happens to ticks that went by unseen.
    pub catch_up: CatchUp,
    /// No interval begins before it.
    pub start_at: Option<Timestamp>,
    /// When the pipeline was first there; none: nobody knows, and its log tells,
    /// or else the newest tick is its first.
    pub created: Option<Timestamp>,
    /// How long after its tick an interval is due, in seconds.
    pub delay_seconds: i64,
    /// Most runs to answer.
    pub limit: usize,
}

/// What the table's log holds of the pipeline's intervals; nothing when there is no table.
///
/// # Errors
///
/// When the store or the log cannot be read.
pub async fn intervals(
    config: &TransferConfig,
    secrets_dir: Option<PathBuf>,
) -> Result<Intervals, RunError> {
    Ok(table(config, secrets_dir).await?.map(|(.., known)| known).unwrap_or_default())
}

/// The same; refuses where the table is another ledger's, and where a rewind made the log's word untrue.
async fn true_intervals(
    config: &TransferConfig,
    secrets_dir: Option<PathBuf>,
) -> Result<Intervals, RunError> {
    let found = table(config, secrets_dir).await?;
    let Some((log, snapshot, known)) = found else { return Ok(Intervals::default()) };
    check_ledger(config, &snapshot)?;
    check_not_rewound(&log, &snapshot, config, &known).await?;
    Ok(known)
}

/// The table as it is now, and what it holds of the pipeline's intervals; none when there is no table.
async fn table(
    config: &TransferConfig,
    secrets_dir: Option<PathBuf>,
) -> Result<Option<(CommitLog, TableSnapshot, Intervals)>, RunError> {
    let store = open_store(&config.sink, &Secrets::new(secrets_dir))?;
    let log = CommitLog::open(&store);
    let Some(snapshot) = log.load().await? else { return Ok(None) };
    let known = Intervals::read(snapshot.txns(), &config.ledger)?;
    Ok(Some((log, snapshot, known)))
}

/// The runs that the pipeline's schedule owes at `now`; none without a schedule.
///
/// # Errors
///
/// When the schedule cannot be read, or the log, or the table was rewound.
pub async fn due_runs(
    config: &TransferConfig,
    secrets_dir: Option<PathBuf>,
    query: &DueQuery,
    now: Timestamp,
) -> Result<DueRuns, RunError> {
    let Some(grid) = grid(config)? else { return Ok(DueRuns::default()) };
    let known = true_intervals(config, secrets_dir).await?;
    let done: Vec<_> = known.held().collect();
    let begun: Vec<_> = known.iter().filter_map(|(key, _)| key.interval()).collect();
    Ok(decide_due(&DueRunsFacts {
        grid: &grid,
        catch_up: query.catch_up,
        start_at: query.start_at,
        created: query.created,
        delay_seconds: query.delay_seconds,
        rerun_last: config.incremental.as_ref().map_or(0, |incremental| incremental.rerun_last),
        done: &done,
        begun: &begun,
        now,
        limit: query.limit,
    }))
}

/// Those of the first due runs that the log refuses as it is now, and why: their bounds cut an interval that is
/// there, or mean something else than those of its neighbours.
///
/// # Errors
///
/// When the store or the log cannot be read.
pub async fn refused_runs(
    config: &TransferConfig,
    secrets_dir: Option<PathBuf>,
    due: &DueRuns,
) -> Result<Vec<(DataInterval, String)>, RunError> {
    let known = intervals(config, secrets_dir).await?;
    let refused = due.now.iter().take(LOOKED_AT).filter_map(|run| {
        let decided = decide_claim(&ClaimFacts {
            interval: Some(run.interval),
            write_mode: config.write_mode,
            again: run.again,
            of_its_time: false,
            cursor: cursor_mark(config),
            // No run has this mark.
            run: 0,
            log: &known,
        });
        match decided {
            ClaimDecision::Refuse { what, .. } => Some((run.interval, what)),
            ClaimDecision::Claim(_) | ClaimDecision::AlreadyComplete { .. } => None,
        }
    });
    Ok(refused.collect())
}

/// What a backfill of `range` would do to each of its intervals; of a pipeline that repairs, to all of it at
/// once.
///
/// # Errors
///
/// When there is no schedule that divides the range, the range does not lie on it, the table was
/// rewound, or the log cannot be read.
pub async fn backfill_plan(
    config: &TransferConfig,
    secrets_dir: Option<PathBuf>,
    range: DataInterval,
    reprocess: Reprocess,
) -> Result<BackfillPlan, RunError> {
    if config.repairs.is_some() {
        let known = intervals(config, secrets_dir).await?;
        return Ok(plan_repair(range, reprocess, &known, Timestamp::now()));
    }
    let Some(grid) = grid(config)? else {
        let what = format!(
            "{} has no bulk.schedule, whose ticks divide a range into intervals; a run without an \
             interval loads everything",
            config.name
        );
        return Err(RunError::permanent(Reason::InvalidConfiguration, what));
    };
    let known = match reprocess {
        Reprocess::All => intervals(config, secrets_dir).await?,
        Reprocess::Missing | Reprocess::Failed => true_intervals(config, secrets_dir).await?,
    };
    plan_backfill(&grid, range, reprocess, config.write_mode, &known, Timestamp::now())
        .map_err(|(reason, what)| RunError::permanent(reason, what))
}

/// The pipeline's ticks.
pub(crate) fn grid(config: &TransferConfig) -> Result<Option<Grid>, RunError> {
    let Some(schedule) = &config.schedule else { return Ok(None) };
    let grid = Grid::new(&schedule.cron, &schedule.time_zone).map_err(|source| {
        let what = "bulk.schedule cannot be used";
        RunError::permanent(Reason::InvalidConfiguration, what).because(source)
    })?;
    Ok(Some(grid))
}
