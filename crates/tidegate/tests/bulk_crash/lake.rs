//! The table, and attempts over it as Jobs make them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tidegate_testing::{Scratch, TidegateCommand, TidegateProcess, readers};
use tokio::process::Command;

use crate::source::Source;

/// The day whose hours are loaded.
const DAY: &str = "2026-01-01";

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

/// A table in a folder.
pub(crate) struct Lake {
    scratch: Scratch,
    mode: Mode,
    /// How long an attempt usually takes.
    usual: std::sync::Mutex<Duration>,
}

impl Lake {
    pub(crate) fn new(mode: Mode) -> Result<Self> {
        let scratch = Scratch::new("bulk-crash")?;
        Ok(Self { scratch, mode, usual: Duration::from_millis(500).into() })
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    pub(crate) fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// Writes configuration and secret.
    pub(crate) fn connect(&self, source: &Source) -> Result<()> {
        let secret = self.scratch.join("secrets/db");
        fs::create_dir_all(&secret)?;
        fs::write(secret.join("uri"), source.url())?;
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
            "schedule": null, "writeMode": mode, "allowShrink": false,
            "sink": {
                "url": self.table_url(), "secret": null,
                "s3": {"endpoint": null, "region": null, "addressingStyle": "Virtual"},
                "delta": {"shared": false}, "partitionBy": [],
                "file": {"targetSize": "256Mi", "compression": "ZSTD", "maxOpenPartitions": 8},
                "flush": {"maxInterval": "60s", "maxRows": 1, "idleAfter": "1s"},
                "eventTime": null,
            },
        })
    }

    fn table_url(&self) -> String {
        self.scratch.url("table")
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
        let report: Value = serde_json::from_slice(&fs::read(self.last_word(run))?)?;
        if report["reason"] == "Ok" {
            *self.usual.lock().unwrap() = begun.elapsed();
        }
        Ok(report)
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
        let output = Command::new(readers::python())
            .args(["-c", SEEN])
            .arg(tidegate_testing::workspace().join("tests"))
            .arg(self.table_url())
            .output()
            .await?;
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
