//! A session that holds a transaction open.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

const STATEMENT_LIMIT: Duration = Duration::from_secs(120);

/// A connection that stays; it ends, and its transaction with it, when the value goes away.
#[derive(Debug)]
pub struct PostgresSession {
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl PostgresSession {
    pub(super) fn open(mut psql: Command) -> Result<Self> {
        psql.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = psql.kill_on_drop(true).spawn().context("start psql")?;
        let input = child.stdin.take().context("psql's input")?;
        let output = BufReader::new(child.stdout.take().context("psql's output")?).lines();
        Ok(Self { input, output, _child: child })
    }

    /// Runs statements and waits until they are through; the lines of their answer.
    ///
    /// # Errors
    ///
    /// When the session has ended.
    pub async fn run(&mut self, statements: &str) -> Result<Vec<String>> {
        const THROUGH: &str = "-- through --";
        let text = format!("{statements};\n\\echo {THROUGH}\n");
        self.input.write_all(text.as_bytes()).await.context("write to psql")?;
        let mut answer = Vec::new();
        loop {
            let line = timeout(STATEMENT_LIMIT, self.output.next_line()).await;
            match line.context("psql does not answer")?.context("read from psql")? {
                Some(line) if line == THROUGH => return Ok(answer),
                Some(line) => answer.push(line),
                None => bail!("psql ended"),
            }
        }
    }
}
