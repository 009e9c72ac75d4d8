//! What scenarios of bulk pipelines have in common: a clock, hours, runs.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use tidegate_api::{IngestionRun, RunPhase, ScheduleStatus};
use tidegate_operator::Clock;
use tidegate_testing::Tap;

use super::{InProcess, Stage, options};

/// A clock that tests put forward.
#[derive(Debug, Clone, Default)]
pub(crate) struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub(crate) fn clock(&self) -> Clock {
        let ahead = Arc::clone(&self.0);
        Clock::of(move || {
            let ahead = SignedDuration::from_secs(ahead.load(Ordering::Relaxed));
            Timestamp::now().checked_add(ahead).unwrap()
        })
    }

    /// It is so late, from now on.
    pub(crate) fn set(&self, now: Timestamp) {
        let ahead = now.duration_since(Timestamp::now()).as_secs();
        self.0.store(ahead, Ordering::Relaxed);
    }

    /// So many seconds go by at once.
    pub(crate) fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

/// The minute of an hour at which schedules of tests tick. It is half an hour away from when the tests
/// began, so that no tick comes while they count runs.
pub(crate) fn tick_minute() -> i64 {
    static MINUTE: OnceLock<i64> = OnceLock::new();
    *MINUTE.get_or_init(|| (Timestamp::now().as_second() / 60 + 30) % 60)
}

/// Hours from one tick of a test's schedules to the next, counted from the one that the test began in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hours(i64);

impl Hours {
    /// From the hour of this instant on.
    pub(crate) fn of(instant: Timestamp) -> Self {
        let shift = tick_minute() * 60;
        Self((instant.as_second() - shift).div_euclid(3600) * 3600 + shift)
    }

    /// The beginning of an hour and some minutes more.
    pub(crate) fn at(self, hour: i64, minute: i64) -> Timestamp {
        Timestamp::from_second(self.0 + hour * 3600 + minute * 60).unwrap()
    }

    /// `<start>/<end>` of an hour.
    pub(crate) fn interval(self, hour: i64) -> String {
        format!("{}/{}", self.at(hour, 0), self.at(hour + 1, 0))
    }

    /// The same of several, as a field of a run.
    pub(crate) fn stretch(self, start: i64, end: i64) -> Value {
        json!({"start": self.at(start, 0).to_string(), "end": self.at(end, 0).to_string()})
    }

    /// The name of the run of an hour.
    pub(crate) fn run(self, pipeline: &str, hour: i64) -> String {
        format!("{pipeline}-{}", self.at(hour + 1, 0).strftime("%Y%m%dt%H%M%Sz"))
    }
}

/// What is asked of runs.
pub(crate) trait Bulk {
    /// An operator in this process that follows schedules by another clock.
    async fn operator_by(&self, clock: &TestClock) -> InProcess;
    /// Makes a run.
    async fn ask(&self, name: &str, pipeline: &str, spec: &Value);
    /// All runs, by name.
    async fn runs(&self) -> Vec<IngestionRun>;
    /// One that is there.
    async fn run(&self, name: &str) -> IngestionRun;
    /// Waits until a run is in a phase.
    async fn until_phase(&self, name: &str, phase: RunPhase);
    /// Waits until `Ready` of a run is False for a reason.
    async fn until_reason(&self, name: &str, reason: &str);
    /// Waits until the schedule of a pipeline is as wanted.
    async fn until_schedule(&self, name: &str, wanted: impl Fn(&ScheduleStatus) -> bool);
    /// Deletes a run, and does not wait until it is gone.
    async fn delete_run(&self, name: &str);
    /// The intervals of which stand-ins read rows, sorted.
    fn read(&self, pipeline: &str) -> Vec<String>;
}

impl Bulk for Stage {
    async fn operator_by(&self, clock: &TestClock) -> InProcess {
        let options = options(&self.namespace);
        InProcess::start_by(clock.clock(), options, &self.access, Tap::new()).await.unwrap()
    }

    async fn ask(&self, name: &str, pipeline: &str, spec: &Value) {
        let mut run = json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "IngestionRun",
            "metadata": {"name": name}, "spec": {"pipelineRef": {"name": pipeline}},
        });
        for (field, value) in spec.as_object().unwrap() {
            run["spec"][field] = value.clone();
        }
        self.namespace.apply(&run).await.unwrap();
    }

    async fn runs(&self) -> Vec<IngestionRun> {
        let mut runs =
            self.namespace.api::<IngestionRun>().list(&ListParams::default()).await.unwrap().items;
        runs.sort_by_key(|run| run.name_any());
        runs
    }

    async fn run(&self, name: &str) -> IngestionRun {
        self.namespace.api::<IngestionRun>().get(name).await.unwrap()
    }

    async fn until_phase(&self, name: &str, phase: RunPhase) {
        let api = self.namespace.api::<IngestionRun>();
        self.until(&format!("run {name} is {phase:?}"), async || {
            let run = api.get_opt(name).await.unwrap();
            run.and_then(|run| run.status).and_then(|status| status.phase) == Some(phase)
        })
        .await;
    }

    async fn until_reason(&self, name: &str, reason: &str) {
        let api = self.namespace.api::<IngestionRun>();
        self.until(&format!("run {name} says {reason}"), async || {
            let run = api.get_opt(name).await.unwrap();
            run.as_ref().and_then(ready).is_some_and(|ready| ready.reason == reason)
        })
        .await;
    }

    async fn until_schedule(&self, name: &str, wanted: impl Fn(&ScheduleStatus) -> bool) {
        self.until(&format!("the schedule of {name}"), async || {
            let status = self.pipeline(name).await.status;
            status.and_then(|status| status.schedule).is_some_and(|schedule| wanted(&schedule))
        })
        .await;
    }

    async fn delete_run(&self, name: &str) {
        let api = self.namespace.api::<IngestionRun>();
        api.delete(name, &DeleteParams::default()).await.unwrap();
    }

    fn read(&self, pipeline: &str) -> Vec<String> {
        let transfers = self.node.transfers(pipeline).into_iter();
        let mut read: Vec<String> =
            transfers.filter(|it| it.read).filter_map(|it| it.interval).collect();
        read.sort();
        read
    }
}

/// The condition `Ready` of a run.
pub(crate) fn ready(run: &IngestionRun) -> Option<Condition> {
    let conditions = &run.status.as_ref()?.conditions;
    conditions.iter().find(|condition| condition.type_ == "Ready").cloned()
}
