//! The operator dies before and after every write that it makes for the runs of a schedule.
//!
//! A pipeline has two ticks to make up for; the first attempt of the first run fails, and the history keeps
//! one run. An operator that is to die at a write takes it over, another one goes on. In the end each tick
//! was read once, by a run of its own and by no attempt too many, and when the pipeline is gone nothing of
//! it is left.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::json;
use tidegate_testing::cluster::{Asked, Moment};
use tidegate_testing::{Tap, parameter};

use super::figure::say;
use super::support::{Bulk as _, Document, Hours, InProcess, Stage, TestClock, options};

type Point = (usize, Moment);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a control plane; run by make test"]
async fn an_operator_that_dies_at_any_write_makes_each_tick_one_run_and_leaves_nothing() {
    let lanes: usize = parameter("LANES", 4);
    let hours = Hours::of(Timestamp::now());
    let first = Lane::begin(0, hours).await;
    let asked = first.play("undisturbed", None).await.asked;
    let writes = asked.iter().enumerate().filter(|(_, asked)| is_write(asked));
    let points: VecDeque<Point> = writes
        .flat_map(|(index, _)| [(index + 1, Moment::Before), (index + 1, Moment::After)])
        .collect();
    let wanted = points.len();
    assert!(wanted >= 30, "{asked:#?}");
    let points = Mutex::new(points);
    let others = join_all((1..lanes.max(1)).map(async |lane| Lane::begin(lane, hours).await)).await;
    let all = std::iter::once(first).chain(others);
    let died: usize = join_all(all.map(|lane| lane.play_all(&points))).await.into_iter().sum();
    say(format!("crash points of runs: {died} of {wanted}"));
    // Writes at the very end may fall away, when one status says what two said before.
    assert!(died * 10 >= wanted * 8, "{died} of {wanted} were reached");
}

/// What changes something of ours; Events only tell of it.
fn is_write(asked: &Asked) -> bool {
    !matches!(asked.verb, "list" | "get") && !asked.uri.contains("/events")
}

/// A namespace in which one pipeline follows the other.
struct Lane {
    stage: Stage,
    hours: Hours,
    number: usize,
}

/// What an operator did up to its end.
struct Played {
    asked: Vec<Asked>,
    died: bool,
}

impl Lane {
    async fn begin(number: usize, hours: Hours) -> Self {
        let stage = Stage::of_stand_ins(&format!("run-crash-{number}")).await;
        Self { stage, hours, number }
    }

    /// Plays points until none is left; how many operators died.
    async fn play_all(self, points: &Mutex<VecDeque<Point>>) -> usize {
        let mut died = 0;
        for play in 0.. {
            let next = points.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(point) = next else { break };
            let name = format!("p{}x{play}", self.number);
            died += usize::from(self.play(&name, Some(point)).await.died);
        }
        died
    }

    /// The life of a pipeline under an operator that dies, and another one.
    async fn play(&self, name: &str, point: Option<Point>) -> Played {
        let clock = TestClock::default();
        let runs = [-2, -1].map(|hour| self.hours.run(name, hour));
        let report = json!({
            "phase": "Failed", "reason": "SourceUnreachable", "message": "no answer",
            "generation": 1, "chunksDone": 0, "chunks": 4, "rowsRead": 0, "rowsCommitted": 0,
            "deadLetters": 0, "rowsReplaced": 0,
        });
        self.stage.node.end(&format!("{}-g1", runs[0]), 75, &report.to_string());
        let start = json!(self.hours.at(-2, 0).to_string());
        let document = Document::hourly(name)
            .set("bulk.schedule.startAt", start)
            .set("bulk.successfulRunsHistoryLimit", json!(1));
        self.stage.apply(&document).await;

        let tap = match point {
            None => Tap::new(),
            Some((number, moment)) => Tap::silent_at(number, moment),
        };
        let operator = self.operator(&clock, tap.clone()).await;
        tokio::select! {
            () = tap.reached() => {
                drop(operator);
                let fresh = self.operator(&clock, Tap::new()).await;
                self.until_over(name, &clock).await;
                assert!(!fresh.has_ended(), "{name} after {point:?}: the operator ended");
                self.check(name, &runs, point).await;
                self.remove(name).await;
            }
            () = self.until_over(name, &clock) => {
                assert!(!operator.has_ended(), "{name} up to {point:?}: the operator ended");
                self.check(name, &runs, point).await;
                drop(operator);
                let _fresh = self.operator(&clock, Tap::new()).await;
                self.remove(name).await;
            }
        }
        Played { asked: tap.counted(), died: tap.is_silent() }
    }

    async fn operator(&self, clock: &TestClock, tap: Tap) -> InProcess {
        let options = options(&self.stage.namespace);
        InProcess::start_by(clock.clock(), options, &self.stage.access, tap).await.unwrap()
    }

    /// Both ticks are done, the object of the older run has gone and what it had with it.
    async fn until_over(&self, name: &str, clock: &TestClock) {
        let through = self.hours.at(0, 0);
        let is_through = |it: &tidegate_api::ScheduleStatus| {
            it.active == 0 && it.complete_through.as_ref().map(|time| time.0) == Some(through)
        };
        self.stage.until_schedule(name, is_through).await;
        clock.advance(61);
        self.stage
            .until(&format!("{name}: one run and its Jobs are left"), async || {
                let runs = self.stage.runs().await;
                let [run] = &runs[..] else { return false };
                let owner = run.uid();
                let owned = |job: &Job| {
                    job.owner_references().iter().all(|it| Some(&it.uid) == owner.as_ref())
                };
                let jobs = self.jobs().await;
                !jobs.is_empty() && jobs.iter().all(owned)
            })
            .await;
    }

    /// Each tick was read once, by as many attempts as it needs.
    async fn check(&self, name: &str, runs: &[String; 2], point: Option<Point>) {
        let what = format!("{name}, died at {point:?}");
        let wanted = [-2, -1].map(|hour| self.hours.interval(hour));
        assert_eq!(self.stage.read(name), wanted, "{what}");
        let transfers = self.stage.node.transfers(name);
        let made: Vec<&str> = transfers.iter().map(|it| it.run.as_str()).collect();
        assert_eq!(transfers.len(), 2, "{what}: {made:?}");
        for run in self.stage.runs().await {
            let attempts = if run.name_any() == runs[0] { 2 } else { 1 };
            let status = run.status.unwrap();
            assert_eq!(status.attempt, Some(attempts), "{what}");
            assert_eq!(self.jobs().await.len(), usize::try_from(attempts).unwrap(), "{what}");
        }
    }

    async fn jobs(&self) -> Vec<Job> {
        self.stage.namespace.api::<Job>().list(&ListParams::default()).await.unwrap().items
    }

    /// The pipeline goes, and everything with it.
    async fn remove(&self, name: &str) {
        self.stage.namespace.kubectl(&["delete", "ipl", name, "--wait=false"]).await.unwrap();
        let pods = self.stage.namespace.api::<Pod>();
        self.stage
            .until(&format!("nothing of {name} is left"), async || {
                let pods = pods.list(&ListParams::default()).await.unwrap().items;
                pods.is_empty()
                    && self.jobs().await.is_empty()
                    && self.stage.runs().await.is_empty()
            })
            .await;
    }
}
