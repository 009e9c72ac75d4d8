//! A thousand pipelines on a real Kubernetes API server with one operator, which is a process of its own.
//!
//! How long until all are ready, how much memory and how many requests it takes, that nothing at all is
//! written when nothing changes, and how long a successor takes to take over. `make bench-operator` runs
//! it; `PIPELINES` and `STEADY` (seconds) are parameters. Figures go to `target/bench/operator.json`.
#![allow(clippy::unwrap_used, reason = "a bench is a test")]

#[path = "../tests/cluster/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use kube::api::ListParams;
use serde_json::{Value, json};
use tidegate_api::IngestionPipeline;
use tidegate_testing::cluster::AuditRecord;
use tidegate_testing::{
    TidegateCommand, TidegateProcess, eventually, free_port, parameter, workspace,
};
use tokio::time::Instant;

use self::support::{ACCOUNT, Document, IMAGE, Stage, is_settled};

/// Pipelines that are applied at a time.
const APPLIERS: usize = 16;
/// How often the pipelines are looked at.
const LOOK: Duration = Duration::from_secs(3);
/// Longer than anything takes on a loaded machine.
const LIMIT: Duration = Duration::from_secs(1800);

/// Starts the runtime.
fn main() {
    // `cargo test --all-targets` runs benches too, as tests.
    if std::env::args().any(|argument| argument == "--bench") {
        let threads =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        threads.unwrap().block_on(bench());
    }
}

async fn bench() {
    let count = parameter("PIPELINES", 1000);
    let stage = Stage::of_stand_ins("bench").await;
    let applied = apply_all(&stage, count).await;
    let mut figures = json!({"pipelines": count, "apply_seconds": applied.as_secs_f64()});
    say(&figures);
    let operator = start(&stage, "first");
    measure_begin(&stage, &operator, &mut figures).await;
    measure_steadiness(&stage, &operator, &mut figures).await;
    measure_succession(&stage, operator, &mut figures).await;
    assert_eq!(ready(&stage).await, count);
    say(&figures);
    let folder = workspace().join("target/bench");
    fs::create_dir_all(&folder).unwrap();
    let text = serde_json::to_string_pretty(&figures).unwrap();
    fs::write(folder.join("operator.json"), text).unwrap();
    assert_eq!(figures["steady_writes"], 0, "something is written though nothing changes");
}

/// How long the API server takes to be told of all.
async fn apply_all(stage: &Stage, count: usize) -> Duration {
    let begun = Instant::now();
    let names: Vec<_> = (0..count).map(|number| format!("flow-{number:04}")).collect();
    stream::iter(&names)
        .for_each_concurrent(APPLIERS, async |name| {
            stage.apply(&Document::of_stand_ins(name)).await
        })
        .await;
    begun.elapsed()
}

/// From an operator that knows nothing to pipelines that are all ready.
async fn measure_begin(stage: &Stage, operator: &Operator, figures: &mut Value) {
    let count = figures["pipelines"].as_u64().and_then(|count| usize::try_from(count).ok());
    let count = count.unwrap();
    let started = Instant::now();
    let mut shown = Instant::now();
    let mut memory = 0;
    let all = eventually("all are ready", LIMIT, async || {
        // A list of everything costs the API server more than all that the operator asks for meanwhile.
        tokio::time::sleep(LOOK).await;
        memory = memory.max(operator.memory("VmRSS"));
        let ready = ready(stage).await;
        if shown.elapsed() > Duration::from_secs(10) {
            shown = Instant::now();
            say(&json!({"ready": ready, "after": started.elapsed().as_secs(), "memory": memory}));
        }
        ready == count
    })
    .await;
    all.unwrap_or_else(|error| panic!("{error}: {}", operator.process.output()));
    figures["reconciled_seconds"] = json!(started.elapsed().as_secs_f64());
    until_quiet(stage).await;
    figures["quiet_seconds"] = json!(started.elapsed().as_secs_f64());
    figures["memory_most_bytes"] = json!(operator.memory("VmHWM"));
    figures["memory_bytes"] = json!(operator.memory("VmRSS"));
    count_requests(&own(stage), count, figures);
}

fn count_requests(records: &[AuditRecord], pipelines: usize, figures: &mut Value) {
    figures["requests"] = json!(records.len());
    figures["requests_by_verb"] = by(records, |record| record.verb.clone());
    let writes: Vec<_> = records.iter().filter(|record| record.is_write()).cloned().collect();
    let number = |count: usize| f64::from(u32::try_from(count).unwrap());
    figures["writes"] = json!(writes.len());
    figures["writes_per_pipeline"] = json!(number(writes.len()) / number(pipelines));
    figures["writes_by_resource"] = by(&writes, |record| {
        let object = record.object_ref.clone().unwrap_or_default();
        format!("{} {}", object.resource, object.subresource).trim().to_owned()
    });
}

