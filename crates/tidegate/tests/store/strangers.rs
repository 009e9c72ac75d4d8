//! Others write to the table: what is harmless is recorded, what takes rows back in time stops the
//! pipeline.

use tidegate_testing::readers::{self, Question};
use tidegate_testing::{TidegateProcess, eventually};
use tokio::process::Command;

use crate::support::{Bench, LONG, Pipeline, commits};

/// Somebody else's program, with the table as `t`.
async fn stranger(pipeline: &Pipeline, python: &str) {
    let script = format!(
        "import sys, deltalake, pyarrow as pa\nt = deltalake.DeltaTable(sys.argv[1])\n{python}"
    );
    let call = Command::new(readers::python()).args(["-c", &script, &pipeline.url()]).output();
    let output = call.await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

const COMPACT: &str = "assert t.optimize.compact()['numFilesRemoved'] > 1";
const DELETE: &str = "assert t.delete('n = 1')['num_deleted_rows'] > 0";
const CHECKPOINT: &str = "t.create_checkpoint()";

/// Publishes `count` ids, each with the number 0, 1, … in column `n`.
async fn publish(bench: &mut Bench, name: &str, wave: usize, count: usize) {
    let ids: Vec<_> = (0..count).map(|n| format!("{wave}-{n}")).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    bench.publish_ids(&format!("{name}.x"), &ids).await;
}

/// A table with three commits of ten rows each.
async fn table(name: &str) -> (Bench, Pipeline) {
    let mut bench = Bench::start(name).await;
    let pipeline = bench.pipeline(name).await;
    for wave in 0..3 {
        publish(&mut bench, name, wave, 10).await;
        bench.catch_up(&pipeline).await.expect(0);
    }
    (bench, pipeline)
}

async fn rows(pipeline: &Pipeline) -> (u64, u64) {
    let seen = Question::about(&pipeline.url()).agreed().await.unwrap();
    assert_eq!(seen.rows, seen.distinct_identities);
    (seen.rows, seen.distinct_ids)
}

/// Waits until the running worker has committed so many times.
async fn wait_for_commits(pipeline: &Pipeline, kind: &str, count: usize, worker: &TidegateProcess) {
    let tag = format!("\"tidegate.kind\":\"{kind}\"");
    let made = || commits(&pipeline.table).iter().filter(|text| text.contains(&tag)).count();
    if let Err(error) = eventually("commits", LONG, async || made() >= count).await {
        panic!("{error}: {} of {count}\n{}", made(), worker.output());
    }
}

async fn exit_code(worker: &mut TidegateProcess) -> Option<i32> {
    worker.wait(LONG).await.unwrap().code()
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn t1_work_goes_on_after_an_optimize_between_runs_and_during_one() {
    let (mut bench, pipeline) = table("compacted").await;
    stranger(&pipeline, COMPACT).await;
    publish(&mut bench, "compacted", 3, 10).await;
    bench.catch_up(&pipeline).await.expect(0);

    let mut worker = bench.spawn_run(&pipeline, "worker");
    publish(&mut bench, "compacted", 4, 10).await;
    wait_for_commits(&pipeline, "data", 5, &worker).await;
    stranger(&pipeline, COMPACT).await;
    publish(&mut bench, "compacted", 5, 10).await;
    // Ids that are in compacted files are still known.
    publish(&mut bench, "compacted", 0, 10).await;
    wait_for_commits(&pipeline, "data", 6, &worker).await;
    worker.signal("TERM").await.unwrap();
    assert_eq!(exit_code(&mut worker).await, Some(0), "{}", worker.output());
    bench.catch_up(&pipeline).await.expect(0);
    assert_eq!(rows(&pipeline).await, (60, 60));
    let verified = bench.verify(&pipeline).await;
    assert!(matches!(verified.code, Some(0 | 2)), "{}", verified.output);
    verified.says("70 records = 60 rows + 0 dead letters + 10 duplicates").says("OPTIMIZE");
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn t2_deleted_rows_are_reported_and_make_the_table_not_provable() {
    let (mut bench, pipeline) = table("deleted").await;
    bench.verify(&pipeline).await.expect(0);
    stranger(&pipeline, DELETE).await;
    publish(&mut bench, "deleted", 3, 10).await;
    let ended = bench.catch_up(&pipeline).await.expect(0);
    ended.says("fewer rows than were committed").says("DELETE at version");
    assert_eq!(rows(&pipeline).await, (37, 37));
    bench.verify(&pipeline).await.expect(2).says("DELETE by somebody else").says("not provable");
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn t1_a_table_restored_between_runs_halts_the_next_one() {
    let (mut bench, pipeline) = table("restored").await;
    let before = commits(&pipeline.table).len();
    stranger(&pipeline, "t.restore(t.version() - 2)").await;
    publish(&mut bench, "restored", 3, 10).await;
    // As often as it is tried.
    for _ in 0..2 {
        let halted = bench.catch_up(&pipeline).await.expect(65);
        halted.says("TableRewound").says("RESTORE at version").says("tidegate verify");
    }
    assert_eq!(commits(&pipeline.table).len(), before + 1, "nothing was committed on it");
    bench.verify(&pipeline).await.expect(1).says("RESTORE at version").says("damaged");
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn t1_a_restore_is_not_hidden_by_the_rows_of_others() {
    let (mut bench, pipeline) = table("hidden").await;
    let append = "deltalake.write_deltalake(t, pa.table({'id': [str(n) for n in range(50)], 'n': pa.array(range(50), pa.int64())}), mode='append', schema_mode='merge')";
    stranger(&pipeline, append).await;
    let with_strangers = commits(&pipeline.table).len() - 1;
    publish(&mut bench, "hidden", 3, 10).await;
    bench.catch_up(&pipeline).await.expect(0);
    stranger(&pipeline, &format!("t.restore({with_strangers})")).await;
    publish(&mut bench, "hidden", 4, 10).await;
    bench.catch_up(&pipeline).await.expect(65).says("TableRewound").says("10 of 40 counted rows");
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn t1_a_table_restored_under_a_worker_halts_it() {
    let (mut bench, pipeline) = table("pulled").await;
    let mut worker = bench.spawn_run(&pipeline, "worker");
    publish(&mut bench, "pulled", 3, 10).await;
    wait_for_commits(&pipeline, "data", 4, &worker).await;
    stranger(&pipeline, "t.restore(t.version() - 2)").await;
    let restored = commits(&pipeline.table).len();
    publish(&mut bench, "pulled", 4, 10).await;
    assert_eq!(exit_code(&mut worker).await, Some(65), "{}", worker.output());
    assert!(worker.output().contains("TableRewound"), "{}", worker.output());
    assert_eq!(commits(&pipeline.table).len(), restored, "nothing was committed on it");
    bench.verify(&pipeline).await.expect(1).says("damaged");
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn t1_a_replaced_table_halts_the_worker() {
    let (mut bench, pipeline) = table("replaced").await;
    let mut worker = bench.spawn_run(&pipeline, "worker");
    publish(&mut bench, "replaced", 3, 10).await;
    wait_for_commits(&pipeline, "data", 4, &worker).await;
    let replace = "deltalake.DeltaTable.create(sys.argv[1], t.schema(), mode='overwrite')";
    stranger(&pipeline, replace).await;
    publish(&mut bench, "replaced", 4, 10).await;
    assert_eq!(exit_code(&mut worker).await, Some(65), "{}", worker.output());
    assert!(worker.output().contains("TableRewound"), "{}", worker.output());
    // And at the next start.
    bench.catch_up(&pipeline).await.expect(65).says("TableRewound");
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn p2_positions_survive_a_strangers_checkpoint_and_a_cleaned_log() {
    let (mut bench, pipeline) = table("cleaned").await;
    stranger(&pipeline, CHECKPOINT).await;
    // What log retention does after a while: the entries before the checkpoint go.
    let log = pipeline.table.join("_delta_log");
    let last = commits(&pipeline.table).len() - 1;
    for version in 0..last {
        std::fs::remove_file(log.join(format!("{version:020}.json"))).unwrap();
    }
    publish(&mut bench, "cleaned", 3, 10).await;
    publish(&mut bench, "cleaned", 0, 10).await;
    bench.catch_up(&pipeline).await.expect(0).says("10 rows").says("10 duplicates");
    assert_eq!(rows(&pipeline).await, (40, 40));
    let verified = bench.verify(&pipeline).await;
    assert!(matches!(verified.code, Some(0 | 2)), "{}", verified.output);
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn t2_rows_that_a_stranger_appends_are_nobody_elses_business() {
    let (mut bench, pipeline) = table("appended").await;
    let append = "deltalake.write_deltalake(t, pa.table({'id': ['x', 'y'], 'n': pa.array([1, 2], pa.int64())}), mode='append', schema_mode='merge')";
    stranger(&pipeline, append).await;
    publish(&mut bench, "appended", 3, 10).await;
    bench.catch_up(&pipeline).await.expect(0);
    let seen = Question::about(&pipeline.url()).agreed().await.unwrap();
    assert_eq!(seen.rows, 42);
    bench.verify(&pipeline).await.expect(0).says("40 records = 40 rows");
}
