//! What is not the run's fault: a store of which every fifth call fails, a full disk, a source that dies
//! while it is read, two runs of one interval at once. All end with every row once, after retries.

use anyhow::{Context as _, Result, ensure};
use tidegate_testing::{Fault, FaultProxy, Matcher, Rule, S3Server, SmallDisk};

use crate::lake::{Lake, Mode, Place};
use crate::{HOURS, LONG, World, cycles};

const BUCKET: &str = "lake";

impl World {
    /// A run of `hour` to its end, whatever number of attempts that takes.
    async fn run_to_end(&mut self, hour: u32) -> Result<u32> {
        let run = self.run_name();
        let (attempts, report) = self.lake.attempts_to_end(hour, &run, LONG).await?;
        // What an attempt in doubt committed, the next one finds.
        let reason = report["reason"].as_str().unwrap_or_default();
        ensure!(["Ok", "AlreadyComplete"].contains(&reason), "{report}");
        self.committed(hour).await?;
        Ok(attempts)
    }

    async fn fill(&mut self) -> Result<()> {
        for hour in 0..HOURS {
            self.run_to_end(hour).await?;
        }
        self.judge().await
    }
}

fn every_fifth_call_fails(proxy: &FaultProxy) {
    for fault in [Fault::Status(503), Fault::Cut, Fault::StoreThenStatus(500), Fault::StoreThenCut]
    {
        proxy.add(Rule::new(Matcher::any(), fault).percent(5));
    }
}

