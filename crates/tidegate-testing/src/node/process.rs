//! A pod's container as a process.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::jiff::Timestamp;
use tokio::process::Command;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::expand::{PodPlace, environment, expand, relocate};
use super::probe::{EAGER, HttpProbe};
use super::run::{Order, PodRun};
use super::status::{ContainerState, Ended};
use crate::child::ManagedChild;

/// A real kubelet begins with ten seconds and ends with five minutes.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(8);
/// Whoever ran so long begins with the first pause again.
const LONG_LIFE: Duration = Duration::from_secs(10);
/// What Kubernetes keeps of a termination message.
const LONGEST_MESSAGE: usize = 4096;
/// What it keeps of a log in its stead.
const LONGEST_LOG: usize = 2048;

/// Starts the container, and again as the policy says, until the pod leaves or is finished.
pub(crate) async fn live(run: &mut PodRun) -> Result<()> {
    run.report().await;
    let mut pause = None;
    while wait_for_volumes(run).await? {
        let born = Instant::now();
        let ended = one_life(run).await?;
        if run.latest.is_leaving() || !run.restarts_after(ended.exit_code) {
            run.finish(ended).await;
            return Ok(());
        }
        if born.elapsed() > LONG_LIFE {
            pause = None;
        }
        run.view.restarts += 1;
        run.view.last = Some(ended);
        run.view.set_ready(false);
        if !back_off(run, &mut pause).await {
            return Ok(());
        }
    }
    Ok(())
}

/// The first time a container ends it is started at once. False: the pod leaves.
async fn back_off(run: &mut PodRun, pause: &mut Option<Duration>) -> bool {
    let Some(length) = *pause else {
        *pause = Some(FIRST_PAUSE);
        return !run.latest.is_leaving();
    };
    let message = format!("back-off {length:?} restarting failed container");
    run.view.state = ContainerState::Waiting { reason: "CrashLoopBackOff", message };
    run.report().await;
    *pause = Some((length * 2).min(LAST_PAUSE));
    tokio::select! {
        () = sleep(length) => true,
        () = run.latest.until_leaving() => false,
    }
}

/// False: the pod leaves before its volumes are there.
async fn wait_for_volumes(run: &mut PodRun) -> Result<bool> {
    loop {
        let objects = &run.shared.objects;
        if run.volumes.refresh(&run.pod, run.view.address, objects).context("lay out volumes")? {
            return Ok(!run.latest.is_leaving());
        }
        tokio::select! {
            changed = run.changes.changed() => changed.context("the node has ended")?,
            () = run.latest.until_leaving() => return Ok(false),
        }
    }
}

/// From the start of the process to its end.
async fn one_life(run: &mut PodRun) -> Result<Ended> {
    let message_file = run.folder.join("termination-log");
    fs::write(&message_file, "").context("make the termination log")?;
    let mut child = start(run, &message_file)?;
    let started = Timestamp::now();
    run.view.state = ContainerState::Running { since: started };
    run.report().await;
    let (status, out_of_memory) = follow(run, &mut child).await?;
    let exit_code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    let reason = match exit_code {
        _ if out_of_memory => "OOMKilled",
        0 => "Completed",
        _ => "Error",
    };
    let message = last_words(run, &message_file, exit_code, &child);
    Ok(Ended { exit_code, reason, message, started, finished: Timestamp::now() })
}

/// What an image from scratch offers, and the pod's own words.
fn start(run: &PodRun, message_file: &Path) -> Result<ManagedChild> {
    let root = run.folder.join("root");
    run.volumes.link(&run.container, &root).context("mount volumes")?;
    let mounts: Vec<String> = run
        .container
        .volume_mounts
        .iter()
        .flatten()
        .map(|mount| mount.mount_path.clone())
        .collect();
    let place = PodPlace { pod: &run.pod, address: run.view.address, objects: &run.shared.objects };
    let environment = environment(&run.container, place);
    let mut command = Command::new(&run.shared.binary);
    command.current_dir(&run.folder).env_clear();
    // Neither programs nor a folder for temporary files: who needs them fails here as in the image.
    command.env("PATH", "/nowhere").env("TMPDIR", "/nowhere");
    command.env("TIDEGATE_TERMINATION_LOG", message_file);
    for (name, value) in &environment {
        command.env(name, relocate(value, &mounts, &root));
    }
    command.envs(run.shared.extra_environment(&run.name()));
    for argument in run.container.args.iter().flatten() {
        command.arg(relocate(&expand(argument, &environment), &mounts, &root));
    }
    ManagedChild::spawn(command, &run.name(), &run.shared.folder)
}

