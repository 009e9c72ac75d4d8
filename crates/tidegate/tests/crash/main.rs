//! The crash suite: real workers on a real broker and a real store, killed, frozen and woken.
//!
//! Messages go on being published the whole time, with late copies and poison among them. After each
//! round engines that we did not write must find every published id exactly once and the poison exactly
//! in the dead letters, and `tidegate verify --source` must prove the same.
//!
//! `CYCLES` is the number of kills (100 by default; `make crash CYCLES=2000`), `SEED` repeats a run.
#![allow(clippy::unwrap_used, reason = "the lint's exception for tests leaves their helpers out")]

mod cuts;
mod judge;
mod life;
mod table_log;
mod tally;
mod traffic;
mod world;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tidegate_testing::{Random, parameter};

use crate::cuts::{Cut, Cuts};
use crate::judge::Promise;
use crate::life::{Ended, Life, MILESTONES};
use crate::tally::Tally;
use crate::world::{Store, World};

/// Kills between two looks at the table.
const ROUND: u32 = 60;
/// Kills of a run that does not say how many.
const CYCLES: u32 = 100;
/// A step that is not reached in so many lives is not reachable.
const ATTEMPTS: u32 = 12;
const LONG: Duration = Duration::from_secs(60);

fn cycles() -> u32 {
    parameter("CYCLES", CYCLES)
}

