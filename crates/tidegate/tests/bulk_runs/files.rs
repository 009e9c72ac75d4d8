//! Files in a directory: found by their day, each day once, bad records set aside.

use serde_json::{Value, json};
use tidegate_testing::TidegateCommand;

use crate::ground::{Ground, at_once, daily, day};
use crate::support::{Pipeline, Rows};

const FIELDS: &[(&str, &str)] = &[("id", "long"), ("name", "string")];

/// Files below `files` in the folder.
fn files(ground: &Ground, name: &str, glob: &str, format: &str) -> Pipeline {
    let source = json!({"type": "ObjectStore", "objectStore": {
        "storage": {"url": ground.scratch.url("files")},
        "glob": glob,
        "format": format,
    }});
    let pipeline = Pipeline::bulk(name, &source, ground.path()).columns(FIELDS);
    at_once(pipeline)
}

/// Three days of a file each, with two rows.
fn three_days(ground: &Ground) -> Pipeline {
    for days in 1..=3 {
        let (one, two) = (days * 10, days * 10 + 1);
        let text = format!("id,name\n{one},a\n{two},\"b, c\"\n");
        ground.write(&format!("files/dt={}/rows.csv", day(days)), text);
    }
    daily(files(ground, "days", "dt=%Y-%m-%d/*.csv", "CSV"), 3)
}

#[tokio::test]
#[ignore = "needs the Python readers; run by make test"]
async fn every_day_of_files_is_read_once() {
    let ground = Ground::new("bulk-files");
    let days = three_days(&ground);
    let first = ground.run(&days).await.expect(0);
    first.says("days: 3 runs done, 6 rows.");
    assert_eq!(ground.numbers(&days, "id").await, [10, 11, 20, 21, 30, 31]);
    ground.run(&days).await.expect(0).says("default/days: nothing is due; the next run is due at");
    ground.ask("plan", &days).await.expect(0).says("nothing is due");
    ground.ask("verify", &days).await.expect(0);
}

/// Files in folders of days of 2025, one row each with the day of the month.
fn of_2025(ground: &Ground, month: i64, days: std::ops::RangeInclusive<i64>) -> Pipeline {
    for day in days {
        let path = format!("files/dt=2025-{month:02}-{day:02}/rows.csv");
        ground.write(&path, format!("id,name\n{day},a\n"));
    }
    daily(files(ground, "days", "dt=%Y-%m-%d/*.csv", "CSV"), 0)
}

#[tokio::test]
#[ignore = "needs the Python readers; run by make test"]
async fn the_day_on_which_summer_ends_is_read_like_every_other() {
    let ground = Ground::new("bulk-files");
    let days = of_2025(&ground, 10, 23..=28).set("bulk.schedule.timeZone", json!("Europe/London"));
    // Midnight is at 23:00 UTC before the 26th, and at 00:00 after.
    let days_of_london = ("2025-10-23T23:00:00Z", "2025-10-28T00:00:00Z");
    let filled = ground.backfill(&days, days_of_london, &[]).await.expect(0);
    filled.says("4 runs done, 4 rows.");
    assert_eq!(ground.numbers(&days, "id").await, [24, 25, 26, 27]);
    let source = ground.call("verify", &days).argument("--source");
    ground.end(source, "verify").await.expect(0).says("4 intervals against the source");
    ground.ask("doctor", &days).await.expect(0).says("ok      files: those of the newest 4");
}

#[tokio::test]
#[ignore = "needs the Python readers; run by make test"]
async fn a_schedule_of_weekdays_reads_the_weekend_too() {
    let ground = Ground::new("bulk-files");
    let days = of_2025(&ground, 6, 4..=11).set("bulk.schedule.cron", json!("0 6 * * 1-5"));
    // From Thursday to Tuesday.
    let week = ("2025-06-05T06:00:00Z", "2025-06-10T06:00:00Z");
    ground.backfill(&days, week, &[]).await.expect(0).says("3 runs done, 5 rows.");
    assert_eq!(ground.numbers(&days, "id").await, [5, 6, 7, 8, 9]);
    let source = ground.call("verify", &days).argument("--source");
    ground.end(source, "verify").await.expect(0);
    // Saturday's is one of those that are looked at.
    ground.write("files/dt=2025-06-07/late.csv", "id,name\n70,late\n");
    let monday = "--from 2025-06-06T06:00:00Z --to 2025-06-09T06:00:00Z";
    ground.ask("doctor", &days).await.expect(65).says("failed  files:").says(monday);
    let weekend = ("2025-06-06T06:00:00Z", "2025-06-09T06:00:00Z");
    ground.backfill(&days, weekend, &["--reprocess", "All"]).await.expect(0);
    assert_eq!(ground.numbers(&days, "id").await, [5, 6, 7, 8, 9, 70]);
}

