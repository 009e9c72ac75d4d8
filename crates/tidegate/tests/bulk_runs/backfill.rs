//! `tidegate backfill` as scripts see it: the plan, what it refuses, and going on after a stop.

use serde_json::json;

use crate::ground::{Ground, daily, day, three_days};
use crate::support::{LONG, Pipeline};

#[tokio::test]
async fn a_dry_run_shows_the_plan_and_makes_nothing() {
    let ground = Ground::new("bulk-backfill");
    let days = three_days(&ground);
    let (from, to) = (day(3), day(0));
    let plan = ground.backfill(&days, (&from, &to), &["--dry-run"]).await.expect(0);
    let lines: Vec<_> = plan.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{}", plan.output);
    assert!(lines[0].contains("3 intervals  missing") && lines[0].ends_with("run"), "{}", lines[0]);
    assert_eq!(lines[1], "default/days: 3 of 3 intervals to run");
    assert!(!days.table.join("_delta_log").exists());
}

#[tokio::test]
async fn only_what_is_missing_failed_or_asked_for_is_run() {
    let ground = Ground::new("bulk-backfill");
    let days = three_days(&ground);
    let (first, second, last) = (day(3), day(2), day(0));
    ground.backfill(&days, (&first, &second), &[]).await.expect(0);
    // A run that died behind its claim.
    let died = ground.call("backfill", &days).argument("--from").argument(&second);
    let died = died.argument("--to").argument(day(1)).die_at("run.claimed", 1);
    assert_eq!(ground.end(died, "died").await.code, None, "killed");

    let whole = (first.as_str(), last.as_str());
    let failed = ground.backfill(&days, whole, &["--reprocess", "Failed", "--dry-run"]).await;
    failed.expect(0).says("failed (g1)").says("1 of 3 intervals to run").says("never begun");
    let missing = ground.backfill(&days, whole, &[]).await.expect(0);
    missing.says("done (g1)").says("2 of 3 intervals to run").says("2 runs done, 2 rows.");
    let all = ground.backfill(&days, whole, &["--reprocess", "All"]).await.expect(0);
    all.says("3 of 3 intervals to run").says("1 row in place of 1");
    let none = ground.backfill(&days, whole, &[]).await.expect(0);
    none.says("0 of 3 intervals to run");
}

#[tokio::test]
async fn a_range_off_the_grid_is_refused_with_the_nearest_that_is_not() {
    let ground = Ground::new("bulk-backfill");
    let days = three_days(&ground);
    let (from, to) = (format!("{}T05:00:00Z", day(3)), day(1));
    let refused = ground.backfill(&days, (&from, &to), &[]).await.expect(65);
    refused.says("does not lie on the grid").says(&format!("{}T00:00:00Z", day(3)));
    let backwards = ground.backfill(&days, (&to, &day(3)), &[]).await.expect(65);
    backwards.says("must lie behind its start");
}

#[tokio::test]
async fn a_pipeline_without_a_schedule_has_no_intervals_to_fill() {
    let ground = Ground::new("bulk-backfill");
    let source = json!({"type": "ObjectStore", "objectStore": {
        "storage": {"url": ground.scratch.url("files")}, "glob": "*.ndjson", "format": "NDJSON",
    }});
    let whole = Pipeline::bulk("whole", &source, ground.path()).columns(&[("id", "long")]);
    let refused = ground.backfill(&whole, ("2026-06-01", "2026-06-02"), &[]).await.expect(65);
    refused.says("default/whole has no schedule").says("to do: run everything with `tidegate run`");
}

#[tokio::test]
async fn what_failed_when_it_was_done_again_is_what_failed_means() {
    let ground = Ground::new("bulk-backfill");
    let days = three_days(&ground);
    let (first, last) = (day(3), day(0));
    let whole = (first.as_str(), last.as_str());
    ground.backfill(&days, whole, &[]).await.expect(0);
    // Done again, and killed on the way: the table has the rows of the run before.
    let again = ground.call("backfill", &days).argument("--from").argument(&first);
    let again = again.argument("--to").argument(day(2)).argument("--reprocess").argument("All");
    assert_eq!(ground.end(again.die_at("run.planned", 1), "died").await.code, None, "killed");
    let failed = ground.backfill(&days, whole, &["--reprocess", "Failed"]).await.expect(0);
    failed.says("done, then failed (g2)").says("1 of 3 intervals to run");
    failed.says("1 row in place of 1");
    let none = ground.backfill(&days, whole, &["--reprocess", "Failed"]).await.expect(0);
    none.says("0 of 3 intervals to run");
    ground.ask("verify", &days).await.expect(0);
}

