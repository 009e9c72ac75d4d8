//! `tidegate backfill` as scripts see it: the plan, what it refuses, and going on after a stop.

use serde_json::json;

use crate::ground::{Ground, daily, day};
use crate::support::Pipeline;

fn three_days(ground: &Ground) -> Pipeline {
    for days in 1..=3 {
        ground.write(&format!("files/{}.ndjson", day(days)), format!("{{\"id\": {days}}}\n"));
    }
    let source = json!({"type": "ObjectStore", "objectStore": {
        "storage": {"url": ground.scratch.url("files")},
        "glob": "%Y-%m-%d.ndjson",
        "format": "NDJSON",
    }});
    daily(Pipeline::bulk("days", &source, ground.path()).columns(&[("id", "long")]), 3)
}

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
