//! A bulk pipeline kept to its schedule: what the log says is due is run, then the next tick is waited for.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use tidegate_config::{Trigger, late_files_in_words};
use tidegate_runtime::{RunError, in_words};
use tidegate_transfer::decide::DueRuns;
use tidegate_transfer::{DueQuery, MOST_LOOKED_AT_FOR_LATE_FILES, can_be_stale, due_runs, recount};
use tidegate_types::DataInterval;
use tokio_util::sync::CancellationToken;

use crate::bulk::waves::{Failed, Wanted, Wave};
use crate::documents::LoadedBulk;
use crate::failure::{Failure, passes_by_itself, run_failed};
use crate::progress::Progress;
use crate::run_policy::trigger_without_schedule;

/// Intervals asked for at a time; the log is asked again behind them.
const AT_A_TIME: usize = 64;
/// A clock that is set, or a machine that slept, is noticed so soon.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// How long after the log could not be read it is asked again.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// Whether runs go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// What is due now, and no more.
    Once,
    /// The schedule, until told to stop.
    Forever,
}

/// Keeps one pipeline.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) pipeline: LoadedBulk,
    pub(crate) secrets_dir: Option<PathBuf>,
    pub(crate) pace: Pace,
    pub(crate) progress: Progress,
}

/// Which intervals are not tried again for now.
#[derive(Debug, Default)]
struct Behind {
    /// Until the next tick: done again, or failed in a way that may pass.
    this_tick: BTreeSet<DataInterval>,
    /// For as long as this process lives: a person has to change something.
    for_good: BTreeSet<DataInterval>,
}

impl Keeper {
    /// Runs the pipeline to its end, or until told to stop; failures of single runs are in the wave.
    pub(crate) async fn keep(self, stop: CancellationToken) -> (Wave, Result<(), Failure>) {
        let mut wave = Wave::new(&self.pipeline, self.secrets_dir.clone(), self.progress.clone());
        let config = &self.pipeline.config;
        let outcome = match &config.schedule {
            None if config.repairs.is_some() => self.tell_repairs(),
            None => self.run_once(&mut wave, &stop).await,
            Some(_) => self.follow_schedule(&mut wave, &stop).await,
        };
        (wave, outcome)
    }

    async fn run_once(&self, wave: &mut Wave, stop: &CancellationToken) -> Result<(), Failure> {
        let trigger = trigger_without_schedule(self.pipeline.config.write_mode);
        wave.roll(vec![Wanted { interval: None, trigger, rerun: false }], stop).await?;
        Ok(())
    }

    /// Somebody has to say which interval.
    fn tell_repairs(&self) -> Result<(), Failure> {
        let name = &self.pipeline.config.name;
        let line = format!("{name}: repairs are made when asked for, with `tidegate backfill`");
        self.progress.say(line)?;
        Ok(())
    }

    async fn follow_schedule(
        &self,
        wave: &mut Wave,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let began = Timestamp::now();
        let mut behind = Behind::default();
        let (mut told_waiting, mut late) = (None, BTreeSet::new());
        while !stop.is_cancelled() {
            let Some(due) = self.ask_log(began, &behind, stop).await? else { break };
            let wanted = behind.sift(&due);
            if !wanted.is_empty() {
                wave.check_source()?;
                behind.tried(&wanted);
                let failed = wave.roll(wanted, stop).await?;
                behind.failed(&failed);
                continue;
            }
            self.tell_late_files(&mut late, stop).await?;
            if let (Pace::Forever, Some(next)) = (self.pace, due.next) {
                self.tell_waiting(&mut told_waiting, next);
                sleep_until(next, stop).await;
                behind.next_tick();
            } else {
                self.tell_nothing_due(wave, due.next)?;
                break;
            }
        }
        Ok(())
    }

    /// What the log says is due; none when told to stop meanwhile.
    async fn ask_log(
        &self,
        began: Timestamp,
        behind: &Behind,
        stop: &CancellationToken,
    ) -> Result<Option<DueRuns>, Failure> {
        loop {
            let query = self.query(began, behind.len());
            let now = Timestamp::now();
            let asked = due_runs(&self.pipeline.config, self.secrets_dir.clone(), &query, now);
            let Some(answer) = stop.run_until_cancelled(asked).await else { return Ok(None) };
            match answer {
                Ok(due) => return Ok(Some(due)),
                Err(error) if passes_by_itself(&error) && self.pace == Pace::Forever => {
                    self.tell_unreadable(&error);
                }
                Err(error) => return Err(run_failed(error)),
            }
            stop.run_until_cancelled(tokio::time::sleep(ASK_AGAIN)).await;
        }
    }

    fn query(&self, began: Timestamp, behind: usize) -> DueQuery {
        // Those that are not tried again now must not hide the others.
        self.pipeline.policy.query(began, AT_A_TIME.saturating_add(behind))
    }

