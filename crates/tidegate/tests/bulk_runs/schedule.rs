//! `tidegate run` over documents of both kinds, and what it says where there is nothing to do.

use serde_json::json;

use crate::ground::{Ground, at_once, daily, day};
use crate::support::{Bench, LONG, Pipeline, call, end};

fn whole(folder: &Ground, name: &str) -> Pipeline {
    let source = json!({"type": "ObjectStore", "objectStore": {
        "storage": {"url": folder.scratch.url("files")}, "glob": "**/*.ndjson", "format": "NDJSON",
    }});
    at_once(Pipeline::bulk(name, &source, folder.path()).columns(&[("id", "long")]))
}

#[tokio::test]
async fn a_suspended_pipeline_and_one_of_which_nothing_is_due_say_so() {
    let ground = Ground::new("bulk-run");
    let suspended = whole(&ground, "idle").set("suspend", json!(true));
    ground.run(&suspended).await.expect(0).says("default/idle: suspended, nothing is run");
    let future = daily(whole(&ground, "later"), -30)
        .set("source.objectStore.glob", json!("%Y-%m-%d.ndjson"));
    ground.run(&future).await.expect(0).says("default/later: nothing is due");
    ground
        .run(
            &suspended
                .set("bulk.schedule.dependsOn", json!([{"name": "x"}]))
                .set("bulk.schedule.cron", json!("0 0 * * *")),
        )
        .await
        .expect(0)
        .says("bulk.schedule.dependsOn has no effect without a cluster");
}

#[tokio::test]
async fn one_failed_run_does_not_hold_up_the_others_and_decides_the_exit_code() {
    let ground = Ground::new("bulk-run");
    for days in 1..=3 {
        let text = if days == 2 { "not a gzip at all".to_owned() } else { String::new() };
        ground.write(
            &format!("files/{}.ndjson{}", day(days), if days == 2 { ".gz" } else { "" }),
            text,
        );
    }
    let days = daily(whole(&ground, "days"), 3)
        .set("source.objectStore.glob", json!("%Y-%m-%d.ndjson*"))
        .set("bulk.maxActiveRuns", json!(2));
    let ended = ground.run(&days).await.expect(65);
    ended.says("2 runs done, 1 failed, 0 rows").says(&format!("{}.ndjson.gz", day(2)));
    let again = ground.run(&days).await.expect(65);
    assert!(!again.output.contains("runs done"), "only the failed one is due: {}", again.output);
}

#[tokio::test]
#[ignore = "needs nats-server and the Python readers; run by make test"]
async fn a_stream_and_files_are_carried_out_by_one_call() {
    let mut bench = Bench::start("bulk-both").await;
    let stream = bench.pipeline("clicks").await;
    bench.publish_ids(&stream.subject("a"), &["x", "y"]).await;
    let ground = Ground::new("bulk-both");
    ground.write("files/a.ndjson", "{\"id\": 1}\n");
    let lines = whole(&ground, "lines");
    let run = call("run", &stream)
        .argument("-f")
        .argument(lines.write())
        .argument("--until-caught-up")
        .argument("--data-dir")
        .argument(ground.scratch.join("data"));
    let ended = end(&ground.scratch, run, "run").await.expect(0);
    ended.says("default/clicks: read 2 messages").says("default/lines: 1 row, from 1 chunk");
}

#[tokio::test]
async fn a_secret_that_is_missing_is_told_at_once_with_its_file() {
    let ground = Ground::new("bulk-run");
    let source = json!({"type": "Postgres", "postgres": {
        "connection": {"secretRef": {"name": "shop-db"}}, "table": "public.orders",
    }});
    // As it is by default: a fault that may pass is tried again after half a minute.
    let orders = Pipeline::bulk("orders", &source, ground.path());
    let began = std::time::Instant::now();
    let missing = ground.run(&orders).await.expect(65);
    assert!(began.elapsed() < LONG / 3, "nobody waits for it: {}", missing.output);
    missing.says("shop-db").says("uri").says("to do: put the secret below --secrets-dir");
    missing.says("source.postgres.connection.secretRef: secret");
    assert!(!missing.output.contains("the run is tried again"), "{}", missing.output);
}