#[tokio::test]
async fn a_schedule_that_leaves_an_interval_without_files_is_refused_before_anything_is_run() {
    let ground = Ground::new("bulk-files");
    let hourly = of_2025(&ground, 6, 4..=5).set("bulk.schedule.cron", json!("0 * * * *"));
    let table = hourly.table.clone();
    let validate = TidegateCommand::new("validate").unwrap().argument(hourly.write());
    let refused = ground.end(validate, "validate").await.expect(65);
    refused.says("spec.source.objectStore.glob").says("no day of its own");
    refused.says("write finer fields into it");
    let one_day = ("2025-06-04T00:00:00Z", "2025-06-05T00:00:00Z");
    ground.backfill(&hourly, one_day, &[]).await.expect(65).says("no day of its own");
    let hours = hourly
        .set("source.objectStore.glob", json!("%Y-%m-%dT%H.csv"))
        .set("bulk.schedule.timeZone", json!("Europe/London"));
    let refused = ground.ask("plan", &hours).await.expect(65);
    refused.says("as the clock is turned back").says("timeZone: UTC");
    assert!(!table.join("_delta_log").exists(), "nobody made a table");
}

#[tokio::test]
#[ignore = "needs the Python readers; run by make test"]
async fn a_day_that_is_done_is_done_again_only_when_asked() {
    let ground = Ground::new("bulk-files");
    let days = three_days(&ground);
    ground.run(&days).await.expect(0);
    ground.write(&format!("files/dt={}/more.csv", day(2)), "id,name\n22,late\n");
    ground.run(&days).await.expect(0).says("nothing is due");
    assert_eq!(ground.numbers(&days, "id").await, [10, 11, 20, 21, 30, 31]);

    let that_day = (day(2), day(1));
    let that_day = (that_day.0.as_str(), that_day.1.as_str());
    let missing = ground.backfill(&days, that_day, &[]).await.expect(0);
    missing.says("0 of 1 interval to run");
    let all = ground.backfill(&days, that_day, &["--reprocess", "All"]).await.expect(0);
    all.says("3 rows in place of 2");
    assert_eq!(ground.numbers(&days, "id").await, [10, 11, 20, 21, 22, 30, 31]);
    ground.ask("verify", &days).await.expect(0);
}

/// What a killed run read of files that did not change is not read again (B5).
#[tokio::test]
#[ignore = "needs the Python readers; run by make test"]
async fn b5_a_run_that_is_killed_goes_on_with_the_chunks_that_it_had_finished() {
    for write_mode in ["Append", "ReplaceInterval", "Overwrite"] {
        let ground = Ground::new("bulk-kept");
        // Files that are chunks of their own, each with a record that is no row.
        let name = "n".repeat(4_000);
        for file in 0..4 {
            let rows = (0..1_200).map(|row| format!("{},{name}\n", file * 10_000 + row));
            let text = format!("id,name\n{}none,x\n", rows.collect::<String>());
            ground.write(&format!("files/dt={}/{file}.csv", day(1)), text);
        }
        let days = daily(files(&ground, "days", "dt=%Y-%m-%d/*.csv", "CSV"), 1)
            .set("sink.writeMode", json!(write_mode))
            .set("bulk.chunking", json!({"targetRows": 1000, "parallelism": 1}))
            .set("decode.onError", json!("DeadLetter"));
        for time in [2, 1] {
            let run = ground.call("run", &days).argument("--until-caught-up");
            let killed = ground.end(run.die_at("run.chunk_written", time), "killed").await;
            assert_eq!(killed.code, None, "killed");
        }
        ground.write("files/unrelated.csv", "id,name\n1,x\n");
        let done = ground.run(&days).await.expect(0);
        done.says("4,800 rows, 4 dead letters, from 4 chunks")
            .says("chunks of an earlier attempt are kept");
        done.says("3 of 4 chunks were read by an earlier attempt");
        ground.ask("verify", &days).await.expect(0);
        let rows = Rows::of(&days.table).await.unwrap();
        assert_eq!((rows.rows.len(), rows.dead.len()), (4_800, 4));
        assert_eq!(rows.texts("_tg_src")[0], rows.texts("_tg_src")[4_799], "one load");
        let side = walk(&days.table.join("_tidegate"));
        let left = side.iter().filter(|path| path.contains("chunks-")).count();
        assert_eq!(left, 0, "what was kept is gone");
    }
}

/// Every file below the folder.
fn walk(folder: &std::path::Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let each = entries.map(|entry| entry.unwrap().path()).map(|path| match path.is_dir() {
        true => walk(&path),
        false => vec![path.display().to_string()],
    });
    each.flatten().collect()
}

