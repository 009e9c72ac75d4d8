//! How soon work goes on after a worker died or was asked to leave (P7).

use std::time::{Duration, Instant};

use serde_json::json;

use crate::checks::{committed, committed_within, counted, holds};
use crate::support::{Bench, LONG, Pipeline};

/// How often each recovery is measured: so few that the p95 is the slowest but one at the most.
const TIMES: u64 = 12;

fn p95(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[(times.len() * 95).div_ceil(100) - 1]
}

#[expect(clippy::print_stdout, reason = "the figures of the closing note")]
fn report(what: &str, times: &[Duration]) {
    let slowest = times.iter().max().unwrap();
    let p95 = p95(times.to_vec());
    println!("{what}: p95 {p95:.2?}, slowest {slowest:.2?}, of {}", times.len());
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn p7_a_killed_worker_commits_again_within_ten_seconds() {
    let mut bench = Bench::start("killed").await;
    let pipeline = bench.pipeline("killed").await.set("sink.flush.maxInterval", json!("1m"));
    bench.send("killed.a", 1, 10).await;
    let mut worker = bench.spawn_run(&pipeline, "worker");
    committed(&pipeline, 10, &worker).await;
    let mut times = Vec::new();
    for round in 1..=TIMES {
        // Read and, with an interval of a minute, not committed.
        bench.send("killed.a", 10 * round + 1, 10 * round + 10).await;
        let before = counted(&pipeline, "rows");
        worker.kill().await.unwrap();
        let killed = Instant::now();
        worker = bench.spawn_run(&pipeline, "worker");
        let rows = i64::try_from(10 * round + 10).unwrap();
        assert!(before < rows, "committed before the kill: nothing is measured");
        committed_within(&pipeline, rows, LONG, &worker).await;
        times.push(killed.elapsed());
    }
    bench.drain(&mut worker).await;
    report("SIGKILL to the first new commit", &times);
    assert!(p95(times.clone()) <= Duration::from_secs(10), "{times:?}");
    holds(&pipeline, &[(1, 10 * TIMES + 10)]).await;
    bench.verify(&pipeline).await.expect(0);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn p7_a_planned_hand_over_to_another_host_takes_at_most_five_seconds() {
    let mut bench = Bench::start("handover").await;
    let pipeline = bench.pipeline("handover").await.set("sink.flush.maxInterval", json!("1m"));
    bench.send("handover.a", 1, 10).await;
    let spawn = |bench: &Bench, pipeline: &Pipeline, host: u64| {
        let run = bench.run_command(pipeline).environment("TIDEGATE_HOST", &format!("host{host}"));
        run.spawn(&format!("host{host}"), bench.scratch.path()).unwrap()
    };
    let mut holder = spawn(&bench, &pipeline, 0);
    committed(&pipeline, 10, &holder).await;
    let mut times = Vec::new();
    for round in 1..=TIMES {
        let mut successor = spawn(&bench, &pipeline, round);
        successor.wait_for_output("\"opened\"", LONG).await.unwrap();
        holder.signal("TERM").await.unwrap();
        let asked = Instant::now();
        assert!(holder.wait(LONG).await.unwrap().success(), "{}", holder.output());
        // For the successor, whoever waits for it.
        bench.send("handover.a", 10 * round + 1, 10 * round + 10).await;
        let rows = i64::try_from(10 * round + 10).unwrap();
        committed_within(&pipeline, rows, LONG, &successor).await;
        times.push(asked.elapsed());
        holder = successor;
    }
    bench.drain(&mut holder).await;
    report("SIGTERM to the successor's first commit", &times);
    assert!(p95(times.clone()) <= Duration::from_secs(5), "{times:?}");
    holds(&pipeline, &[(1, 10 * TIMES + 10)]).await;
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn p7_two_workers_that_keep_restarting_make_progress() {
    let mut bench = Bench::start("restarting").await;
    let pipeline = bench.pipeline("restarting").await;
    let spawn = |bench: &Bench, host: &str| {
        let run = bench.run_command(&pipeline).environment("TIDEGATE_HOST", host);
        run.spawn(host, bench.scratch.path()).unwrap()
    };
    let (mut one, mut two) = (spawn(&bench, "one"), spawn(&bench, "two"));
    for round in 1..=8 {
        bench.send("restarting.a", 20 * round - 19, 20 * round).await;
        // Whoever holds the partition commits in each of its lives; each life is short.
        let rows = i64::try_from(20 * round).unwrap();
        committed_within(&pipeline, rows, Duration::from_secs(15), &one).await;
        one.kill().await.unwrap();
        two.kill().await.unwrap();
        (one, two) = (spawn(&bench, "one"), spawn(&bench, "two"));
    }
    for process in [&mut one, &mut two] {
        // It may not listen yet, and dies of it: then it holds nothing.
        process.signal("TERM").await.unwrap();
        process.wait(LONG).await.unwrap();
    }
    holds(&pipeline, &[(1, 160)]).await;
    bench.verify(&pipeline).await.expect(0);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn p7_a_live_holder_is_not_robbed_and_a_dead_one_is_replaced_after_a_silence() {
    let mut bench = Bench::start("robbed").await;
    let pipeline = bench.pipeline("robbed").await;
    let spawn = |bench: &Bench, host: &str| {
        let run = bench.run_command(&pipeline).environment("TIDEGATE_HOST", host);
        run.spawn(host, bench.scratch.path()).unwrap()
    };
    bench.send("robbed.a", 1, 20).await;
    let mut holder = spawn(&bench, "holder");
    committed(&pipeline, 20, &holder).await;
    let mut other = spawn(&bench, "other");
    other.wait_for_output("\"opened\"", LONG).await.unwrap();
    for round in 2..=4 {
        bench.send("robbed.a", 20 * round - 19, 20 * round).await;
        committed(&pipeline, i64::try_from(20 * round).unwrap(), &holder).await;
    }
    assert!(!other.output().contains("\"claimed\""), "{}", other.output());
    holder.kill().await.unwrap();
    let killed = Instant::now();
    bench.send("robbed.a", 81, 100).await;
    committed(&pipeline, 100, &other).await;
    // The last commit that it saw may be a little older than the kill.
    assert!(killed.elapsed() > Duration::from_secs(7), "robbed after {:?}", killed.elapsed());
    bench.drain(&mut other).await;
    holds(&pipeline, &[(1, 100)]).await;
    bench.verify(&pipeline).await.expect(0);
}