#[tokio::test]
async fn when_twenty_runs_have_failed_no_more_are_begun() {
    let ground = Ground::new("bulk-backfill");
    for days in 1..=25 {
        ground.write(&format!("files/{}.ndjson.gz", day(days)), "this is no gzip");
    }
    let days = three_days(&ground).set("source.objectStore.glob", json!("%Y-%m-%d.ndjson.gz"));
    let ended = ground.backfill(&days, (&day(25), &day(0)), &[]).await.expect(65);
    ended.says("25 of 25 intervals to run").says("0 runs done, 20 failed");
    ended.says("5 intervals were not begun: 20 runs failed, mend the cause first.");
}

#[tokio::test]
async fn a_backfill_of_which_everything_was_refused_did_not_go_well() {
    let ground = Ground::new("bulk-backfill");
    let days = three_days(&ground).set("sink.writeMode", json!("Append"));
    let (first, last) = (day(3), day(0));
    ground.backfill(&days, (&first, &last), &[]).await.expect(0);
    let whole = (first.as_str(), last.as_str());
    let refused = ground.backfill(&days, whole, &["--reprocess", "All"]).await.expect(65);
    refused.says("refused: the table holds it, and writeMode Append");
    refused.says("0 of 3 intervals to run, 3 refused");
    // Tomorrow it may do.
    let early = ground.backfill(&days, (&day(0), &day(-1)), &[]).await.expect(75);
    early.says("refused: it has not ended");
    ground.backfill(&days, (&day(1), &day(-1)), &[]).await.expect(75).says("1 refused");
}

#[tokio::test]
async fn a_backfill_that_is_told_to_stop_was_interrupted_and_goes_on_where_it_was() {
    let ground = Ground::new("bulk-backfill");
    let days = three_days(&ground).set("bulk.maxActiveRuns", json!(1));
    let (first, last) = (day(3), day(0));
    for signal in ["INT", "TERM"] {
        let call = ground.call("backfill", &days).argument("--from").argument(&first);
        let call = call.argument("--to").argument(&last).argument("--reprocess").argument("All");
        let call = call.freeze_at("run.planned", 2);
        let mut process = call.spawn(&format!("told-{signal}"), ground.path()).unwrap();
        process.stopped(LONG).await.unwrap();
        process.signal(signal).await.unwrap();
        process.signal("CONT").await.unwrap();
        let ended = process.wait(LONG).await.unwrap();
        let output = process.output();
        assert_eq!(ended.code(), Some(130), "{output}");
        assert!(output.contains("1 run done, 1 interrupted, 1 row."), "{output}");
        assert!(output.contains("1 interval was not begun.\n"), "{output}");
        assert!(output.contains("interrupted: the run was told to stop"), "{output}");
        assert!(!output.contains("error:"), "nothing failed: {output}");
    }
    let rest = ground.backfill(&days, (&first, &last), &[]).await.expect(0);
    rest.says("2 of 3 intervals to run").says("2 runs done, 2 rows.");
    ground.ask("verify", &days).await.expect(0);
}

#[tokio::test]
async fn a_pipeline_of_another_name_is_told_with_those_that_are_there() {
    let ground = Ground::new("bulk-backfill");
    let days = three_days(&ground);
    let range = (day(3), day(0));
    let range = (range.0.as_str(), range.1.as_str());
    let nope = ground.backfill(&days, range, &["--pipeline", "nope"]).await.expect(65);
    nope.says("there is no pipeline \"nope\"").says("with --pipeline: default/days");
}

#[tokio::test]
async fn a_source_without_its_secret_is_told_once_and_nothing_is_begun() {
    let ground = Ground::new("bulk-backfill");
    let days = three_days(&ground);
    let (first, second, last) = (day(3), day(2), day(0));
    ground.backfill(&days, (&first, &second), &[]).await.expect(0);
    let source = json!({"type": "Postgres", "postgres": {
        "connection": {"secretRef": {"name": "nowhere"}}, "table": "public.days", "tls": {"mode": "Disable"},
    }});
    let locked = Pipeline::bulk("days", &source, ground.path())
        .columns(&[("id", "long"), ("at", "timestamp")])
        .set("bulk.incremental.cursorField", json!("at"))
        .set("bulk.incremental.mutability", json!("Immutable"));
    let locked = daily(locked, 3);
    let told = ground.backfill(&locked, (&first, &last), &[]).await.expect(65);
    told.says("nothing was begun").says("nowhere");
    assert_eq!(told.output.matches("error:").count(), 1, "{}", told.output);
    let failed = ground.backfill(&days, (&first, &last), &["--reprocess", "Failed", "--dry-run"]);
    failed.await.expect(0).says("0 of 3 intervals to run");
}
