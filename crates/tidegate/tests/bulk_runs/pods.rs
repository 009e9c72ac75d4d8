//! `tidegate transfer` and `tidegate calendar` as Jobs call them: a configuration, an exit code, a last
//! word.

use std::path::PathBuf;

use serde_json::{Value, json};
use tidegate_testing::{TidegateCommand, TidegateProcess};

use crate::ground::{Ground, configuration, day, days_ago, three_days};
use crate::support::{Ended, LONG, Pipeline};

/// The file for it.
const LAST_WORD: &str = "termination-log";

/// A pipeline over the files of each day, and its configuration as the operator would write it.
struct Pod {
    ground: Ground,
    config: PathBuf,
    pipeline: Pipeline,
}

impl Pod {
    fn new() -> Self {
        let ground = Ground::new("bulk-pods");
        let pipeline = three_days(&ground);
        let config = ground.write("config.json", configuration(&pipeline));
        Self { ground, config, pipeline }
    }

    fn call(&self, subcommand: &str) -> TidegateCommand {
        self.ground.pod(subcommand, &self.config, LAST_WORD)
    }

    /// `tidegate transfer` of the day so many days ago.
    fn transfer(&self, trigger: &str, run: &str, days: i64) -> TidegateCommand {
        let interval = format!("{}/{}", days_ago(days), days_ago(days - 1));
        self.call("transfer")
            .argument("--port")
            .argument("0")
            .argument("--trigger")
            .argument(trigger)
            .argument("--run")
            .argument(run)
            .argument("--interval")
            .argument(interval)
    }

    async fn end(&self, command: TidegateCommand) -> Ended {
        _ = std::fs::remove_file(self.ground.scratch.join(LAST_WORD));
        self.ground.end(command, "pod").await
    }

    /// What the last call left for whoever asks how it ended.
    fn report(&self) -> Value {
        self.ground.last_word(LAST_WORD)
    }

    fn spawn(&self, command: TidegateCommand, name: &str) -> TidegateProcess {
        command.spawn(name, self.ground.path()).unwrap()
    }
}

#[tokio::test]
async fn a_run_leaves_its_numbers_and_a_scheduled_one_is_never_made_twice() {
    let pod = Pod::new();
    pod.end(pod.transfer("Scheduled", "days-a", 2)).await.expect(0);
    let report = pod.report();
    assert_eq!(report["phase"], "Succeeded", "{report}");
    assert_eq!((&report["reason"], &report["generation"]), (&json!("Ok"), &json!(1)), "{report}");
    assert_eq!((&report["rowsCommitted"], &report["chunks"]), (&json!(1), &json!(1)), "{report}");

    pod.end(pod.transfer("Scheduled", "days-b", 2)).await.expect(0);
    let report = pod.report();
    assert_eq!(report["reason"], "AlreadyComplete", "{report}");
    pod.end(pod.transfer("Manual", "days-c", 2)).await.expect(0);
    let report = pod.report();
    assert_eq!((&report["reason"], &report["generation"]), (&json!("Ok"), &json!(2)), "{report}");
    assert_eq!(report["rowsReplaced"], 1, "{report}");
}

#[tokio::test]
async fn what_a_person_must_mend_ends_with_65_and_its_reason() {
    let pod = Pod::new();
    let crooked = pod.call("transfer").argument("--port").argument("0");
    let crooked =
        crooked.argument("--trigger").argument("Scheduled").argument("--run").argument("r");
    let interval = format!("{}/{}", days_ago(2), crate::ground::within_day(2, 5));
    pod.end(crooked.argument("--interval").argument(interval)).await.expect(65);
    let report = pod.report();
    assert_eq!(report["reason"], "IntervalNotAligned", "{report}");
    assert!(report["message"].as_str().unwrap().contains("the nearest that does"), "{report}");

    pod.ground.write("config.json", "{\"name\": 5}");
    pod.end(pod.transfer("Scheduled", "r", 2)).await.expect(65);
    assert_eq!(pod.report()["reason"], "InvalidConfiguration");
}