#[tokio::test]
async fn before_the_first_run_there_is_nothing_to_prove() {
    let ground = Ground::new("bulk-run");
    ground.write("files/a.ndjson", "{\"id\": 1}\n");
    let days = whole(&ground, "fresh");
    let verify = ground.ask("verify", &days).await.expect(2);
    verify.says("nothing was committed yet; make the first run");
    assert!(!verify.output.contains("spec.schema"), "{}", verify.output);
    ground.run(&days).await.expect(0);
    ground.ask("verify", &days).await.expect(0);
}

/// `run` makes the newest day first where nothing is done; what failed before it belongs to what is due.
#[tokio::test]
async fn what_failed_before_the_first_day_was_done_is_planned_as_it_is_run() {
    let ground = Ground::new("bulk-plan");
    let file = |days: i64| format!("files/{}.ndjson.gz", day(days));
    for days in 2..=4 {
        ground.write(&file(days), "this is no gzip");
    }
    let days = at_once(whole(&ground, "days"))
        .set("source.objectStore.glob", json!("%Y-%m-%d.ndjson*"))
        .set("bulk.schedule.cron", json!("0 0 * * *"))
        .set("sink.writeMode", json!("ReplaceInterval"));
    ground.backfill(&days, (&day(4), &day(1)), &[]).await.expect(65);
    let plan = ground.ask("plan", &days).await.expect(0);
    plan.says("due now: 4 runs").says(&format!("  {}T00:00:00Z/", day(4)));
    for days in 2..=4 {
        std::fs::remove_file(ground.scratch.join(&file(days))).unwrap();
    }
    let ended = ground.run(&days).await.expect(0);
    ended.says("days: 4 runs done, 0 rows");
    let first = ended.stdout.lines().next().unwrap();
    assert!(first.contains(&day(4)), "the oldest is run first: {}", ended.output);
    ground.ask("plan", &days).await.expect(0).says("nothing is due");
}

#[tokio::test]
async fn a_stop_between_two_attempts_is_told_as_one_and_ends_with_130() {
    let ground = Ground::new("bulk-stop");
    ground.secret("shop-db", "uri", "postgresql://nobody@127.0.0.1:1/shop");
    let source = json!({"type": "Postgres", "postgres": {
        "connection": {"secretRef": {"name": "shop-db"}}, "table": "public.orders",
        "tls": {"mode": "Disable"},
    }});
    // As it is by default: it waits for half a minute.
    let orders = Pipeline::bulk("orders", &source, ground.path());
    let run = ground.call("run", &orders).argument("--until-caught-up");
    let mut process = run.spawn("run", ground.path()).unwrap();
    process.wait_for_output("the run is tried again", LONG).await.unwrap();
    process.signal("INT").await.unwrap();
    let ended = process.wait(LONG).await.unwrap();
    let output = process.output();
    assert_eq!(ended.code(), Some(130), "{output}");
    assert!(output.contains("default/orders: interrupted: "), "{output}");
    assert!(output.contains("nothing is lost") && !output.contains("failed\n"), "{output}");
}

#[tokio::test]
async fn one_of_several_pipelines_is_chosen_by_its_name() {
    let ground = Ground::new("bulk-choice");
    ground.write("files/a.ndjson", "{\"id\": 1}\n");
    let (one, two) = (whole(&ground, "one"), whole(&ground, "two"));
    let call = |subcommand, names: &[&str]| {
        let call = ground.call(subcommand, &one).argument("-f").argument(two.write());
        names.iter().fold(call, |call, name| call.argument("--pipeline").argument(name))
    };
    let run = call("run", &["two"]).argument("--until-caught-up");
    let ended = ground.end(run, "run").await.expect(0);
    ended.says("default/two: 1 row");
    assert!(!ended.output.contains("default/one"), "{}", ended.output);
    ground.end(call("plan", &["default/one"]), "plan").await.expect(0).says("pipeline default/one");
    let nope = ground.end(call("doctor", &["three"]), "doctor").await.expect(65);
    nope.says("no pipeline \"three\"").says("default/one, default/two");
}
