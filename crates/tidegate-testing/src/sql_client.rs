//! The command line clients of databases: statements in, lines out.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

const STATEMENT_LIMIT: Duration = Duration::from_secs(120);
/// What a session prints behind the answer to statements.
pub(crate) const DONE: &str = "-- done --";

/// Hands the statements to a client and gives what it prints; an error with its words when it fails.
pub(crate) async fn answer(client: Command, statements: &str) -> Result<String> {
    let mut child = start(client)?;
    let mut input = child.stdin.take().context("the client's input")?;
    let hand_over = async move {
        input.write_all(statements.as_bytes()).await?;
        input.shutdown().await
    };
    let both = async { tokio::join!(hand_over, child.wait_with_output()) };
    let answered = timeout(STATEMENT_LIMIT, both).await;
    let (written, output) = answered.with_context(|| format!("no answer: {statements}"))?;
    let output = output.context("wait for the client")?;
    let told = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{statements}: {told}");
    written.context("hand the statements over")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A connection that stays; it ends, and its transaction with it, when the value goes away.
#[derive(Debug)]
pub struct SqlSession {
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    child: Child,
    /// What makes this client print [`DONE`].
    mark: String,
}

impl SqlSession {
    /// A session of `client`, which prints [`DONE`] when it comes to the line `mark`.
    pub(crate) fn open(client: Command, mark: String) -> Result<Self> {
        let mut child = start(client)?;
        let input = child.stdin.take().context("the client's input")?;
        let output = BufReader::new(child.stdout.take().context("the client's output")?).lines();
        Ok(Self { input, output, child, mark })
    }

    /// Runs statements and waits until they are through; the lines of their answer.
    ///
    /// # Errors
    ///
    /// When the session has ended, as MariaDB's does at a statement that fails.
    pub async fn run(&mut self, statements: &str) -> Result<Vec<String>> {
        let text = format!("{statements};\n{}\n", self.mark);
        self.input.write_all(text.as_bytes()).await.context("hand the statements over")?;
        let mut answer = Vec::new();
        loop {
            let line = timeout(STATEMENT_LIMIT, self.output.next_line()).await;
            let line = line.with_context(|| format!("no answer: {statements}"))?;
            match line.context("read from the client")? {
                Some(line) if line == DONE => return Ok(answer),
                Some(line) => answer.push(line),
                None => bail!("{statements}: the session ended: {}", self.last_words().await?),
            }
        }
    }

    async fn last_words(&mut self) -> Result<String> {
        let mut told = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            stderr.read_to_string(&mut told).await.context("read what went wrong")?;
        }
        Ok(told)
    }
}

fn start(mut client: Command) -> Result<Child> {
    client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    client.spawn().context("start the client")
}
