//! Partitions and the workers that share them (P7, S11).

use serde_json::json;
use tidegate_testing::{TidegateProcess, eventually};

use crate::checks::{committed, holds, numbered};
use crate::support::{Bench, LONG, Pipeline};

fn partitioned(bench: &Bench, name: &str, partitions: u32) -> Pipeline {
    Pipeline::new(name, &bench.nats.url(), bench.scratch.path()).set(
        "source.jetStream.partitioning",
        json!({"type": "Subject", "partitions": partitions, "idSubjectStable": true}),
    )
}

impl Bench {
    /// Messages over many subjects; an id keeps its subject.
    async fn spread(&mut self, name: &str, from: u64, to: u64) {
        let messages: Vec<_> =
            (from..=to).map(|n| numbered(&format!("{name}.user{}", n % 97), n)).collect();
        self.broker.publish(&messages).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s11_subject_partitions_need_the_users_word_for_exactly_once() {
    let bench = Bench::start("word").await;
    let pipeline = partitioned(&bench, "word", 4)
        .set("source.jetStream.partitioning.idSubjectStable", serde_json::Value::Null);
    let refused = bench.catch_up(&pipeline).await.expect(65);
    refused.says("partitioning").says("idSubjectStable: true").says("AtLeastOnce");
    assert!(!pipeline.table.join("_delta_log").exists());
    bench.catch_up(&pipeline.set("guarantee", json!("AtLeastOnce"))).await.expect(0);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn eight_partitions_are_shared_by_two_workers_and_each_message_is_one_row() {
    let mut bench = Bench::start("eight").await;
    let pipeline = partitioned(&bench, "eight", 8);
    bench.create_stream(&pipeline).await;
    bench.spread("eight", 1, 800).await;
    let run = bench.run_command(&pipeline).argument("--workers").argument("2");
    bench.end(run.argument("--until-caught-up"), "two").await.expect(0);
    holds(&pipeline, &[(1, 800)]).await;
    // Copies, and what is new, by one worker that takes over all eight.
    bench.spread("eight", 701, 900).await;
    bench.catch_up(&pipeline).await.expect(0).says("100 duplicates dropped");
    holds(&pipeline, &[(1, 900)]).await;
    bench.verify(&pipeline).await.expect(0);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn p7_of_two_processes_on_one_pipeline_one_is_fenced_and_says_so() {
    let mut bench = Bench::start("fenced").await;
    let pipeline = partitioned(&bench, "fenced", 2).set("sink.flush.maxInterval", json!("500ms"));
    bench.create_stream(&pipeline).await;
    bench.spread("fenced", 1, 200).await;
    let mut first = bench.spawn_run(&pipeline, "first");
    committed(&pipeline, 200, &first).await;
    // Under the same name: it may be the restarted one, so that it need not wait.
    let mut second = bench.spawn_run(&pipeline, "second");
    second.wait_for_output("\"claimed\"", LONG).await.unwrap();
    // What the first one reads now is not its own any more.
    let mut sent = 200;
    let said = async || first.output().contains("\"Fenced\"");
    for _ in 0..20 {
        bench.spread("fenced", sent + 1, sent + 50).await;
        sent += 50;
        committed(&pipeline, i64::try_from(sent).unwrap(), &second).await;
        if said().await {
            break;
        }
    }
    eventually("the first one says that it is fenced", LONG, said).await.unwrap();
    assert!(first.exit_status().unwrap().is_none(), "it waits for its turn");
    bench.drain(&mut first).await;
    bench.drain(&mut second).await;
    holds(&pipeline, &[(1, sent)]).await;
    bench.verify(&pipeline).await.expect(0);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn p7_a_drain_gives_back_the_rest_when_some_was_lost_in_silence() {
    let mut bench = Bench::start("rest").await;
    let pipeline = Pipeline::new("rest", &bench.nats.url(), bench.scratch.path()).set(
        "source.jetStream.partitioning",
        json!({"type": "Declared", "partitions": 2, "subjectPattern": "rest.{partition}.>"}),
    );
    bench.create_stream(&pipeline).await;
    let mut first = bench.spawn_run(&pipeline, "first");
    bench.send("rest.0.a", 1, 1).await;
    committed(&pipeline, 1, &first).await;
    let elsewhere = bench.run_command(&pipeline).environment("TIDEGATE_HOST", "elsewhere");
    let mut second = elsewhere.spawn("second", bench.scratch.path()).unwrap();
    // The other takes the partition that is silent, which the first does not notice.
    let claims = |process: &TidegateProcess| process.output().matches("\"claimed\"").count();
    let mut sent = 1;
    while claims(&second) == 0 {
        sent += 1;
        bench.send("rest.0.a", sent, sent).await;
        committed(&pipeline, i64::try_from(sent).unwrap(), &first).await;
    }
    bench.drain(&mut first).await;
    // Released, it need not be watched for ten seconds.
    let at_once = std::time::Duration::from_secs(5);
    eventually("the rest is claimed", at_once, async || claims(&second) == 2).await.unwrap();
    bench.drain(&mut second).await;
    holds(&pipeline, &[(1, sent)]).await;
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s9_other_partitions_than_those_that_were_read_are_refused() {
    let mut bench = Bench::start("split").await;
    let whole = bench.pipeline("split").await;
    let declared =
        json!({"type": "Declared", "partitions": 2, "subjectPattern": "split.{partition}.>"});
    let split = whole.clone().set("source.jetStream.partitioning", declared);
    bench.send("split.0.a", 1, 10).await;
    bench.send("split.1.a", 11, 20).await;
    bench.catch_up(&whole).await.expect(0);
    // The second partition would begin at the start, and its messages would be rows twice.
    let refused = bench.catch_up(&split).await.expect(65);
    refused.says("partitions cannot be changed").says("split.0.>, split.1.>");
    bench.send("split.0.a", 21, 30).await;
    bench.catch_up(&whole).await.expect(0);
    holds(&whole, &[(1, 30)]).await;

    // Back to one, what only the second had not read yet would be passed over.
    let apart = split.into_table("apart");
    bench.catch_up(&apart).await.expect(0);
    bench.catch_up(&whole.clone().into_table("apart")).await.expect(65);
    bench.catch_up(&apart).await.expect(0);
    holds(&apart, &[(1, 30)]).await;
}
