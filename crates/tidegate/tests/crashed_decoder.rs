//! Messages that kill the decoder, and workers that are killed by somebody else (S8).
#![allow(clippy::unwrap_used, reason = "the lint's exception for tests leaves their helpers out")]

mod support;

use std::time::Duration;

use serde_json::json;
use support::{Bench, Ended, LONG, Outgoing, Pipeline, Rows};
use tidegate_testing::TidegateCommand;

const MESSAGES: usize = 200;
/// Deadly when `TIDEGATE_CRASH_ON` says so: two beside each other, and one at a distance.
const DEADLY: [(usize, &str); 3] =
    [(60, "crash by abort"), (61, "crash by panic"), (150, "crash by memory")];
/// Claims until batches are halved, then twice the halvings to a single message: a batch that succeeds
/// makes the next one larger. Once for each place with deadly messages.
const MOST_CLAIMS: usize = 2 * (3 + 2 * 10);
/// Claims of which none moves the floor, until every message stands alone.
const CLAIMS_TO_ISOLATION: usize = 12;

/// The id of a message, and what is said in the place of a deadly one.
fn id(n: usize) -> String {
    let deadly = DEADLY.iter().find(|(at, _)| *at == n);
    deadly.map_or_else(|| format!("id-{n:03}"), |(_, how)| (*how).to_owned())
}

async fn bench(name: &str) -> (Bench, Pipeline) {
    let mut bench = Bench::start(name).await;
    let pipeline = bench.pipeline(name).await.set("deadLetter.breaker", json!(null));
    let subject = pipeline.subject("x");
    let message = |n| {
        let id = id(n);
        Outgoing::new(&subject, json!({"id": id, "n": n}).to_string()).header("Event-Id", &id)
    };
    let messages: Vec<_> = (0..MESSAGES).map(message).collect();
    bench.broker.publish(&messages).await.unwrap();
    (bench, pipeline)
}

fn finite(bench: &Bench, pipeline: &Pipeline) -> TidegateCommand {
    bench.run_command(pipeline).argument("--until-caught-up")
}

/// Runs until a worker lives to the end; how many were needed.
async fn run_to_the_end(bench: &Bench, run: impl Fn() -> TidegateCommand) -> (usize, Ended) {
    for claims in 1..=MOST_CLAIMS {
        let ended = bench.end(run(), &format!("run-{claims}")).await;
        if ended.code == Some(0) {
            return (claims, ended);
        }
    }
    panic!("{MOST_CLAIMS} workers died");
}

fn good_ids() -> Vec<String> {
    (0..MESSAGES).filter(|n| DEADLY.iter().all(|(at, _)| at != n)).map(id).collect()
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s8_a_message_that_kills_the_decoder_becomes_a_dead_letter_and_every_other_a_row() {
    let (bench, pipeline) = bench("deadly").await;
    let run = || finite(&bench, &pipeline).environment("TIDEGATE_CRASH_ON", "crash by");
    let (claims, _) = run_to_the_end(&bench, run).await;
    println!("{claims} claims");
    assert!(claims > CLAIMS_TO_ISOLATION / 2, "{claims}: did they die at all?");
    let rows = Rows::of(&pipeline.table).await.unwrap();
    assert_eq!(rows.texts("id"), good_ids());
    assert_eq!(rows.dead_texts("reason"), ["CrashedDecoder"; DEADLY.len()]);
    let details = rows.dead_texts("detail");
    for (detail, how) in details.iter().zip(["signal 6", "panicked", "signal 9"]) {
        assert!(detail.contains(how), "{details:?}");
    }
    let sequences: Vec<_> = rows.dead.iter().map(|row| row["_tg_seq"].as_u64()).collect();
    assert_eq!(sequences, DEADLY.map(|(at, _)| Some(at as u64 + 1)));
    bench.verify(&pipeline).await.expect(0);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn s8_workers_that_others_kill_condemn_no_message() {
    let (bench, pipeline) = bench("hunted").await;
    // Each dies behind the verdict on its first messages, the last ones behind a try in isolation.
    for claim in 0..CLAIMS_TO_ISOLATION {
        let run = finite(&bench, &pipeline).die_at("batch.judged", 1);
        let ended = bench.end(run, &format!("judged-{claim}")).await;
        assert_eq!(ended.code, None, "{}", ended.output);
    }
    // From here on at any moment, also while a message is tried.
    for claim in 0..8 {
        let name = format!("hunted-{claim}");
        let mut worker = finite(&bench, &pipeline).spawn(&name, bench.scratch.path()).unwrap();
        worker.wait_for_output("\"claimed\"", LONG).await.unwrap();
        tokio::time::sleep(Duration::from_millis(7 * claim)).await;
        worker.kill().await.unwrap();
    }
    bench.catch_up(&pipeline).await.expect(0);
    let rows = Rows::of(&pipeline.table).await.unwrap();
    assert!(rows.dead.is_empty(), "{:?}", rows.dead);
    let expected: Vec<_> = (0..MESSAGES).map(id).collect();
    assert_eq!(rows.texts("id"), expected);
    bench.verify(&pipeline).await.expect(0);
}
