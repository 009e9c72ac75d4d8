//! One namespace in which a scenario is played again and again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tidegate_api::IngestionPipeline;
use tidegate_operator::OperatorOptions;
use tidegate_testing::Tap;
use tidegate_testing::cluster::{Asked, Moment};
use tokio::time::Instant;

use super::super::snapshot::{Inventory, Snapshot, differences};
use super::super::support::{InProcess, LONG, Stage, options};
use super::scenario::{PIPELINE, Scenario, Step, document};

/// How often the cluster is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// An operator that asks for nothing this long has done its work, in a run without any haste.
const QUIET: Duration = Duration::from_secs(3);
/// The same where the state is as it should be already, and only the last requests are waited for.
const SOON_QUIET: Duration = Duration::from_millis(400);

/// Where an operator dies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    number: usize,
    moment: Moment,
}

/// Points of one run: the operators that die there follow each other.
type Run = Vec<Point>;

/// What an undisturbed run of each step left, and the points that are still to be played.
#[derive(Debug)]
pub(crate) struct Points {
    steps: Vec<Expected>,
    wanted: usize,
    reached: AtomicUsize,
}

#[derive(Debug)]
struct Expected {
    snapshot: Snapshot,
    open: Mutex<VecDeque<Run>>,
}

impl Points {
    /// Plays the scenario undisturbed. Each request of each step gives two points. Those of the lists at
    /// the start share a run, because nothing was done before and the next operator finds the same.
    pub(crate) async fn of(chain: &mut Chain) -> Self {
        let mut steps = Vec::new();
        let mut wanted = 0;
        for step in chain.scenario.steps {
            let (snapshot, asked) = chain.undisturbed(*step).await;
            let lists = asked.iter().take_while(|asked| is_of_the_start(asked)).count();
            wanted += 2 * asked.len();
            let mut runs = VecDeque::from([(1..=lists).flat_map(both).collect()]);
            runs.extend((lists + 1..=asked.len()).flat_map(both).map(|point| vec![point]));
            steps.push(Expected { snapshot, open: Mutex::new(runs) });
        }
        Self { steps, wanted, reached: AtomicUsize::new(0) }
    }

    /// How many points were reached, and how many there were.
    pub(crate) fn reached(&self) -> (usize, usize) {
        (self.reached.load(Ordering::Relaxed), self.wanted)
    }

    fn are_done(&self) -> bool {
        self.steps.iter().all(|step| lock(&step.open).is_empty())
    }
}

fn both(number: usize) -> [Point; 2] {
    [Moment::Before, Moment::After].map(|moment| Point { number, moment })
}

/// The first look at everything of a kind; later lists are for one object.
fn is_of_the_start(asked: &Asked) -> bool {
    asked.verb == "list" && !asked.uri.contains("metadata.name")
}

fn lock(runs: &Mutex<VecDeque<Run>>) -> std::sync::MutexGuard<'_, VecDeque<Run>> {
    runs.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A scenario in a namespace of its own.
#[derive(Debug)]
pub(crate) struct Chain {
    scenario: &'static Scenario,
    stage: Stage,
}

impl Chain {
    pub(crate) async fn begin(scenario: &'static Scenario) -> Self {
        let stage = Stage::of_stand_ins(&format!("crash-{}", scenario.name)).await;
        let chain = Self { scenario, stage };
        if scenario.from_a_pipeline {
            chain.stage.apply(&document()).await;
            let operator = chain.operator(Tap::new()).await;
            chain.until_quiet(Step::Create, &operator).await;
        }
        chain
    }

    /// Plays points until none is left, and looks once more at the end for what came late.
    pub(crate) async fn run(self, points: &Points) {
        let mut last = None;
        while !points.are_done() {
            for (index, step) in self.scenario.steps.iter().enumerate() {
                let expected = &points.steps[index];
                let run = lock(&expected.open).pop_front().unwrap_or_default();
                let reached = self.play(*step, &run, &expected.snapshot).await;
                points.reached.fetch_add(reached, Ordering::Relaxed);
                last = Some(&expected.snapshot);
            }
        }
        if let Some(wanted) = last {
            let operator = self.operator(Tap::new()).await;
            let step = self.scenario.steps.last().unwrap();
            self.until_quiet(*step, &operator).await;
            let found = self.snapshot().await;
            let differences = differences(&found, wanted);
            assert!(differences.is_empty(), "{}: {differences:#?}", self.scenario.name);
        }
    }

    /// One step without a crash: what it left, and what was asked for.
    async fn undisturbed(&mut self, step: Step) -> (Snapshot, Vec<Asked>) {
        step.begin(&self.stage).await;
        let operator = self.operator(Tap::new()).await;
        self.until_quiet(step, &operator).await;
        (self.snapshot().await, operator.tap.counted())
    }

    /// One step; how many operators died in it.
    async fn play(&self, step: Step, run: &[Point], wanted: &Snapshot) -> usize {
        step.begin(&self.stage).await;
        let mut died = 0;
        for point in run {
            if !self.die(step, *point, wanted).await {
                return died;
            }
            died += 1;
        }
        let what = format!("{} {step:?} after {:?}", self.scenario.name, run.last());
        let fresh = self.operator(Tap::new()).await;
        self.until_as(step, wanted, &what).await;
        assert!(!fresh.has_ended(), "{what}: the operator ended");
        died
    }

    /// Runs an operator until it dies. False: it was done before it came to that point.
    async fn die(&self, step: Step, point: Point, wanted: &Snapshot) -> bool {
        let tap = Tap::silent_at(point.number, point.moment);
        let operator = self.operator(tap.clone()).await;
        let what = format!("{} {step:?} up to {point:?}", self.scenario.name);
        let done = async {
            self.until_as(step, wanted, &what).await;
            tap.quiet(SOON_QUIET).await;
        };
        tokio::select! {
            () = tap.reached() => true,
            () = done => {
                assert!(!operator.has_ended(), "{what}: the operator ended");
                tap.is_silent()
            }
        }
    }

    async fn operator(&self, tap: Tap) -> InProcess {
        let told =
            OperatorOptions { identity: "crash".to_owned(), ..options(&self.stage.namespace) };
        InProcess::start(told, &self.stage.access, tap).await.unwrap()
    }

    async fn snapshot(&self) -> Snapshot {
        Inventory::take(&self.stage.namespace).await.unwrap().snapshot(PIPELINE)
    }

    async fn pipeline(&self) -> Option<IngestionPipeline> {
        self.stage.namespace.api::<IngestionPipeline>().get_opt(PIPELINE).await.unwrap()
    }

    /// Waits until the step is over and nothing more is asked for.
    async fn until_quiet(&self, step: Step, operator: &InProcess) {
        self.stage
            .until(&format!("{} {step:?}", self.scenario.name), async || {
                step.is_over(self.pipeline().await.as_ref())
            })
            .await;
        operator.tap.quiet(QUIET).await;
        if step == Step::Delete {
            let gone = async || self.snapshot().await.is_empty();
            self.stage.until("everything is collected", gone).await;
        }
    }

    /// Waits until what is there is what should be there.
    async fn until_as(&self, step: Step, wanted: &Snapshot, what: &str) {
        let deadline = Instant::now() + LONG;
        loop {
            if step.is_over(self.pipeline().await.as_ref()) {
                let found = self.snapshot().await;
                let differences = differences(&found, wanted);
                if differences.is_empty() {
                    return;
                }
                assert!(Instant::now() < deadline, "{what}: {differences:#?}");
            }
            assert!(Instant::now() < deadline, "{what}: {:#?}", self.pipeline().await);
            tokio::time::sleep(LOOK).await;
        }
    }
}
