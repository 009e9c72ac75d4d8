//! Engines that we did not write, asked what a table holds: `tests/read_table.py`.

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use tokio::process::Command;

use crate::paths::workspace;
use crate::s3::{ACCESS_KEY, SECRET_KEY};

/// An engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// delta-rs and Arrow C++.
    Deltalake,
    /// `DuckDB` with its delta extension.
    DuckDb,
    /// polars.
    Polars,
}

impl Engine {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Deltalake, Self::DuckDb, Self::Polars];

    fn as_str(self) -> &'static str {
        match self {
            Self::Deltalake => "deltalake",
            Self::DuckDb => "duckdb",
            Self::Polars => "polars",
        }
    }
}

/// Which table to read.
#[derive(Debug, Clone)]
pub struct Question {
    url: String,
    engines: Vec<Engine>,
    id_column: String,
    with_ids: bool,
    endpoint: Option<String>,
}

/// What one engine saw.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TableReading {
    /// The engine's name.
    pub engine: String,
    /// The table's version.
    pub version: u64,
    /// Live data files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The smallest one's bytes.
    pub smallest_file: u64,
    /// The largest one's bytes.
    pub largest_file: u64,
    /// The partition columns.
    pub partition_columns: Vec<String>,
    /// Rows.
    pub rows: u64,
    /// Every column, sorted.
    pub columns: Vec<String>,
    /// Different (`_tg_src`, `_tg_part`, `_tg_seq`, `_tg_idx`) (R1).
    pub distinct_identities: u64,
    /// Rows without an id; zero when the table has no id column.
    #[serde(default)]
    pub null_ids: u64,
    /// Different ids.
    #[serde(default)]
    pub distinct_ids: u64,
    /// SHA-256 over the sorted ids, joined by newlines.
    #[serde(default)]
    pub ids_digest: String,
    /// Every id, sorted, when they were asked for.
    #[serde(default)]
    pub ids: Vec<String>,
    /// The table beside the table.
    pub dead_letters: DeadLetterReading,
}

/// What one engine saw of the dead letters.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct DeadLetterReading {
    /// Dead letters.
    pub rows: u64,
    /// How many of each reason.
    pub reasons: BTreeMap<String, u64>,
    /// Different identities among them.
    pub distinct_identities: u64,
    /// SHA-256 of each payload, sorted.
    pub payload_digests: Vec<String>,
}

impl Question {
    /// A question about a `file://` or `s3://` table, to deltalake unless others are named.
    #[must_use]
    pub fn about(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            engines: vec![Engine::Deltalake],
            id_column: "id".to_owned(),
            with_ids: false,
            endpoint: None,
        }
    }

    /// Asks these engines.
    #[must_use]
    pub fn engines(mut self, engines: &[Engine]) -> Self {
        self.engines = engines.to_vec();
        self
    }

    /// The column with the ids; `id` by default.
    #[must_use]
    pub fn id_column(mut self, name: &str) -> Self {
        name.clone_into(&mut self.id_column);
        self
    }

    /// Wants every id listed.
    #[must_use]
    pub fn with_ids(mut self) -> Self {
        self.with_ids = true;
        self
    }

    /// Reads through this S3 endpoint, with the test server's keys.
    #[must_use]
    pub fn endpoint(mut self, endpoint: &str) -> Self {
        self.endpoint = Some(endpoint.to_owned());
        self
    }

    /// Asks. One answer per engine, none where there is no table.
    ///
    /// # Errors
    ///
    /// When the script fails; its complaint is in the message.
    pub async fn ask(&self) -> Result<Vec<Option<TableReading>>> {
        let output = self.command().output().await.context("run tests/read_table.py")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "tests/read_table.py {}: {complaint}", self.url);
        serde_json::from_slice(&output.stdout).context("read the answer of tests/read_table.py")
    }

    /// Asks, and wants a table there and all engines to see the same.
    ///
    /// # Errors
    ///
    /// When there is no table or two engines disagree.
    pub async fn agreed(&self) -> Result<TableReading> {
        let answers = self.ask().await?.into_iter().collect::<Option<Vec<_>>>();
        let answers = answers.with_context(|| format!("no table at {}", self.url))?;
        let (first, others) = answers.split_first().context("no engine was asked")?;
        for other in others {
            let renamed = TableReading { engine: first.engine.clone(), ..other.clone() };
            ensure!(renamed == *first, "{first:#?}\ndisagrees with {other:#?}");
        }
        Ok(first.clone())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(python());
        command.arg(workspace().join("tests/read_table.py")).arg(&self.url);
        command.args(["--id-column", &self.id_column]);
        for engine in &self.engines {
            command.args(["--engine", engine.as_str()]);
        }
        if self.with_ids {
            command.arg("--ids");
        }
        if let Some(endpoint) = &self.endpoint {
            command
                .env("AWS_ENDPOINT_URL", endpoint)
                .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
                .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        }
        command
    }
}