async fn run_over_a_shaky_store(mode: Mode) -> Result<()> {
    let lake = Lake::new(mode)?;
    let s3 = S3Server::start(&lake.folder().join("s3"), BUCKET).await?;
    let proxy = FaultProxy::start(s3.address(), 11).await?;
    let endpoints = Some((proxy.endpoint(), s3.endpoint()));
    let mut world = World::over(lake.at(Place { url: s3.url("table"), endpoints })).await?;
    every_fifth_call_fails(&proxy);
    let mut attempts = 0;
    for number in 0..cycles().div_ceil(10) {
        let hour = world.hour();
        world.source.change(hour).await?;
        attempts += world.run_to_end(hour).await.with_context(|| format!("run {number}"))?;
    }
    let failed = proxy.events().iter().filter(|event| event.rule.is_some()).count();
    ensure!(failed > 10, "only {failed} calls failed in {attempts} attempts");
    world.judge().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres and an S3 server; run by make test"]
async fn crash_a_store_of_which_every_fifth_call_fails_costs_attempts_and_no_row() {
    for mode in [Mode::ReplaceInterval, Mode::Overwrite] {
        if let Err(error) = run_over_a_shaky_store(mode).await {
            panic!("{mode:?}: {error:#}");
        }
    }
}

async fn run_on_a_disk_that_fills(world: &mut World, disk: &SmallDisk) -> Result<()> {
    world.fill().await?;
    // Enough for the claim, and not for the rows.
    for left in [16_384, 12_288] {
        let (hour, run) = (world.hour(), world.run_name());
        world.source.change(hour).await?;
        disk.fill(left)?;
        let mut attempt = world.lake.attempt(hour, &run, None)?;
        let status = attempt.wait(LONG).await?;
        let output = attempt.output();
        ensure!(status.code() == Some(75), "{left} bytes left: {status}\n{output}");
        let report = world.lake.report(&run)?;
        ensure!(report["reason"] == "ResourceExhausted", "{left} bytes left: {report}");
        disk.free()?;
        // Nobody sees half of it.
        world.judge().await.with_context(|| format!("{left} bytes left"))?;
        let report = world.lake.attempt_to_end(hour, &run, LONG).await?;
        ensure!(report["reason"] == "Ok", "{report}");
        world.committed(hour).await?;
        world.judge().await.with_context(|| format!("after {left} bytes were left"))?;
    }
    commit_onto_a_full_disk(world, disk, Some("run.before_put"))
        .await
        .context("the run's commit")?;
    commit_onto_a_full_disk(world, disk, None).await.context("the claim")
}

/// A commit in doubt waits for room: the run's when everything else is written, else the claim.
async fn commit_onto_a_full_disk(
    world: &mut World,
    disk: &SmallDisk,
    at: Option<&str>,
) -> Result<()> {
    let (hour, run) = (world.hour(), world.run_name());
    world.source.change(hour).await?;
    let mut attempt = if let Some(step) = at {
        let mut attempt = world.lake.freeze(hour, &run, step)?;
        attempt.stopped(LONG).await?;
        disk.fill(0)?;
        attempt.signal("CONT").await?;
        attempt
    } else {
        disk.fill(0)?;
        world.lake.attempt(hour, &run, None)?
    };
    attempt.wait_for_output("No space left on device", LONG).await?;
    disk.free()?;
    let status = attempt.wait(LONG).await?;
    ensure!(status.success(), "{status}\n{}", attempt.output());
    world.committed(hour).await?;
    world.judge().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres; run by make test"]
async fn crash_a_full_disk_is_told_and_nothing_is_lost_once_it_is_freed() {
    let lake = Lake::new(Mode::ReplaceInterval).expect("a folder");
    let small = lake.folder().join("small");
    let Some(disk) = SmallDisk::mount(&small).expect("a folder") else {
        eprintln!("not tested: mounting a small file system needs root");
        return;
    };
    let url = lake.url_of("small/table");
    let lake = lake.at(Place { url, endpoints: None });
    let mut world = World::over(lake).await.expect("the server starts");
    if let Err(error) = run_on_a_disk_that_fills(&mut world, &disk).await {
        panic!("{error:#}");
    }
}

async fn lose_the_source(world: &mut World) -> Result<()> {
    world.fill().await?;
    for step in ["run.snapshot_opened", "run.planned", "run.chunk_read", "run.before_verify"] {
        let (hour, run) = (world.hour(), world.run_name());
        let mut attempt = world.lake.freeze(hour, &run, step)?;
        attempt.stopped(LONG).await?;
        world.source.kill_and_restart().await?;
        attempt.signal("CONT").await?;
        let status = attempt.wait(LONG).await?;
        ensure!(status.code() == Some(75), "lost at {step}: {status}\n{}", attempt.output());
        world.judge().await.with_context(|| format!("lost at {step}"))?;
        // What is read anew is of another moment, and all of it.
        world.source.change(hour).await?;
        let report = world.lake.attempt_to_end(hour, &run, LONG).await?;
        ensure!(report["reason"] == "Ok", "after it was lost at {step}: {report}");
        world.committed(hour).await?;
        world.judge().await.with_context(|| format!("after it was lost at {step}"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres; run by make test"]
async fn crash_a_source_that_dies_while_it_is_read_costs_the_attempt_and_no_row() {
    let mut world = World::start(Mode::ReplaceInterval).await.expect("the server starts");
    if let Err(error) = lose_the_source(&mut world).await {
        panic!("{error:#}");
    }
}

async fn race(world: &mut World) -> Result<()> {
    world.fill().await?;
    for round in 0..cycles().div_ceil(10) {
        let hour = world.hour();
        world.source.change(hour).await?;
        let (one, other) = (world.run_name(), world.run_name());
        let lake = &world.lake;
        let (first, second) = tokio::join!(
            lake.attempts_to_end(hour, &one, LONG),
            lake.attempts_to_end(hour, &other, LONG),
        );
        for (_, report) in [first?, second?] {
            let done = report["reason"] == "Ok" || report["reason"] == "AlreadyComplete";
            ensure!(done, "round {round}: {report}");
        }
        world.committed(hour).await?;
        world.judge().await.with_context(|| format!("round {round}"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres; run by make test"]
async fn crash_two_runs_of_one_interval_at_once_leave_its_rows_once() {
    for mode in [Mode::ReplaceInterval, Mode::Overwrite] {
        let mut world = World::start(mode).await.expect("the server starts");
        if let Err(error) = race(&mut world).await {
            panic!("{mode:?}: {error:#}");
        }
    }
}
