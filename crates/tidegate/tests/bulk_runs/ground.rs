//! A folder with secrets, calls of the binary on it, and what they left in the table.

use std::path::{Path, PathBuf};

use jiff::{Timestamp, ToSpan, Unit};
use serde_json::{Value, json};
use tidegate_testing::{Scratch, TidegateCommand, write_secret};

use crate::support::{Ended, Pipeline, Rows, call, end};

/// What one test stands on.
pub(crate) struct Ground {
    pub(crate) scratch: Scratch,
}

impl Ground {
    /// An empty folder.
    pub(crate) fn new(name: &str) -> Self {
        Self { scratch: Scratch::new(name).unwrap() }
    }

    /// A path in it.
    pub(crate) fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// Writes a file and the folders that it lies in.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.scratch.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// Writes one key of a secret.
    pub(crate) fn secret(&self, name: &str, key: &str, value: &str) {
        write_secret(&self.scratch.join("secrets"), name, &[(key, value)]).unwrap();
    }

    /// A subcommand on the pipeline, with the folder's secrets.
    pub(crate) fn call(&self, subcommand: &str, pipeline: &Pipeline) -> TidegateCommand {
        call(subcommand, pipeline)
            .argument("--secrets-dir")
            .argument(self.scratch.join("secrets"))
            .argument("--data-dir")
            .argument(self.scratch.join("data"))
    }

    /// A subcommand as a pod calls it, over the configuration in a file; its last word goes to the file
    /// `word`.
    pub(crate) fn pod(&self, subcommand: &str, config: &Path, word: &str) -> TidegateCommand {
        let word = self.scratch.join(word);
        TidegateCommand::new(subcommand)
            .unwrap()
            .argument("--config")
            .argument(config)
            .argument("--secrets-dir")
            .argument(self.scratch.join("secrets"))
            .environment("TIDEGATE_TERMINATION_LOG", word.to_str().unwrap())
    }

    /// What the last call of a pod left for whoever asks how it ended.
    pub(crate) fn last_word(&self, word: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.scratch.join(word)).unwrap()).unwrap()
    }

    /// A call to its end.
    pub(crate) async fn end(&self, command: TidegateCommand, name: &str) -> Ended {
        end(&self.scratch, command, name).await
    }

    /// `tidegate run --until-caught-up`.
    pub(crate) async fn run(&self, pipeline: &Pipeline) -> Ended {
        self.end(self.call("run", pipeline).argument("--until-caught-up"), "run").await
    }

    /// `tidegate plan`, `verify` or `doctor`.
    pub(crate) async fn ask(&self, subcommand: &str, pipeline: &Pipeline) -> Ended {
        self.end(self.call(subcommand, pipeline), subcommand).await
    }

    /// `tidegate backfill` with further arguments.
    pub(crate) async fn backfill(
        &self,
        pipeline: &Pipeline,
        (from, to): (&str, &str),
        further: &[&str],
    ) -> Ended {
        let call = self.call("backfill", pipeline).argument("--from").argument(from);
        let call = call.argument("--to").argument(to);
        self.end(further.iter().fold(call, |call, word| call.argument(word)), "backfill").await
    }

    /// What the table holds, column by column of this name, sorted.
    pub(crate) async fn numbers(&self, pipeline: &Pipeline, column: &str) -> Vec<i64> {
        let rows = Rows::of(&pipeline.table).await.unwrap();
        let mut numbers: Vec<_> = rows.column(column).iter().filter_map(Value::as_i64).collect();
        numbers.sort_unstable();
        numbers
    }
}

/// The beginning of the day so many days ago, UTC.
pub(crate) fn days_ago(days: i64) -> Timestamp {
    let today = Timestamp::now().in_tz("UTC").unwrap().start_of_day().unwrap();
    today.checked_sub(days.days()).unwrap().timestamp()
}

/// A day as the command line takes it.
pub(crate) fn day(days_ago_: i64) -> String {
    days_ago(days_ago_).in_tz("UTC").unwrap().date().to_string()
}

/// An instant within the day so many days ago.
pub(crate) fn within_day(days: i64, hour: i64) -> String {
    let at = days_ago(days).checked_add(hour.hours()).unwrap();
    at.round(Unit::Second).unwrap().to_string()
}

/// A pipeline that is never tried again: what fails is told at once.
pub(crate) fn at_once(pipeline: Pipeline) -> Pipeline {
    pipeline.set("bulk.runTemplate.retry.limit", json!(0))
}

/// Daily, from the given number of days ago on.
pub(crate) fn daily(pipeline: Pipeline, first: i64) -> Pipeline {
    at_once(pipeline)
        .set("bulk.schedule.cron", json!("0 0 * * *"))
        .set("bulk.schedule.startAt", json!(days_ago(first).to_string()))
        .set("sink.writeMode", json!("ReplaceInterval"))
}

/// The last three days, a file with one row each: the number of days ago.
pub(crate) fn three_days(ground: &Ground) -> Pipeline {
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

/// The configuration of a pipeline, as the operator would write it.
pub(crate) fn configuration(pipeline: &Pipeline) -> String {
    let resource = serde_json::from_str(&pipeline.text()).unwrap();
    let config = tidegate_resolve::resolve(&resource).unwrap().into_bulk().unwrap();
    serde_json::to_string(&config).unwrap()
}
