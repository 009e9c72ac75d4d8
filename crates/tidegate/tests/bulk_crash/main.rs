//! The crash suite of bulk runs: the real binary over a real Postgres, killed at every step and at any
//! moment, frozen and woken behind its successor. The source changes between any two attempts, so that
//! rows of a wrong attempt show.
//!
//! After each death the next attempt of the run must end well, and engines that we did not write must
//! find exactly the rows of the attempt that committed, in full and once.
//!
//! `trouble.rs`: a store that fails, a disk that is full, a source that dies, two runs at once.
//!
//! `CYCLES` is the number of kills (100 by default), `SEED` repeats a run; troubles come a tenth as often.
#![allow(clippy::unwrap_used, reason = "the lint's exception for tests leaves their helpers out")]

mod lake;
mod source;
mod trouble;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tidegate_runtime::failpoint::RUN_STEPS;
use tidegate_testing::{Random, parameter};

use crate::lake::{Lake, Mode};
use crate::source::Source;

/// Kills of a run that does not say how many.
const CYCLES: u32 = 100;
/// Kills between two looks at the whole table by others.
const ROUND: u32 = 20;
const LONG: Duration = Duration::from_secs(120);
/// Hours that are loaded over and over.
const HOURS: u32 = 4;

/// Steps behind the commit: whoever dies there has committed.
fn has_committed(step: &str) -> bool {
    matches!(step, "run.after_put" | "run.before_dead_letters" | "run.after_dead_letters")
}

fn cycles() -> u32 {
    parameter("CYCLES", CYCLES)
}

/// What the table must hold: of each hour the rows of the attempt that committed last.
type Expected = BTreeMap<u32, Vec<(i64, i64)>>;

struct World {
    source: Source,
    lake: Lake,
    expected: Expected,
    random: Random,
    runs: u32,
}

impl World {
    async fn start(mode: Mode) -> Result<Self> {
        Self::over(Lake::new(mode)?).await
    }

    /// Over a table wherever it lies.
    async fn over(lake: Lake) -> Result<Self> {
        let source = Source::start(lake.folder(), HOURS).await?;
        lake.connect(&source)?;
        let random = Random::from_parameter();
        Ok(Self { source, lake, expected: Expected::new(), random, runs: 0 })
    }

    fn run_name(&mut self) -> String {
        self.runs += 1;
        format!("run-{}", self.runs)
    }

    fn hour(&mut self) -> u32 {
        u32::try_from(self.random.below(HOURS.into())).unwrap()
    }

    /// An attempt of `hour` committed what the source holds now.
    async fn committed(&mut self, hour: u32) -> Result<()> {
        if self.lake.mode() == Mode::Overwrite {
            self.expected.clear();
            for hour in 0..HOURS {
                self.expected.insert(hour, self.source.rows(hour).await?);
            }
        } else {
            let rows = self.source.rows(hour).await?;
            self.expected.insert(hour, rows);
        }
        Ok(())
    }

    /// One death and the attempt after it.
    async fn kill(&mut self, cut: Cut) -> Result<()> {
        let (hour, run) = (self.hour(), self.run_name());
        let attempt = match cut {
            Cut::Step(step, time) => {
                let mut attempt = self.lake.attempt(hour, &run, Some((step, time)))?;
                let status = attempt.wait(LONG).await?;
                ensure!(
                    status.code().is_none(),
                    "{step}:{time} was not reached\n{}",
                    attempt.output()
                );
                has_committed(step)
            }
            Cut::Moment(share) => {
                let before = self.lake.run_commits()?;
                let mut attempt = self.lake.attempt(hour, &run, None)?;
                tokio::time::sleep(self.lake.usual().mul_f64(share)).await;
                attempt.kill().await?;
                self.lake.run_commits()? > before
            }
        };
        if attempt {
            self.committed(hour).await?;
        }
        self.source.change(hour).await?;
        let report = self.lake.attempt_to_end(hour, &run, LONG).await?;
        let again = report["reason"] == "AlreadyComplete";
        ensure!(again == attempt, "died at {cut:?}, the next attempt said {report}");
        if !again {
            self.committed(hour).await?;
        }
        Ok(())
    }

    /// A frozen attempt wakes up behind its successor, and changes nothing.
    async fn wake(&mut self, step: &'static str) -> Result<()> {
        let (hour, run) = (self.hour(), self.run_name());
        let mut zombie = self.lake.freeze(hour, &run, step)?;
        zombie.stopped(LONG).await?;
        self.source.change(hour).await?;
        let report = self.lake.attempt_to_end(hour, &run, LONG).await?;
        ensure!(report["reason"] == "Ok", "{report}");
        self.committed(hour).await?;
        self.source.change(hour).await?;
        zombie.signal("CONT").await?;
        let status = zombie.wait(LONG).await?;
        ensure!(status.code() == Some(75), "woken at {step}: {status}\n{}", zombie.output());
        Ok(())
    }

    async fn judge(&self) -> Result<()> {
        let expected: Vec<_> = self.expected.values().flatten().copied().collect();
        self.lake.judge(expected).await
    }
}

/// One death.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// At the n-th time that a step is reached.
    Step(&'static str, u32),
    /// After this share of the time that an attempt usually takes.
    Moment(f64),
}

/// At least `kills`: two thirds at named steps, each as often, the others anywhere.
fn cuts(kills: u32, random: &mut Random) -> Vec<Cut> {
    let rounds = (kills * 2 / 3).div_ceil(RUN_STEPS.len() as u32).max(1);
    let mut cuts: Vec<_> = (0..rounds)
        .flat_map(|round| {
            RUN_STEPS.iter().map(move |step| {
                // Chunks are read one after the other and side by side.
                let time = if *step == "run.chunk_read" { 1 + round % 3 } else { 1 };
                Cut::Step(step, time)
            })
        })
        .collect();
    while (cuts.len() as u32) < kills {
        cuts.push(Cut::Moment(random.fraction()));
    }
    random.shuffle(&mut cuts);
    cuts
}

/// Runs in a world that is still there when the test panics, so that its folder stays.
async fn in_a_world(mode: Mode, kills: u32) {
    let mut world = World::start(mode).await.expect("the server starts");
    if let Err(error) = kill_runs(&mut world, kills).await {
        panic!("{error:#}");
    }
}

/// Kills attempts of one table until there were `kills`.
async fn kill_runs(world: &mut World, kills: u32) -> Result<()> {
    for hour in 0..HOURS {
        let run = world.run_name();
        world.lake.attempt_to_end(hour, &run, LONG).await?;
        world.committed(hour).await?;
    }
    world.judge().await?;
    let cuts = cuts(kills, &mut world.random);
    for (number, cut) in cuts.iter().enumerate() {
        world.kill(*cut).await.with_context(|| format!("kill {number}, {cut:?}"))?;
        if (number as u32 + 1).is_multiple_of(ROUND) {
            world.judge().await.with_context(|| format!("after kill {number}, {cut:?}"))?;
        }
    }
    for step in ["run.planned", "run.files_finished", "run.before_verify", "run.before_put"] {
        world.wake(step).await.with_context(|| format!("woken at {step}"))?;
    }
    world.judge().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres; run by make test"]
async fn crash_a_run_killed_at_every_step_and_moment_replaces_its_interval_once() {
    in_a_world(Mode::ReplaceInterval, cycles() * 7 / 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres; run by make test"]
async fn crash_a_run_killed_at_every_step_and_moment_overwrites_the_table_once() {
    in_a_world(Mode::Overwrite, cycles() - cycles() * 7 / 10).await;
}