/// Probes, refreshes volumes and obeys until the process has ended. The flag: memory ran out.
async fn follow(run: &mut PodRun, child: &mut ManagedChild) -> Result<(ExitStatus, bool)> {
    let mut probing = Probing::new(run);
    let mut out_of_memory = false;
    loop {
        tokio::select! {
            status = child.ended() => return Ok((status?, out_of_memory)),
            () = run.latest.until_leaving() => return Ok((end(run, child).await?, false)),
            ready = probing.next() => {
                if run.view.set_ready(ready) {
                    run.report().await;
                }
            }
            changed = run.changes.changed() => {
                changed.context("the node has ended")?;
                run.volumes.refresh(&run.pod, run.view.address, &run.shared.objects)?;
            }
            Some(order) = run.orders.recv() => out_of_memory |= obey(order, child).await,
        }
    }
}

/// Whether memory ran out.
async fn obey(order: Order, child: &mut ManagedChild) -> bool {
    match order {
        Order::Signal(signal, done) => {
            // Nobody waits for an answer whose test has ended.
            let _ = done.send(child.signal(&signal).await);
            false
        }
        Order::KillForMemory(done) => {
            let _ = done.send(child.signal("KILL").await);
            true
        }
    }
}

/// SIGTERM, then the grace, then SIGKILL.
async fn end(run: &mut PodRun, child: &mut ManagedChild) -> Result<ExitStatus> {
    run.view.set_ready(false);
    if child.exit_status()?.is_none() {
        let _ = child.signal("TERM").await;
    }
    let deadline = Instant::now() + run.latest.grace();
    loop {
        tokio::select! {
            status = child.ended() => return status,
            () = sleep_until(deadline) => break,
            // A second deletion may shorten the grace to nothing.
            changed = run.latest.changed() => {
                if !changed || run.latest.grace().is_zero() {
                    break;
                }
            }
        }
    }
    child.kill().await?;
    timeout(LAST_PAUSE, child.ended()).await.context("a killed process ends")?
}

/// The termination message; after a failure without one the end of the log, if the pod wants that.
fn last_words(run: &PodRun, file: &Path, exit_code: i32, child: &ManagedChild) -> String {
    let written = fs::read(file).unwrap_or_default();
    let written = &written[..written.len().min(LONGEST_MESSAGE)];
    let policy = run.container.termination_message_policy.as_deref();
    if !written.is_empty() || exit_code == 0 || policy != Some("FallbackToLogsOnError") {
        return String::from_utf8_lossy(written).into_owned();
    }
    let log = child.output();
    let beginning = log.len().saturating_sub(LONGEST_LOG);
    let beginning = (beginning..).find(|at| log.is_char_boundary(*at)).unwrap_or(0);
    log[beginning..].to_owned()
}

/// The startup probe until it passes, then the readiness probe.
#[derive(Debug)]
struct Probing {
    startup: Option<HttpProbe>,
    readiness: Option<HttpProbe>,
    due: Instant,
    ready: bool,
    refusals: u32,
}

impl Probing {
    fn new(run: &PodRun) -> Self {
        let of = |probe: &Option<_>| {
            let probe = probe.as_ref()?;
            HttpProbe::new(probe, &run.container, run.view.address)
        };
        Self {
            startup: of(&run.container.startup_probe),
            readiness: of(&run.container.readiness_probe),
            due: Instant::now(),
            ready: false,
            refusals: 0,
        }
    }

    /// The next answer. Dropped and called again it goes on where it was.
    async fn next(&mut self) -> bool {
        loop {
            sleep_until(self.due).await;
            self.due = Instant::now() + EAGER;
            if let Some(startup) = &self.startup {
                if startup.passes().await {
                    self.startup = None;
                }
                continue;
            }
            let Some(readiness) = &self.readiness else {
                self.due = Instant::now() + LONG_LIFE;
                return true;
            };
            let passes = readiness.passes().await;
            self.refusals = if passes { 0 } else { self.refusals + 1 };
            self.ready = passes || (self.ready && self.refusals < readiness.threshold);
            if self.ready {
                self.due = Instant::now() + readiness.period;
            }
            return self.ready;
        }
    }
}