    /// Files that came after their interval was loaded are loaded by nobody until somebody asks (B8). Told
    /// once; `told` are those that were.
    async fn tell_late_files(
        &self,
        told: &mut BTreeSet<DataInterval>,
        stop: &CancellationToken,
    ) -> Result<(), Failure> {
        let config = &self.pipeline.config;
        if !can_be_stale(config) {
            return Ok(());
        }
        let asked = recount(config, self.secrets_dir.clone(), MOST_LOOKED_AT_FOR_LATE_FILES);
        // Best effort: the runs themselves tell when log or source cannot be read.
        let Some(Ok(recount)) = stop.run_until_cancelled(asked).await else { return Ok(()) };
        let late: Vec<_> = recount.stale().flatten().collect();
        let news: Vec<_> = late.iter().filter(|one| !told.contains(one)).copied().collect();
        *told = late.into_iter().collect();
        if !news.is_empty() {
            let what = late_files_in_words(&news, config.write_mode);
            self.progress.complain(format!("{}: {what}", config.name))?;
        }
        Ok(())
    }

    fn tell_waiting(&self, told: &mut Option<Timestamp>, next: Timestamp) {
        if told.replace(next) != Some(next) {
            let pipeline = &self.pipeline.config.name;
            tracing::info!(pipeline, next = %next, "everything that is due is done");
        }
    }

    fn tell_unreadable(&self, error: &RunError) {
        let (pipeline, reason) = (&self.pipeline.config.name, error.reason().as_str());
        let (why, seconds) = (in_words(error), ASK_AGAIN.as_secs());
        tracing::warn!(pipeline, reason, error = why, seconds, "the log is asked again");
    }

    fn tell_nothing_due(&self, wave: &Wave, next: Option<Timestamp>) -> Result<(), Failure> {
        if wave.tally.ended() == 0 {
            let name = &self.pipeline.config.name;
            let next = next.map(|next| format!("; the next run is due at {next}"));
            self.progress.say(format!("{name}: nothing is due{}", next.unwrap_or_default()))?;
        }
        Ok(())
    }
}

impl Behind {
    fn len(&self) -> usize {
        self.this_tick.len() + self.for_good.len()
    }

    /// The runs that are to be made now.
    fn sift(&self, due: &DueRuns) -> Vec<Wanted> {
        let held = |interval| self.this_tick.contains(interval) || self.for_good.contains(interval);
        let due = due.now.iter().filter(|due| !held(&due.interval));
        due.map(|due| Wanted {
            interval: Some(due.interval),
            // What was scheduled is never done twice; what is to be done again is filled in anew.
            trigger: if due.again { Trigger::Backfill } else { Trigger::Scheduled },
            rerun: due.again,
        })
        .collect()
    }

    fn tried(&mut self, wanted: &[Wanted]) {
        self.this_tick.extend(wanted.iter().filter_map(|wanted| wanted.interval));
    }

    fn failed(&mut self, failed: &[Failed]) {
        let for_good = failed.iter().filter(|failed| !failed.transient);
        self.for_good.extend(for_good.filter_map(|failed| failed.interval));
    }

    /// A new tick: what failed in a way that may pass is tried once more with it.
    fn next_tick(&mut self) {
        self.this_tick.clear();
    }
}

/// Sleeps until an instant of the clock, a little at a time: clocks are set and machines sleep.
async fn sleep_until(then: Timestamp, stop: &CancellationToken) {
    while !stop.is_cancelled() && Timestamp::now() < then {
        let left = Duration::try_from(then.duration_since(Timestamp::now())).unwrap_or_default();
        // A timer may be early, and then the clock would not have reached the instant.
        let sleep = tokio::time::sleep(left.min(LONGEST_SLEEP) + Duration::from_millis(1));
        let _ = stop.run_until_cancelled(sleep).await;
    }
}

#[cfg(test)]
mod tests {
    use tidegate_transfer::decide::DueRun;

    use super::*;
    use crate::bulk::fixtures::hour;

    fn due(runs: &[(i64, bool)]) -> DueRuns {
        let now = runs.iter().map(|&(n, again)| DueRun { interval: hour(n), again }).collect();
        DueRuns { now, next: None }
    }

    fn numbers(wanted: &[Wanted]) -> Vec<i64> {
        wanted.iter().filter_map(|one| one.interval).map(|i| i.start_second() / 3_600).collect()
    }

    #[test]
    fn what_is_done_again_is_a_backfill_and_the_rest_is_scheduled() {
        let wanted = Behind::default().sift(&due(&[(1, true), (2, false)]));
        let how: Vec<_> = wanted.iter().map(|one| (one.trigger, one.rerun)).collect();
        assert_eq!(how, [(Trigger::Backfill, true), (Trigger::Scheduled, false)]);
    }

    #[test]
    fn a_failed_interval_waits_for_the_next_tick_and_a_hopeless_one_for_a_person() {
        let mut behind = Behind::default();
        let wanted = behind.sift(&due(&[(1, true), (2, false), (3, false)]));
        behind.tried(&wanted);
        let failed = |n, transient| Failed { interval: Some(hour(n)), transient };
        behind.failed(&[failed(2, true), failed(3, false)]);
        let again = due(&[(1, true), (2, false), (3, false), (4, false)]);
        assert_eq!(numbers(&behind.sift(&again)), [4], "nothing is tried in a circle");
        behind.next_tick();
        assert_eq!(numbers(&behind.sift(&again)), [1, 2, 4]);
    }
}
