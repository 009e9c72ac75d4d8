//! A local table on a disk that fills up.

use serde_json::json;
use tidegate_testing::SmallDisk;
use tidegate_testing::readers::Question;

use crate::support::Bench;

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn a_full_disk_is_said_plainly_and_nothing_is_lost_once_it_is_freed() {
    let mut bench = Bench::start("disk").await;
    let Some(disk) = SmallDisk::mount(&bench.scratch.join("small")).unwrap() else {
        eprintln!("not tested: mounting a small file system needs root");
        return;
    };
    let pipeline = bench.pipeline("full").await.into_table("small/table");
    let ids: Vec<String> = (0..4_000).map(|n| format!("id-{n}-{:x}", n * 7_919)).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    bench.publish_ids("full.x", &ids[..500]).await;
    bench.catch_up(&pipeline).await.expect(0);

    // Too little for the files, and for the probe even less.
    bench.publish_ids("full.x", &ids[500..]).await;
    for left in [40_960, 4_096, 0] {
        disk.fill(left).unwrap();
        let ended = bench.catch_up(&pipeline).await.expect(75);
        ended.says("ResourceExhausted").says("free disk space").says("No space left on device");
        disk.free().unwrap();
        // What was committed before stands, and nothing half-done is seen.
        let seen = Question::about(&pipeline.url()).agreed().await.unwrap();
        assert!(seen.rows >= 500 && seen.rows < 4_000, "{} rows", seen.rows);
        assert_eq!((seen.rows, seen.rows), (seen.distinct_ids, seen.distinct_identities));
    }
    bench.catch_up(&pipeline).await.expect(0);
    bench.verify(&pipeline).await.expect(0);
    let seen = Question::about(&pipeline.url()).agreed().await.unwrap();
    assert_eq!((seen.rows, seen.distinct_ids, seen.distinct_identities), (4_000, 4_000, 4_000));
}

#[tokio::test]
#[ignore = "needs nats-server; run by make test"]
async fn p5_a_commit_that_finds_the_disk_full_is_put_until_there_is_room() {
    let mut bench = Bench::start("disk").await;
    let Some(disk) = SmallDisk::mount(&bench.scratch.join("small")).unwrap() else {
        eprintln!("not tested: mounting a small file system needs root");
        return;
    };
    let pipeline = bench.pipeline("room").await.into_table("small/table");
    let pipeline = pipeline.set("sink.flush.maxInterval", json!("1s"));
    bench.publish_ids("room.x", &["a", "b"]).await;
    bench.catch_up(&pipeline).await.expect(0);
    bench.publish_ids("room.x", &["c", "d", "e"]).await;
    // Frozen before its commit, so that exactly the commit meets the full disk.
    let run = bench.run_command(&pipeline).argument("--until-caught-up");
    let mut worker =
        run.freeze_at("commit.before_put", 1).spawn("worker", bench.scratch.path()).unwrap();
    worker.stopped(crate::support::LONG).await.unwrap();
    disk.fill(0).unwrap();
    worker.signal("CONT").await.unwrap();
    worker.wait_for_output("No space left on device", crate::support::LONG).await.unwrap();
    disk.free().unwrap();
    let code = worker.wait(crate::support::LONG).await.unwrap().code();
    assert_eq!(code, Some(0), "{}", worker.output());
    bench.verify(&pipeline).await.expect(0).says("5 records = 5 rows");
}