#[tokio::test]
async fn a_run_that_is_told_to_stop_gives_up_and_may_be_tried_again() {
    let pod = Pod::new();
    let frozen = pod.transfer("Scheduled", "days-a", 2).freeze_at("run.planned", 1);
    let mut process = pod.spawn(frozen, "frozen");
    process.stopped(LONG).await.unwrap();
    process.signal("TERM").await.unwrap();
    process.signal("CONT").await.unwrap();
    let ended = process.wait(LONG).await.unwrap();
    assert_eq!(ended.code(), Some(75), "{}", process.output());
    let report = pod.report();
    assert_eq!((&report["phase"], &report["reason"]), (&json!("Failed"), &json!("Interrupted")));

    pod.end(pod.transfer("Scheduled", "days-a", 2)).await.expect(0);
    assert_eq!(pod.report()["generation"], 2, "the first attempt's claim is passed over");
}

#[tokio::test]
async fn an_older_attempt_that_wakes_up_commits_nothing() {
    let pod = Pod::new();
    let frozen = pod.transfer("Scheduled", "days-a", 2).freeze_at("run.before_put", 1);
    let mut zombie = pod.spawn(frozen, "zombie");
    zombie.stopped(LONG).await.unwrap();
    // The file changes between the two attempts: the older one's row must not come back.
    pod.ground.write(&format!("files/{}.ndjson", day(2)), "{\"id\": 22}\n");
    pod.end(pod.transfer("Scheduled", "days-a", 2)).await.expect(0);
    zombie.signal("CONT").await.unwrap();
    let ended = zombie.wait(LONG).await.unwrap();
    assert_ne!(ended.code(), Some(0), "{}", zombie.output());
    assert_eq!(pod.report()["reason"], "GenerationLost", "{}", zombie.output());
    pod.end(pod.call("calendar")).await.expect(0);
    let done = format!("{}/{}", days_ago(2), days_ago(1));
    assert_eq!(pod.report()["done"], json!([done]));
    pod.ground.ask("verify", &pod.pipeline).await.expect(0);
}

#[tokio::test]
async fn the_calendar_is_what_the_log_holds_merged_and_cut_to_the_range() {
    let pod = Pod::new();
    let nothing = pod.end(pod.call("calendar")).await.expect(0);
    assert_eq!(nothing.stdout.trim(), r#"{"done":[]}"#);
    for days in [3, 2, 1] {
        pod.end(pod.transfer("Scheduled", &format!("r{days}"), days)).await.expect(0);
    }
    pod.end(pod.call("calendar")).await.expect(0);
    let all = format!("{}/{}", days_ago(3), days_ago(0));
    assert_eq!(pod.report()["done"], json!([all]));
    let range = format!("{}/{}", days_ago(3), days_ago(2));
    pod.end(pod.call("calendar").argument("--range").argument(&range)).await.expect(0);
    assert_eq!(pod.report()["done"], json!([range]));
}

#[tokio::test]
async fn b8_a_run_that_is_done_looks_back_at_the_files_of_others() {
    let pod = Pod::new();
    for days in [3, 2] {
        pod.end(pod.transfer("Backfill", &format!("r{days}"), days)).await.expect(0);
        assert_eq!(pod.report()["files"], Value::Null, "there are hundreds of such");
    }
    pod.end(pod.transfer("Scheduled", "days-a", 1)).await.expect(0);
    assert_eq!(pod.report()["files"]["stale"], 0, "{}", pod.report());

    pod.ground.write(&format!("files/{}.ndjson", day(2)), "{\"id\": 2}\n{\"id\": 22}\n");
    pod.end(pod.transfer("Scheduled", "days-b", 1)).await.expect(0);
    let report = pod.report();
    assert_eq!(
        (&report["reason"], &report["files"]["stale"]),
        (&json!("AlreadyComplete"), &json!(1))
    );
    let told = report["files"]["message"].as_str().unwrap();
    let stale = format!("files of {}/{} were added, changed or deleted", days_ago(2), days_ago(1));
    assert!(told.starts_with(&stale) && told.contains("trigger Manual"), "{told}");
    assert_eq!(report["version"], Value::Null, "nothing was loaded: {report}");

    pod.end(pod.transfer("Manual", "mend", 2)).await.expect(0);
    let report = pod.report();
    assert_eq!((&report["rowsCommitted"], &report["files"]["stale"]), (&json!(2), &json!(0)));
}