/// Runs a test in its own world, which is still there when the test panics: so its folder stays.
async fn in_a_world<F>(store: Store, test: F)
where
    F: AsyncFnOnce(&mut World, &mut Random) -> Result<()>,
{
    let mut random = Random::from_parameter();
    let mut world = World::start(store, &mut random).await.expect("servers start");
    if let Err(error) = test(&mut world, &mut random).await {
        panic!("{error:#}");
    }
    world.end().await.expect("the publisher never failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats-server; run by make test"]
async fn crash_a_worker_killed_at_every_step_and_moment_loses_and_doubles_nothing_on_a_local_table()
{
    let kills = cycles() * 3 / 5;
    in_a_world(Store::Local, async |world, random| kill_workers(world, kills, random).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats-server and an S3 server; run by make test"]
async fn crash_a_worker_killed_at_every_step_and_moment_loses_and_doubles_nothing_on_s3() {
    let kills = cycles() - cycles() * 3 / 5;
    in_a_world(Store::S3, async |world, random| kill_workers(world, kills, random).await).await;
}

/// Kills workers of one table until there were `kills`, each step at least once, and looks at the
/// table after each round.
async fn kill_workers(world: &mut World, kills: u32, random: &mut Random) -> Result<()> {
    let gaps = measure_a_life(world).await?;
    let mut cuts = Cuts::plan(kills, random);
    let mut tally = Tally::default();
    let mut in_round = 0;
    while let Some(cut) = cuts.next(world.log.version()) {
        let (name, moved) = kill_one(world, cut, &gaps, random).await?;
        tally.add(&name, moved);
        in_round += 1;
        if in_round == ROUND || cuts.is_empty() {
            in_round = 0;
            judge::judge(world, Promise::Exact).await?;
        }
    }
    // Last, because what was trimmed cannot be counted at the source again.
    world.trim();
    for step in ["trim.before", "trim.after"] {
        let (name, moved) = kill_one(world, Cut::Step(step), &gaps, random).await?;
        tally.add(&name, moved);
    }
    judge::judge(world, Promise::Trimmed).await?;
    tally.print(&format!("workers killed, table at {}, stretches {gaps:.0?}", world.url()));
    ensure!(tally.kills() >= kills, "{} kills are fewer than {kills}", tally.kills());
    tally.covers_a_whole_life()
}

/// Runs one life undisturbed and returns how long each stretch of it takes.
async fn measure_a_life(world: &mut World) -> Result<Vec<Duration>> {
    let mut life = world.live(|command| command)?;
    let mut gaps = Vec::new();
    for milestone in &MILESTONES[..MILESTONES.len() - 1] {
        let started = Instant::now();
        life.reach(milestone, LONG).await?;
        gaps.push(started.elapsed());
    }
    let started = Instant::now();
    life.signal("TERM").await?;
    ensure!(life.wait(LONG).await?.success(), "an undisturbed life failed\n{}", life.output());
    gaps.push(started.elapsed());
    Ok(gaps)
}

/// Carries out one cut; a step that a life happens to miss is tried in another. Its name, and whether the
/// floor moved.
async fn kill_one(
    world: &mut World,
    cut: Cut,
    gaps: &[Duration],
    random: &mut Random,
) -> Result<(String, bool)> {
    for missed in 0..ATTEMPTS {
        let before = world.log.refresh().await?.progress();
        let (mut life, died) = match cut {
            Cut::Step(step) => {
                let time = *random.pick(&cuts::times(step));
                let mut life = world.live(|command| command.die_at(step, time))?;
                let died = cuts::provoke(&mut life, world, step).await?;
                (life, died)
            }
            Cut::Moment(milestone) => {
                let mut life = world.live(|command| command)?;
                // The machine may have been busier then: each life that ended sooner halves the stretch.
                let stretch = gaps[milestone.min(gaps.len() - 1)] / 2_u32.pow(missed);
                let died = at_a_moment(&mut life, milestone, stretch, random).await?;
                (life, died)
            }
        };
        let moved = world.log.refresh().await?.progress() > before;
        if died {
            let name = match cut {
                Cut::Step(step) => step.to_owned(),
                Cut::Moment(_) => format!("random: {}", life.phase()),
            };
            return Ok((name, moved));
        }
        ensure!(life.exit_status()?.is_some(), "{cut:?}: the worker lives on");
    }
    anyhow::bail!("{cut:?} was not reached in {ATTEMPTS} lives")
}

/// Kills at a moment that is uniform in the stretch behind a milestone. False: it had ended by then.
async fn at_a_moment(
    life: &mut Life,
    milestone: usize,
    stretch: Duration,
    random: &mut Random,
) -> Result<bool> {
    if milestone == MILESTONES.len() {
        life.reach(MILESTONES[milestone - 2], LONG).await?;
        life.signal("TERM").await?;
    } else if milestone > 0 {
        life.reach(MILESTONES[milestone - 1], LONG).await?;
    }
    tokio::time::sleep(stretch.mul_f64(random.fraction())).await;
    if life.exit_status()?.is_some() {
        return Ok(false); // it drained faster this time
    }
    life.kill().await?;
    Ok(true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats-server; run by make test"]
async fn crash_i1_zombies_that_wake_after_a_successor_took_over_change_nothing_in_a_local_table() {
    let zombies = (cycles() / 6).max(16);
    in_a_world(Store::Local, async |world, random| wake_zombies(world, zombies, random).await)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats-server and an S3 server; run by make test"]
async fn crash_i1_zombies_that_wake_after_a_successor_took_over_change_nothing_on_s3() {
    let zombies = (cycles() / 12).max(8);
    in_a_world(Store::S3, async |world, random| wake_zombies(world, zombies, random).await).await;
}

async fn wake_zombies(world: &mut World, zombies: u32, random: &mut Random) -> Result<()> {
    let mut tally = Tally::default();
    for number in 0..zombies {
        let step = cuts::FREEZING[number as usize % cuts::FREEZING.len()];
        // The last one loses its partitions to a stranger who found it silent (P7), the others to a
        // restart under their own name, which needs no wait.
        let last = number + 1 == zombies;
        let successor = if last { Successor::Silence } else { Successor::Namesake };
        let woken = wake_one(world, step, successor, random)
            .await
            .with_context(|| format!("zombie {number}, frozen at {step}"))?;
        tally.add(&woken, true);
        if (number + 1) % ROUND == 0 || last {
            judge::judge(world, Promise::Exact).await?;
        }
    }
    tally.print(&format!("zombies woken, table at {}", world.url()));
    Ok(())
}

/// Who takes over from a frozen worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Successor {
    /// A restart under the same name: it claims at once.
    Namesake,
    /// Two workers; the second has another name and waits until its partitions have been silent.
    Silence,
}

/// What became of the zombie, in words.
async fn wake_one(
    world: &mut World,
    step: &str,
    successor: Successor,
    random: &mut Random,
) -> Result<String> {
    let time = *random.pick(&cuts::times(step));
    let mut zombie = world.live(|command| command.freeze_at(step, time))?;
    zombie.frozen(LONG).await?;
    let held = zombie.says("claimed");
    let before = world.log.refresh().await?.progress();
    let mut heir = world.live(|command| match successor {
        Successor::Namesake => command,
        Successor::Silence => command.argument("--workers").argument("2"),
    })?;
    heir.claims_all(LONG).await?;
    heir.reach("committed", LONG).await?;
    let ruled = world.log.refresh().await?.progress();
    ensure!(ruled > before, "the successor committed nothing");
    zombie.signal("CONT").await?;
    // Both live now; one of them has lost, and says so.
    let fenced = match zombie.fenced_or_claims_again(&mut heir, LONG).await? {
        Ended::Fenced => true,
        Ended::ClaimedAgain => {
            // Only a worker that had claimed nothing yet may do so: its name is the holder's.
            ensure!(!held, "a worker that lost its partitions took them back at once");
            false
        }
    };
    zombie.kill().await?;
    heir.kill().await?;
    Ok(format!("{step} {}", if fenced { "fenced" } else { "claimed anew" }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nats-server; run by make test"]
async fn crash_a_broker_killed_and_restarted_during_ingestion_loses_and_doubles_nothing() {
    let kills = (cycles() / 10).max(10);
    in_a_world(Store::Local, async |world, random| kill_brokers(world, kills, random).await).await;
}

/// Kills the broker under a live worker, every third time together with the worker.
async fn kill_brokers(world: &mut World, kills: u32, random: &mut Random) -> Result<()> {
    let mut tally = Tally::default();
    let mut life = world.live(|command| command)?;
    let mut longest = Duration::ZERO;
    for number in 0..kills {
        let before = world.log.refresh().await?.progress();
        world.moves_on_from(before, LONG).await.with_context(|| life.output())?;
        tokio::time::sleep(Duration::from_millis(400).mul_f64(random.fraction())).await;
        world.nats.kill().await?;
        let with_worker = number % 3 == 2;
        if with_worker {
            life.kill().await?;
        }
        let before = world.log.refresh().await?.progress();
        world.nats.restart().await?;
        if with_worker {
            life = world.live(|command| command)?;
        }
        let restarted = Instant::now();
        world.moves_on_from(before, LONG).await.with_context(|| life.output())?;
        longest = longest.max(restarted.elapsed());
        ensure!(
            life.exit_status()?.is_none(),
            "the worker did not outlive the broker\n{}",
            life.output()
        );
        tally.add(if with_worker { "broker and worker" } else { "broker" }, true);
    }
    life.signal("TERM").await?;
    ensure!(life.wait(LONG).await?.success(), "the drain failed\n{}", life.output());
    judge::judge(world, Promise::PoisonMayBeStoredTwice).await?;
    tally.print(&format!("brokers killed, longest way from a restart to a commit {longest:.1?}"));
    Ok(())
}
