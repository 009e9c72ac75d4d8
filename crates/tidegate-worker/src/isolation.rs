//! A message that stands alone because its partition kills workers is tried in a process of its own
//! before the worker decodes it (S8).
//!
//! Only the death of that process condemns the message, and only when it dies twice in a row: a signal
//! from elsewhere is no verdict. How much memory and CPU time it may take follows from the
//! configuration and not from the machine, so that the verdict depends on the message alone (S7). Wall
//! time decides nothing. The process is in a process group of its own: an interrupt typed on a terminal
//! reaches the worker, which drains, and not the message.

use std::ffi::OsString;
use std::io::BufRead;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};
use tidegate_config::PipelineConfig;
use tidegate_runtime::RunError;
use tidegate_types::{Message, Reason, StreamTime};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};
use tracing::warn;

use crate::setup;

/// The hidden subcommand that runs [`decode_probe`].
const SUBCOMMAND: &str = "decode-probe";
/// Address space of the process: the program itself and what a decoder holds beside the message …
const ROOM: u64 = 1 << 30;
/// … and this much for each byte that a payload may have. A value of two bytes fills at most eight in a
/// column, which is copied once as it grows.
const ROOM_PER_BYTE: u64 = 16;
/// Decoding 256 MiB takes two or three.
const CPU_SECONDS: u32 = 10;
/// When nothing comes of it in this time, the machine is at fault.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much of its complaint is kept for the log.
const COMPLAINT: u64 = 2_048;
/// The exit code of a Rust program that panicked.
const PANICKED: i32 = 101;
/// What the process of the subcommand limits itself to before it reads anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeLimits {
    /// Bytes of address space.
    pub address_space: u64,
    /// Seconds of CPU time.
    pub cpu_seconds: u32,
}

impl ProbeLimits {
    /// Limits this process, for good. No core is dumped: it would hold the message.
    fn take_effect(self) -> std::io::Result<()> {
        for (resource, most) in [
            (Resource::Core, 0),
            (Resource::As, self.address_space),
            (Resource::Cpu, u64::from(self.cpu_seconds)),
        ] {
            setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
        }
        Ok(())
    }

    /// As the arguments of the subcommand.
    fn arguments(self) -> [OsString; 4] {
        [
            "--address-space".into(),
            self.address_space.to_string().into(),
            "--cpu-seconds".into(),
            self.cpu_seconds.to_string().into(),
        ]
    }
}

/// Tries messages out.
pub(crate) struct Isolation {
    command: Vec<OsString>,
    /// One line of JSON.
    config: Vec<u8>,
    limits: ProbeLimits,
}

/// What the process is told about a message, behind the line with the configuration.
#[derive(Serialize, Deserialize)]
struct Head {
    sequence: u64,
    time: i64,
    subject: Box<str>,
    id: Option<Vec<u8>>,
    payload_length: usize,
}

/// How one try ended.
enum Trial {
    Survived,
    Died { how: String, complaint: String },
}

impl Isolation {
    /// Tries messages of this pipeline in processes of `program`.
    pub(crate) fn new(program: PathBuf, config: &PipelineConfig) -> Result<Self, RunError> {
        let mut line = serde_json::to_vec(config).map_err(|source| {
            let what = "the configuration cannot be handed to another process";
            RunError::permanent(Reason::InvalidConfiguration, what).because(source)
        })?;
        line.push(b'\n');
        Ok(Self {
            command: vec![program.into(), SUBCOMMAND.into()],
            config: line,
            limits: ProbeLimits {
                address_space: ROOM + ROOM_PER_BYTE * config.decode.max_bytes.0,
                cpu_seconds: CPU_SECONDS,
            },
        })
    }

    /// How the decoder died of the message; `None` when the worker may decode it.
    ///
    /// # Errors
    ///
    /// When it could not be tried, which says nothing about the message.
    pub(crate) async fn try_out(&self, message: &Message) -> Result<Option<String>, RunError> {
        for last in [false, true] {
            let Trial::Died { how, complaint } = self.try_once(message).await? else { break };
            let sequence = message.sequence;
            warn!(sequence, how, complaint, reason = %Reason::CrashedDecoder, "the decoder died");
            if last {
                return Ok(Some(format!("the decoder, in a process of its own, {how}")));
            }
        }
        Ok(None)
    }

    async fn try_once(&self, message: &Message) -> Result<Trial, RunError> {
        let untried = || {
            let what = "a message could not be tried in a process of its own";
            RunError::transient(Reason::ResourceExhausted, what)
        };
        let mut child = self.spawn().map_err(|source| untried().because(source))?;
        let tried = tokio::time::timeout(PATIENCE, self.attend(&mut child, message)).await;
        let (status, complaint) = tried
            .map_err(|late| untried().because(late))?
            .map_err(|source| untried().because(source))?;
        match how_it_died(status) {
            Some(how) => Ok(Trial::Died { how, complaint }),
            None if status.success() => Ok(Trial::Survived),
            None => Err(untried().because(format!("{status}: {complaint}"))),
        }
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let (program, rest) = self.command.split_first().unzip();
        Command::new(program.cloned().unwrap_or_default())
            .args(rest.unwrap_or_default())
            .args(self.limits.arguments())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    async fn attend(
        &self,
        child: &mut Child,
        message: &Message,
    ) -> std::io::Result<(ExitStatus, String)> {
        let (input, complaint) = (child.stdin.take(), child.stderr.take());
        let (fed, complaint, status) =
            tokio::join!(self.feed(input, message), hear(complaint), child.wait());
        // A process that dies leaves its input unread; its end says it all.
        drop(fed);
        Ok((status?, complaint))
    }

    async fn feed(&self, input: Option<ChildStdin>, message: &Message) -> std::io::Result<()> {
        let Some(mut input) = input else { return Ok(()) };
        let head = Head {
            sequence: message.sequence,
            time: message.time.0,
            subject: message.subject.clone(),
            id: message.id.as_ref().map(|id| id.to_vec()),
            payload_length: message.payload.len(),
        };
        let mut head = serde_json::to_vec(&head)?;
        head.push(b'\n');
        input.write_all(&self.config).await?;
        input.write_all(&head).await?;
        input.write_all(&message.payload).await?;
        input.shutdown().await
    }
}

/// Reads everything and keeps the beginning.
async fn hear(voice: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut voice) = voice else { return String::new() };
    let mut said = Vec::new();
    // What cannot be read is not worth a failure: it is only for the log.
    let _ = (&mut voice).take(COMPLAINT).read_to_end(&mut said).await;
    let _ = tokio::io::copy(&mut voice, &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&said).trim().to_owned()
}