#[tokio::test]
#[ignore = "needs the Python readers; run by make test"]
async fn a_folder_of_every_format_comes_over_whole_and_again_when_it_changed() {
    let ground = Ground::new("bulk-files");
    ground.write("files/a.ndjson", "{\"id\": 1, \"name\": \"x\"}\n{\"id\": 2}\n");
    let all = files(&ground, "all", "*.ndjson", "NDJSON");
    ground.run(&all).await.expect(0).says("default/all: 2 rows, from 1 chunk");
    ground.write("files/b.ndjson", "{\"id\": 3}\n");
    ground.run(&all).await.expect(0).says("default/all: 3 rows in place of 2");
    assert_eq!(ground.numbers(&all, "id").await, [1, 2, 3]);
    ground.ask("verify", &all).await.expect(0);
}

#[tokio::test]
#[ignore = "needs the Python readers; run by make test"]
async fn records_that_are_no_rows_are_dead_letters_with_their_place() {
    let ground = Ground::new("bulk-files");
    ground.write("files/a.ndjson", "{\"id\": 1}\n{\"id\": \"no\"}\nnonsense\n{\"id\": 4}\n");
    let all = files(&ground, "all", "*.ndjson", "NDJSON");
    ground.run(&all).await.expect(0).says("2 rows, 2 dead letters");
    let seen = Rows::of(&all.table).await.unwrap();
    assert_eq!((seen.rows.len(), seen.dead.len()), (2, 2));
    assert_eq!(seen.dead_texts("reason"), ["WrongType", "Malformed"]);
    ground.ask("verify", &all).await.expect(0);

    // Mended and loaded again: the dead letters of the load before are gone with its rows.
    ground.write("files/a.ndjson", "{\"id\": 1}\n{\"id\": 2}\n{\"id\": 3}\n{\"id\": 4}\n");
    ground.run(&all).await.expect(0).says("4 rows in place of 2");
    let seen = Rows::of(&all.table).await.unwrap();
    assert_eq!((seen.rows.len(), seen.dead.len()), (4, 0));
    ground.ask("verify", &all).await.expect(0);
}

#[tokio::test]
async fn a_bad_file_stops_the_run_and_is_named() {
    let ground = Ground::new("bulk-files");
    ground.write("files/a.csv.gz", "this is no gzip");
    let all = files(&ground, "all", "*.csv.gz", "CSV");
    let ended = ground.run(&all).await.expect(65);
    ended.says("default/all failed").says("a.csv.gz");
    assert!(!ended.output.contains("panicked"), "{}", ended.output);
}

#[tokio::test]
async fn doctor_and_plan_say_what_a_pipeline_stands_on() {
    let ground = Ground::new("bulk-files");
    let days = three_days(&ground);
    let doctor = ground.ask("doctor", &days).await.expect(0);
    doctor.says("ok      source: 2 columns: id Int64, name Utf8").says("ok      store:");
    doctor.says("ok      table: not there yet and will be made");
    let plan = ground.ask("plan", &days).await.expect(0);
    plan.says("replace intervals of the table").says("due now: 3 runs");
    assert!(!days.table.join("_delta_log").exists(), "nobody made a table");
    let none = days.set("source.objectStore.storage.url", Value::from(ground.scratch.url("none")));
    ground.ask("doctor", &none).await.expect(65).says("failed  source:");
}

#[tokio::test]
async fn b8_a_file_that_comes_late_is_noticed_by_whoever_looks_and_loaded_when_asked_for() {
    let ground = Ground::new("bulk-files");
    let days = three_days(&ground);
    ground.run(&days).await.expect(0);
    let source = ground.call("verify", &days).argument("--source");
    ground.end(source, "verify").await.expect(0).says("3 intervals against the source");
    ground.ask("doctor", &days).await.expect(0).says("ok      files: those of the newest 3");

    ground.write(&format!("files/dt={}/late.csv", day(2)), "id,name\n22,late\n");
    let load = format!(
        "backfill -f FILE --reprocess All --from {}T00:00:00Z --to {}T00:00:00Z",
        day(2),
        day(1)
    );
    ground.run(&days).await.expect(0).says("nothing is due").says(&load);
    ground.ask("doctor", &days).await.expect(65).says("failed  files:").says(&load);
    ground.ask("verify", &days).await.expect(0);
    let source = ground.call("verify", &days).argument("--source");
    ground
        .end(source, "verify")
        .await
        .expect(2)
        .says("were added, changed or deleted after they were loaded");

    let again = ["--reprocess", "All"];
    ground.backfill(&days, (&day(2), &day(1)), &again).await.expect(0).says("3 rows in place of 2");
    let after = ground.run(&days).await.expect(0);
    assert!(!after.output.contains("backfill"), "{}", after.output);
    let source = ground.call("verify", &days).argument("--source");
    ground.end(source, "verify").await.expect(0);
}