/// What it costs when nothing changes.
async fn measure_steadiness(stage: &Stage, operator: &Operator, figures: &mut Value) {
    let before = own(stage);
    let steady = Duration::from_secs(parameter("STEADY", 60));
    let burned = operator.processor_seconds();
    tokio::time::sleep(steady).await;
    let after = own(stage);
    figures["steady_seconds"] = json!(steady.as_secs());
    figures["steady_writes"] = json!(count_writes(&after) - count_writes(&before));
    figures["steady_requests"] = json!(after.len() - before.len());
    figures["steady_processor_share"] =
        json!((operator.processor_seconds() - burned) / steady.as_secs_f64());
    figures["steady_memory_bytes"] = json!(operator.memory("VmRSS"));
}

/// What a successor takes until it has seen everything.
async fn measure_succession(stage: &Stage, mut first: Operator, figures: &mut Value) {
    first.process.signal("TERM").await.unwrap();
    first.process.wait(Duration::from_secs(30)).await.unwrap();
    let before = own(stage);
    let restarted = Instant::now();
    let second = start(stage, "second");
    let up = eventually("the successor is ready", LIMIT, async || second.is_ready().await).await;
    up.unwrap();
    figures["restart_ready_seconds"] = json!(restarted.elapsed().as_secs_f64());
    until_quiet(stage).await;
    figures["restart_writes"] = json!(count_writes(&own(stage)) - count_writes(&before));
}

/// An operator as a process.
#[derive(Debug)]
struct Operator {
    process: TidegateProcess,
    listen: String,
}

fn start(stage: &Stage, identity: &str) -> Operator {
    let logs = stage.node.folder();
    let kubeconfig = logs.join(format!("{identity}.kubeconfig"));
    stage.access.write(&kubeconfig).unwrap();
    let listen = format!("127.0.0.1:{}", free_port().unwrap());
    let namespace = stage.namespace.name();
    let process = TidegateCommand::new("operator")
        .unwrap()
        .environment("KUBECONFIG", &kubeconfig.to_string_lossy())
        .argument(format!("--namespaces={namespace}"))
        .argument(format!("--own-namespace={namespace}"))
        .argument(format!("--identity={identity}"))
        .argument(format!("--image={IMAGE}"))
        .argument(format!("--listen={listen}"))
        .argument("--allow-local-tables")
        .spawn(identity, &logs)
        .unwrap();
    Operator { process, listen }
}

impl Operator {
    async fn is_ready(&self) -> bool {
        let answer = reqwest::get(format!("http://{}/readyz", self.listen)).await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// A line of the kernel's account, in bytes.
    fn memory(&self, line: &str) -> u64 {
        let path = format!("/proc/{}/status", self.process.process_id());
        let text = fs::read_to_string(path).unwrap_or_default();
        let found = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(':'));
        let amount = found.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        amount.unwrap_or(0) * 1024_u64
    }

    /// Time on the processors so far.
    fn processor_seconds(&self) -> f64 {
        let path = format!("/proc/{}/stat", self.process.process_id());
        let text = fs::read_to_string(path).unwrap_or_default();
        let fields: Vec<_> = text.rsplit(") ").next().unwrap_or("").split(' ').collect();
        let ticks =
            |index: usize| fields.get(index).and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
        // Linux counts in hundredths of a second.
        (ticks(11) + ticks(12)) / 100.0
    }
}

/// How many pipelines are ready with nothing under way.
async fn ready(stage: &Stage) -> usize {
    let list = stage.namespace.api::<IngestionPipeline>().list(&ListParams::default()).await;
    list.unwrap().items.iter().filter(|pipeline| is_settled(pipeline)).count()
}

/// Waits until nothing was written for ten seconds.
async fn until_quiet(stage: &Stage) {
    let mut before = None;
    let quiet = eventually("the operator is quiet", LIMIT, async || {
        tokio::time::sleep(Duration::from_secs(10)).await;
        let now = Some(count_writes(&own(stage)));
        std::mem::replace(&mut before, now) == now
    })
    .await;
    quiet.unwrap();
}

/// Everything that the operators asked for, but their Lease.
fn own(stage: &Stage) -> Vec<AuditRecord> {
    let user = stage.namespace.user(ACCOUNT);
    let mut records = stage.namespace.plane().audit().unwrap();
    records.retain(|record| {
        let lease = record.object_ref.as_ref().is_some_and(|object| object.resource == "leases");
        record.user.username == user && !lease
    });
    records
}

fn count_writes(records: &[AuditRecord]) -> usize {
    records.iter().filter(|record| record.is_write()).count()
}

fn by(records: &[AuditRecord], word: impl Fn(&AuditRecord) -> String) -> Value {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    records.iter().for_each(|record| *counts.entry(word(record)).or_default() += 1);
    json!(counts)
}

#[expect(clippy::print_stdout, reason = "figures are what it is run for")]
fn say(figures: &Value) {
    println!("{figures}");
}
