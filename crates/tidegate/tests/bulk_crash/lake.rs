//! The table, in a folder or in a store that misbehaves, and attempts over it as Jobs make them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tidegate_runtime::Random;
use tidegate_testing::{
    ACCESS_KEY, SECRET_KEY, Scratch, TidegateCommand, TidegateProcess, readers, write_secret,
};
use tokio::process::Command;

use crate::source::Source;

/// The day whose hours are loaded.
const DAY: &str = "2026-01-01";

/// Far more attempts than a run needs in a store of which every fifth call fails.
const MOST_ATTEMPTS: u32 = 20;

/// What DuckDB sees: one pair a row, and an error when a row stands twice.
const SEEN: &str = "
import json, sys
sys.path.insert(0, sys.argv[1])
from read_table import Deltalake, DuckDB
def pairs(engine):
    table = engine.read(sys.argv[2], ['id', 'amount'])
    return sorted(zip(table['id'].to_pylist(), table['amount'].to_pylist()))
seen, other = pairs(DuckDB()), pairs(Deltalake())
if seen != other:
    sys.exit('DuckDB and deltalake do not see the same')
json.dump(seen, sys.stdout)
sys.stdout.flush()
import os
os._exit(0)
";

/// What a commit does to rows that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    ReplaceInterval,
    Overwrite,
}

/// Where the table lies.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) url: String,
    /// The endpoint of an S3 store: for attempts, and for those who look at what they did.
    pub(crate) endpoints: Option<(String, String)>,
}

/// A table.
pub(crate) struct Lake {
    scratch: Scratch,
    mode: Mode,
    place: Place,
    /// How long an attempt usually takes.
    usual: std::sync::Mutex<Duration>,
}

impl Lake {
    pub(crate) fn new(mode: Mode) -> Result<Self> {
        let scratch = Scratch::new("bulk-crash")?;
        let place = Place { url: scratch.url("table"), endpoints: None };
        Ok(Self { scratch, mode, place, usual: Duration::from_millis(500).into() })
    }

    /// The same with the table elsewhere.
    pub(crate) fn at(self, place: Place) -> Self {
        Self { place, ..self }
    }