/// `None` when the process ended by its own decision.
fn how_it_died(status: ExitStatus) -> Option<String> {
    match (status.signal(), status.code()) {
        (Some(signal), _) => Some(format!("was ended by signal {signal}")),
        (None, Some(PANICKED)) => Some("panicked".to_owned()),
        _ => None,
    }
}

/// The other side, to be called before there are threads: judges one message as a worker would, all but the window, and forgets the verdict.
/// Coming to an end is the answer.
///
/// # Errors
///
/// When the limits cannot be set, or the input is not what a worker writes.
pub fn decode_probe(limits: ProbeLimits, mut input: impl BufRead) -> Result<(), RunError> {
    limits.take_effect().map_err(|source| {
        let what = "the process could not limit itself";
        RunError::transient(Reason::ResourceExhausted, what).because(source)
    })?;
    let bad = |source: std::io::Error| {
        RunError::transient(Reason::InvalidConfiguration, "the input is not a worker's")
            .because(source)
    };
    let mut line = String::new();
    input.read_line(&mut line).map_err(bad)?;
    let config: PipelineConfig = serde_json::from_str(&line).map_err(|e| bad(e.into()))?;
    line.clear();
    input.read_line(&mut line).map_err(bad)?;
    let head: Head = serde_json::from_str(&line).map_err(|e| bad(e.into()))?;
    let mut payload = Vec::new();
    input.read_to_end(&mut payload).map_err(bad)?;
    if payload.len() != head.payload_length {
        return Err(bad(std::io::ErrorKind::UnexpectedEof.into()));
    }
    let message = Message {
        sequence: head.sequence,
        time: StreamTime(head.time),
        subject: head.subject,
        payload: payload.into(),
        id: head.id.map(Into::into),
    };
    let (decoder, filter, router, _) = setup::compile(&config)?;
    let mut judge = setup::judge(&config, (decoder, filter, router), 0)?;
    // A failure of the judge is for the worker to meet.
    let _ = judge.judge(&[message], None);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a shell script in place of the program.
    fn isolation(script: &str) -> Isolation {
        Isolation {
            command: ["sh", "-c", script].map(Into::into).into(),
            config: b"{}\n".to_vec(),
            limits: ProbeLimits { address_space: 3 << 30, cpu_seconds: 1 },
        }
    }

    async fn outcome(script: &str) -> Result<Option<String>, RunError> {
        let message = Message {
            sequence: 1,
            time: StreamTime(0),
            subject: "s".into(),
            payload: vec![b'x'; 1 << 20].into(),
            id: None,
        };
        isolation(script).try_out(&message).await
    }

    #[tokio::test]
    async fn s8_only_a_death_condemns_the_message() {
        for (script, signal) in [
            ("kill -ABRT $$", "signal 6"),
            ("cat > /dev/null; kill -SEGV $$", "signal 11"),
            ("exit 101", "panicked"),
            // "$3" of what is handed over: `sh -c` takes the first for its own name.
            ("ulimit -t $3; while :; do :; done", "signal"),
        ] {
            let how = outcome(script).await.expect(script).expect(script);
            assert!(how.contains(signal), "{script}: {how}");
        }
        assert_eq!(outcome("cat > /dev/null").await.expect("tried"), None);
        assert_eq!(outcome("exit 0").await.expect("tried"), None);
        for script in ["exit 1", "exit 65", "exec /nowhere/tidegate", "echo complaint >&2; exit 75"]
        {
            let error = outcome(script).await.expect_err(script);
            assert!(error.is_transient(), "{script}: a restart may help");
        }
    }

    #[tokio::test]
    async fn s8_a_process_that_dies_once_condemns_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let mark = folder.path().join("mark");
        let script = format!("[ -e {0} ] || {{ : > {0}; kill -KILL $$; }}", mark.display());
        assert_eq!(outcome(&script).await.expect("tried"), None);
        assert!(mark.exists(), "it died the first time");
    }

    #[tokio::test]
    async fn s8_the_process_is_told_its_limits_and_has_a_group_of_its_own() {
        let survives = |condition: &str| format!("{condition} || kill -KILL $$");
        let group = "read -r pid name state parent group rest < /proc/$$/stat; [ \"$group\" = $$ ]";
        for condition in [
            "[ \"$0 $1\" = '--address-space 3221225472' ]",
            "[ \"$2 $3\" = '--cpu-seconds 1' ]",
            group,
        ] {
            assert_eq!(outcome(&survives(condition)).await.expect("tried"), None, "{condition}");
        }
    }
}
