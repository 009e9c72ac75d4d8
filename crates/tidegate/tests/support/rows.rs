//! Every value of a table, as engines that we did not write see it: `tests/dump_rows.py`.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};
use tidegate_testing::{readers, workspace};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// A row; bytes are `0x…`, decimals and times are text.
pub(crate) type Row = Map<String, Value>;

/// What the table and the dead letters beside it hold, sorted by partition and sequence.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
pub(crate) struct Rows {
    pub(crate) rows: Vec<Row>,
    pub(crate) dead: Vec<Row>,
}

impl Rows {
    /// What deltalake and DuckDB see; it is an error when they do not see the same.
    pub(crate) async fn of(table: &Path) -> Result<Self> {
        let output = Command::new(readers::python())
            .arg(workspace().join("tests/dump_rows.py"))
            .arg(format!("file://{}", table.display()))
            .output()
            .await
            .context("run tests/dump_rows.py")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).context("read the answer of tests/dump_rows.py")
    }

    /// One column, from the first row to the last.
    pub(crate) fn column(&self, name: &str) -> Vec<Value> {
        self.rows.iter().map(|row| row.get(name).cloned().unwrap_or_default()).collect()
    }

    /// A column of text.
    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        self.column(name).iter().map(|value| value.as_str().unwrap_or("null").to_owned()).collect()
    }

    /// A column of the dead letters.
    pub(crate) fn dead_texts(&self, name: &str) -> Vec<String> {
        let text = |row: &Row| row[name].as_str().unwrap_or("null").to_owned();
        self.dead.iter().map(text).collect()
    }
}

/// The payload compressed by Arrow C++, with the codec `gzip` or `zstd`.
pub(crate) async fn compressed(codec: &str, payload: &[u8]) -> Result<Vec<u8>> {
    const SCRIPT: &str = "import sys, pyarrow as pa
sys.stdout.buffer.write(pa.compress(sys.stdin.buffer.read(), codec=sys.argv[1], asbytes=True))";
    let mut child = Command::new(readers::python())
        .args(["-c", SCRIPT, codec])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().context("the child has an input")?;
    input.write_all(payload).await?;
    drop(input);
    let output = child.wait_with_output().await?;
    ensure!(output.status.success(), "{codec} failed");
    Ok(output.stdout)
}