/// The interpreter with the readers: `TIDEGATE_PYTHON`, else that of `target/venv`.
#[must_use]
pub fn python() -> PathBuf {
    env::var_os("TIDEGATE_PYTHON")
        .map_or_else(|| workspace().join("target/venv/bin/python"), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scratch;

    const WRITE: &str = r#"
import sys, pyarrow as pa
from deltalake import write_deltalake
write_deltalake(sys.argv[1], pa.table({
    "_tg_src": ["a/1"] * 3, "_tg_part": pa.array([0] * 3, pa.int32()),
    "_tg_seq": pa.array([1, 2, 2], pa.int64()), "_tg_idx": pa.array([0] * 3, pa.int32()),
    "id": ["x", "y", "y"], "day": ["1", "1", "2"]}), partition_by=["day"])
write_deltalake(sys.argv[1] + "/_dead_letters", pa.table({
    "reason": ["Malformed"], "payload": [b"{"]}))
"#;

    async fn write_table(url: &str) {
        let written = Command::new(python()).args(["-c", WRITE, url]).status().await.unwrap();
        assert!(written.success());
    }

    #[tokio::test]
    #[ignore = "needs the Python readers; run by make test"]
    async fn every_engine_sees_a_doubled_row_and_the_dead_letters() {
        let scratch = Scratch::new("readers").unwrap();
        let url = scratch.url("table");
        write_table(&url).await;
        let seen = Question::about(&url).engines(&Engine::ALL).with_ids().agreed().await.unwrap();
        assert_eq!((seen.rows, seen.distinct_identities, seen.distinct_ids), (3, 2, 2));
        assert_eq!(seen.ids, ["x", "y", "y"]);
        assert_eq!((seen.files, seen.partition_columns), (2, vec!["day".to_owned()]));
        assert_eq!(seen.dead_letters.reasons, BTreeMap::from([("Malformed".to_owned(), 1)]));
    }

    #[tokio::test]
    #[ignore = "needs the Python readers; run by make test"]
    async fn a_folder_without_a_table_reads_as_nothing() {
        let scratch = Scratch::new("readers").unwrap();
        let question = Question::about(&scratch.url("nothing"));
        assert_eq!(question.ask().await.unwrap(), [None]);
        assert!(question.agreed().await.unwrap_err().to_string().starts_with("no table at"));
    }

    #[tokio::test]
    #[ignore = "needs seaweedfs and the Python readers; run by make test"]
    async fn a_table_on_s3_is_read_through_its_endpoint() {
        let scratch = Scratch::new("readers").unwrap();
        let server = crate::S3Server::start(scratch.path(), "lake").await.unwrap();
        let url = server.url("none");
        let question = Question::about(&url).engines(&Engine::ALL).endpoint(&server.endpoint());
        assert_eq!(question.ask().await.unwrap(), [None, None, None]);
    }
}