    /// The address of a folder of this table's own.
    pub(crate) fn url_of(&self, folder: &str) -> String {
        self.scratch.url(folder)
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    pub(crate) fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// Writes configuration and secret.
    pub(crate) fn connect(&self, source: &Source) -> Result<()> {
        let secrets = self.scratch.join("secrets");
        write_secret(&secrets, "db", &[("uri", &source.url())])?;
        let keys = [("AWS_ACCESS_KEY_ID", ACCESS_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET_KEY)];
        write_secret(&secrets, "store", &keys)?;
        fs::write(self.config(), self.configuration().to_string())?;
        Ok(())
    }

    fn config(&self) -> PathBuf {
        self.scratch.join("config.json")
    }

    fn configuration(&self) -> Value {
        let incremental = json!({
            "cursorField": "at", "timeZone": null, "settle": "0s", "maxWait": "60s",
            "ignoreRoles": [], "onNullCursor": "Fail", "rerunLast": 0,
        });
        let (incremental, mode) = match self.mode {
            Mode::ReplaceInterval => (incremental, "ReplaceInterval"),
            Mode::Overwrite => (Value::Null, "Overwrite"),
        };
        let endpoint = self.place.endpoints.as_ref().map(|(attempts, _)| attempts);
        json!({
            "name": "shop/entries", "ledger": "shop.entries", "guarantee": "ExactlyOnce",
            "source": {"Postgres": {
                "connection": "db",
                "relation": {"Table": {"schema": "public", "name": "entries"}},
                "tls": {"mode": "Disable", "ca": null},
            }},
            "fields": null, "evolution": "AddColumns", "onError": "DeadLetter",
            "incremental": incremental,
            "chunking": {"field": "id", "targetRows": 100, "parallelism": 2},
            "placement": "InProcess",
            "schedule": null, "writeMode": mode, "allowShrink": false,
            "sink": {
                "url": self.place.url, "secret": endpoint.map(|_| "store"),
                "s3": {"endpoint": endpoint, "region": "us-east-1", "addressingStyle": "Path"},
                "delta": {"shared": false}, "partitionBy": [],
                "file": {"targetSize": "256Mi", "compression": "ZSTD", "maxOpenPartitions": 8},
                "flush": {"maxInterval": "60s", "maxRows": 1, "idleAfter": "1s"},
                "eventTime": null,
            },
        })
    }

    fn call(&self, hour: u32, run: &str) -> Result<TidegateCommand> {
        let interval = format!("{DAY}T{hour:02}:00:00Z/{DAY}T{:02}:00:00Z", hour + 1);
        let word = self.last_word(run);
        _ = fs::remove_file(&word);
        Ok(TidegateCommand::new("transfer")?
            .argument("--config")
            .argument(self.config())
            .argument("--secrets-dir")
            .argument(self.scratch.join("secrets"))
            .argument("--port")
            .argument("0")
            .argument("--trigger")
            .argument("Manual")
            .argument("--run")
            .argument(run)
            .argument("--interval")
            .argument(interval)
            .environment("TIDEGATE_TERMINATION_LOG", &word.display().to_string()))
    }

    /// An attempt, perhaps one that dies at a step.
    pub(crate) fn attempt(
        &self,
        hour: u32,
        run: &str,
        dies: Option<(&str, u32)>,
    ) -> Result<TidegateProcess> {
        let call = self.call(hour, run)?;
        let call = match dies {
            Some((step, time)) => call.die_at(step, time),
            None => call,
        };
        call.spawn(run, self.folder())
    }

    /// An attempt that freezes at a step.
    pub(crate) fn freeze(&self, hour: u32, run: &str, step: &str) -> Result<TidegateProcess> {
        self.call(hour, run)?.freeze_at(step, 1).spawn(&format!("{run}-frozen"), self.folder())
    }

    /// An attempt that ends well; what it says of itself.
    pub(crate) async fn attempt_to_end(
        &self,
        hour: u32,
        run: &str,
        limit: Duration,
    ) -> Result<Value> {
        let begun = Instant::now();
        let mut attempt = self.call(hour, run)?.spawn(&format!("{run}-last"), self.folder())?;
        let status = attempt.wait(limit).await?;
        ensure!(status.success(), "{status}\n{}", attempt.output());
        let report = self.report(run)?;
        if report["reason"] == "Ok" {
            *self.usual.lock().unwrap() = begun.elapsed();
        }
        Ok(report)
    }

    /// Attempts of a run until one ends well, each of the others being worth a retry; how many it took, and
    /// what the last one says of itself.
    pub(crate) async fn attempts_to_end(
        &self,
        hour: u32,
        run: &str,
        limit: Duration,
    ) -> Result<(u32, Value)> {
        for attempts in 1..=MOST_ATTEMPTS {
            let mut attempt =
                self.call(hour, run)?.spawn(&format!("{run}-{attempts}"), self.folder())?;
            let status = attempt.wait(limit).await?;
            if status.success() {
                return Ok((attempts, self.report(run)?));
            }
            ensure!(status.code() == Some(75), "{status}\n{}", attempt.output());
            // Two runs that took the interval from each other must get apart, as by a run's own pauses.
            let pause = Random::from_system().up_to(100 * attempts);
            tokio::time::sleep(Duration::from_millis(pause.into())).await;
        }
        anyhow::bail!("{run} did not end well in {MOST_ATTEMPTS} attempts")
    }

    /// What the last attempt of a run says of itself.
    pub(crate) fn report(&self, run: &str) -> Result<Value> {
        let word = fs::read(self.last_word(run)).context("read the last word")?;
        Ok(serde_json::from_slice(&word)?)
    }

    /// How long an attempt took the last time.
    pub(crate) fn usual(&self) -> Duration {
        *self.usual.lock().unwrap()
    }

    fn last_word(&self, run: &str) -> PathBuf {
        self.scratch.join(&format!("{run}.json"))
    }

    fn log_folder(&self) -> PathBuf {
        self.scratch.join("table/_delta_log")
    }

    /// Commits of runs in the log, counted without our own reader.
    pub(crate) fn run_commits(&self) -> Result<usize> {
        if !self.log_folder().exists() {
            return Ok(0);
        }
        let mut commits = 0;
        for entry in fs::read_dir(self.log_folder())? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "json") {
                let text = fs::read_to_string(&path)?;
                commits += usize::from(text.contains(r#""tidegate.kind":"run""#));
            }
        }
        Ok(commits)
    }

    /// Engines that we did not write must see exactly these rows, each once.
    pub(crate) async fn judge(&self, mut expected: Vec<(i64, i64)>) -> Result<()> {
        let mut ask = Command::new(readers::python());
        ask.args(["-c", SEEN])
            .arg(tidegate_testing::workspace().join("tests"))
            .arg(&self.place.url);
        if let Some((_, endpoint)) = &self.place.endpoints {
            ask.env("AWS_ENDPOINT_URL", endpoint)
                .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
                .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        }
        let output = ask.output().await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut seen: Vec<(i64, i64)> =
            serde_json::from_slice(&output.stdout).context("read what others see")?;
        seen.sort_unstable();
        expected.sort_unstable();
        if seen == expected {
            return Ok(());
        }
        let missing: Vec<_> = expected.iter().filter(|row| !seen.contains(row)).take(5).collect();
        let strange: Vec<_> = seen.iter().filter(|row| !expected.contains(row)).take(5).collect();
        anyhow::bail!(
            "{} rows are seen, {} expected; missing: {missing:?}, not expected: {strange:?}",
            seen.len(),
            expected.len()
        )
    }
}
