//! `tidegate backfill`: intervals of the past, after a look at what would be done.

use std::io::{BufRead, IsTerminal, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tidegate_config::{TransferConfig, Trigger};
use tidegate_schedule::MOST_FAILED_RUNS;
use tidegate_transfer::backfill_plan;
use tidegate_transfer::decide::{BackfillPlan, Reprocess};
use tidegate_types::DataInterval;
use tokio_util::sync::CancellationToken;

use crate::bulk::{Edge, Wanted, Wave, told};
use crate::documents::{LoadedBulk, PipelineArgs, notice};
use crate::failure::{Failure, code, run_failed, worse};
use crate::feasibility::Feasibility;
use crate::output::{complain, count, say};
use crate::progress::Progress;
use crate::signals::{Signals, Words};

/// A run commits everything at its end or nothing.
const WORDS: Words = Words {
    drain: "giving up the runs under way, done ones stay; a second signal leaves at once",
    leave: "leaving at once, the runs that are done stay",
};

/// Run the intervals of a stretch of time, after showing what would be done.
///
/// Which intervals are done stands in the table's log; each is replaced by one commit. The same call again
/// goes on where the first one was stopped. When 20 runs have failed no more are begun. Of a pipeline with
/// bulk.repairs the whole stretch is one repair of the streamed table, whose pipeline stands in one of the
/// files.
///
/// Exit codes: 0 nothing is left to do, 65 an interval was refused or failed for good, 75 another call may
/// do or an interval has not ended yet, 130 told to stop before the end, or not to begin.
#[derive(Debug, Args)]
pub(crate) struct BackfillArgs {
    #[command(flatten)]
    pipelines: PipelineArgs,
    /// The first instant, such as 2026-06-01T00:00:00Z, or a day, which begins at midnight in the
    /// schedule's time zone
    #[arg(long, value_name = "TIME")]
    from: Edge,
    /// The first instant that no longer belongs to it
    #[arg(long, value_name = "TIME")]
    to: Edge,
    /// Which intervals: Missing ones, Failed ones (whose last run was not done, also when one before was), or
    /// All, which does done ones again
    #[arg(long, value_enum, default_value_t = ReprocessArg::Missing)]
    reprocess: ReprocessArg,
    /// Show the plan and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask, on a terminal either
    #[arg(long)]
    yes: bool,
    /// Secrets and ConfigMaps as files: DIR/<name>/<key>
    #[arg(long, value_name = "DIR")]
    secrets_dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum ReprocessArg {
    Missing,
    Failed,
    All,
}

/// Shows the plan, asks, and carries it out.
pub(crate) async fn backfill(args: BackfillArgs, progress: Progress) -> Result<u8, Failure> {
    let signals = Signals::listen_saying(WORDS)?;
    let pipeline = args.pipelines.load_bulk()?;
    if let Some(notice) = notice([pipeline.ignored.as_slice()], None) {
        complain(notice)?;
    }
    Feasibility::of_bulk(&pipeline.config).enforce(&pipeline.config.name)?;
    let plan = plan(&args, &pipeline).await?;
    for line in told(&pipeline.config.name, &plan) {
        say(line)?;
    }
    if args.dry_run {
        return Ok(0);
    }
    if plan.runs().next().is_none() {
        return Ok(refused(&plan));
    }
    if !agreed(args.yes, &plan)? {
        say(format!("{}: nothing was begun", pipeline.config.name))?;
        return Ok(code::INTERRUPTED);
    }
    let wave = Wave::new(&pipeline, args.secrets_dir.clone(), progress);
    let work = carry_out(&pipeline.config, &plan, wave, signals.drain.clone());
    match signals.leave.run_until_cancelled(work).await {
        Some(ended) => Ok(worse(ended?, refused(&plan))),
        None => Ok(code::INTERRUPTED),
    }
}

/// The exit code of what was asked for and cannot be run: for good, or not before it has ended.
fn refused(plan: &BackfillPlan) -> u8 {
    if plan.refused(false) > 0 {
        code::PERMANENT
    } else if plan.refused(true) > 0 {
        code::RETRY
    } else {
        0
    }
}

async fn plan(args: &BackfillArgs, pipeline: &LoadedBulk) -> Result<BackfillPlan, Failure> {
    let config = &pipeline.config;
    let range = range(args, pipeline)?;
    let reprocess = Reprocess::from(args.reprocess);
    backfill_plan(config, args.secrets_dir.clone(), range, reprocess).await.map_err(run_failed)
}

/// The stretch of time, in the words of the schedule's zone. Repairs are of any stretch, in UTC.
fn range(args: &BackfillArgs, pipeline: &LoadedBulk) -> Result<DataInterval, Failure> {
    let config = &pipeline.config;
    let zone = match (&config.schedule, &config.repairs) {
        (Some(schedule), _) => schedule.time_zone.as_str(),
        (None, Some(_)) => "UTC",
        (None, None) => {
            let problem = format!("{} has no schedule, so there are no intervals", config.name);
            return Err(Failure::says(problem)
                .advising("run everything with `tidegate run`, or write spec.bulk.schedule"));
        }
    };
    let at = |edge: &Edge| edge.in_zone(zone).map_err(Failure::says);
    Ok(DataInterval::new(at(&args.from)?, at(&args.to)?)?)
}

impl From<ReprocessArg> for Reprocess {
    fn from(arg: ReprocessArg) -> Self {
        match arg {
            ReprocessArg::Missing => Self::Missing,
            ReprocessArg::Failed => Self::Failed,
            ReprocessArg::All => Self::All,
        }
    }
}

/// Whether the person at the terminal agrees; whoever calls from a script has.
fn agreed(yes: bool, plan: &BackfillPlan) -> Result<bool, Failure> {
    let stdin = std::io::stdin();
    if yes || !stdin.is_terminal() {
        return Ok(true);
    }
    let mut out = std::io::stderr();
    write!(out, "Run {}? [y/N] ", count(plan.runs().count() as u64, "interval", "intervals"))?;
    out.flush()?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(means_yes(&answer))
}

fn means_yes(answer: &str) -> bool {
    matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

async fn carry_out(
    config: &TransferConfig,
    plan: &BackfillPlan,
    wave: Wave,
    stop: CancellationToken,
) -> Result<u8, Failure> {
    let trigger = match config.repairs {
        Some(_) => Trigger::Repair,
        None => Trigger::Backfill,
    };
    let wanted =
        plan.runs().map(|run| Wanted { interval: Some(run.interval), trigger, rerun: run.again });
    let wanted: Vec<_> = wanted.collect();
    let all = wanted.len() as u64;
    let mut wave = wave.giving_up_after(MOST_FAILED_RUNS);
    wave.check_source()?;
    wave.roll(wanted, &stop).await?;
    if let Some(line) = wave.together() {
        say(line)?;
    }
    tell_not_begun(&config.name, all, &wave)?;
    let unfinished = all > wave.tally.ended();
    Ok(worse(wave.tally.exit(), cut_short(unfinished, stop.is_cancelled())))
}

fn tell_not_begun(name: &str, all: u64, wave: &Wave) -> Result<(), Failure> {
    let left = all.saturating_sub(wave.tally.begun());
    if left == 0 {
        return Ok(());
    }
    let intervals = count(left, "interval was", "intervals were");
    let why = if wave.gave_up() {
        let failed = count(wave.tally.failures(), "run", "runs");
        format!(": {failed} failed, mend the cause first")
    } else {
        String::new()
    };
    Ok(say(format!("{name}: {intervals} not begun{why}."))?)
}

/// The exit code where not all that was wanted has ended.
fn cut_short(unfinished: bool, stopped: bool) -> u8 {
    match (unfinished, stopped) {
        (false, _) => 0,
        (true, true) => code::INTERRUPTED,
        (true, false) => code::RETRY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_is_one() {
        for (answer, yes) in
            [("y\n", true), ("YES", true), (" y ", true), ("", false), ("n", false), ("yep", false)]
        {
            assert_eq!(means_yes(answer), yes, "{answer:?}");
        }
    }

    #[test]
    fn a_stop_matters_only_where_something_was_left() {
        for (unfinished, stopped, expected) in [
            (false, false, 0),
            (false, true, 0),
            (true, true, code::INTERRUPTED),
            (true, false, code::RETRY),
        ] {
            assert_eq!(cut_short(unfinished, stopped), expected, "{unfinished} {stopped}");
        }
    }

    #[test]
    fn the_exit_code_tells_what_was_refused_from_what_is_done() {
        use tidegate_transfer::decide::{Planned, Verdict};
        let of = |verdicts: &[Verdict]| {
            let hour = "2026-06-01T00:00:00Z/2026-06-01T01:00:00Z".parse().expect("an interval");
            let planned = |verdict: &Verdict| Planned {
                interval: hour,
                state: String::new(),
                verdict: verdict.clone(),
            };
            refused(&BackfillPlan { intervals: verdicts.iter().map(planned).collect() })
        };
        let skip = Verdict::Skip("done".into());
        let conflict = Verdict::Refuse { why: "overlaps".into(), later: false };
        let early = Verdict::Refuse { why: "not ended".into(), later: true };
        assert_eq!(of(&[skip.clone(), skip.clone()]), 0);
        assert_eq!(of(std::slice::from_ref(&conflict)), code::PERMANENT);
        assert_eq!(of(&[skip.clone(), conflict, early.clone()]), code::PERMANENT);
        assert_eq!(of(&[early.clone(), early.clone()]), code::RETRY);
        assert_eq!(of(&[skip, early]), code::RETRY, "the rest is asked for all the same");
    }
}
