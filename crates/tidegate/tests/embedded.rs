//! Whole runs with the embedded nats-server: publish, run, verify, signals.
#![allow(clippy::unwrap_used, reason = "the lint's exception for tests leaves their helpers out")]

#[path = "support/folder.rs"]
mod folder;

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use folder::{Folder, err, out};

const PIPELINE: &str = "
apiVersion: tidegate.dev/v1alpha1
kind: IngestionPipeline
metadata: {name: readings, namespace: lab}
spec:
  guarantee: ExactlyOnce
  source:
    type: JetStream
    jetStream:
      stream: READINGS
      subjects: [\"readings.>\"]
      duplicateWindow: 100ms
      partitioning: {type: Subject, partitions: 4, idSubjectStable: true}
  schema:
    fields:
      - {name: id, type: string, required: true}
      - {name: ts, type: timestamp, required: true}
      - {name: sensor, type: string}
      - {name: value, type: double}
  dedup: {key: {type: Header, header: Nats-Msg-Id}, window: 1h}
  deadLetter: {breaker: {maxPercent: 50, over: 5m}}
  sink:
    type: Delta
    storage: {url: \"file:./lake\"}
    flush: {maxInterval: 2s, idleAfter: 1s}
";
const PATIENCE: Duration = Duration::from_secs(30);

/// A `run` in the background; killed when the test is over, whatever its outcome.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Folder {
    fn new() -> Self {
        Self::with(PIPELINE)
    }

    fn tidegate(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("the binary runs");
        assert!(output.status.success(), "{arguments:?}: {}", shown(&output));
        out(&output)
    }

    /// Publishes so many events of a seed, without duplicates and poison.
    fn publish(&self, events: u32, seed: &str) -> String {
        let made = ["generate", "--events", &events.to_string(), "--seed", seed];
        let lines = self.command(&made).output().expect("the binary runs").stdout;
        self.publish_lines(&lines)
    }

    fn publish_lines(&self, lines: &[u8]) -> String {
        let arguments = ["publish", "-f", "p.yaml", "--subject", "readings.{sensor}"];
        let mut child = self
            .command(&[&arguments[..], &["--id-field", "id", "--input", "-"]].concat())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        child.stdin.take().expect("piped").write_all(lines).expect("it reads all");
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", shown(&output));
        out(&output)
    }

    /// A `run` that goes on until it is told to stop; returns when it is ready.
    fn run_in_background(&self) -> Running {
        let log = self.path().join("run.log");
        let child = self
            .command(&["run", "-f", "p.yaml"])
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).expect("writable"))
            .spawn()
            .expect("the binary runs");
        let running = Running(child);
        wait_until("every partition is claimed", || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            (text.matches("\"claimed\"").count() >= 4).then_some(())
        });
        running
    }
}

impl Running {
    fn signal(&self, name: &str) {
        let id = self.0.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().expect("kill runs");
        assert!(sent.success());
    }

    fn ended(mut self) -> (Option<i32>, String) {
        let status = wait_until("it ends", || self.0.try_wait().expect("it is our child"));
        let mut text = String::new();
        let mut out = self.0.stdout.take().expect("piped");
        std::io::Read::read_to_string(&mut out, &mut text).expect("text");
        (status.code(), text)
    }
}

fn wait_until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn shown(output: &Output) -> String {
    format!("{:?}\n{}\n{}", output.status, out(output), err(output))
}

#[test]
#[ignore = "needs nats-server; run by make test"]
fn what_was_published_is_a_verified_table() {
    let folder = Folder::new();
    let made = ["generate", "--events", "3000", "--seed", "5", "--poison", "2"];
    let generated = folder.command(&made).output().expect("the binary runs");
    let counts = err(&generated);
    let poison: u32 = counts
        .split(", ")
        .nth(2)
        .and_then(|part| part.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("{counts}"));
    folder.publish_lines(&generated.stdout);
    // Later than the broker's own window, so that the copies reach the table's.
    std::thread::sleep(Duration::from_millis(300));
    let again = folder.publish(500, "5");
    assert!(again.starts_with("published 500, stored 500"), "{again}");

    let summary = folder.tidegate(&["run", "-f", "p.yaml", "--until-caught-up", "--workers", "2"]);
    assert!(summary.contains("3,000 rows"), "{summary}");
    assert!(summary.contains(&format!("{poison} dead letters")), "{summary}");
    assert!(summary.contains("500 duplicates dropped"), "{summary}");
    let verified = folder.tidegate(&["verify", "-f", "p.yaml", "--source"]);
    assert!(verified.contains("ok: nothing is missing"), "{verified}");
    let again = folder.tidegate(&["run", "-f", "p.yaml", "--until-caught-up"]);
    assert!(again.contains("nothing new to read"), "{again}");
}

#[test]
#[ignore = "needs nats-server; run by make test"]
fn a_first_signal_drains_and_commits_what_was_published_through_the_shared_server() {
    let folder = Folder::new();
    let running = folder.run_in_background();
    let published = folder.publish(700, "3");
    assert!(published.starts_with("published 700, stored 700"), "{published}");
    running.signal("TERM");
    let (code, summary) = running.ended();
    assert_eq!(code, Some(0), "{summary}");
    // What was not fetched before the signal is not lost either.
    folder.tidegate(&["run", "-f", "p.yaml", "--until-caught-up"]);
    let verified = folder.tidegate(&["verify", "-f", "p.yaml", "--source"]);
    assert!(verified.contains("700 rows"), "{verified}");
}

#[test]
#[ignore = "needs nats-server; run by make test"]
fn a_second_signal_leaves_at_once_and_loses_nothing() {
    let folder = Folder::new();
    folder.publish(400, "4");
    let running = folder.run_in_background();
    let id = running.0.id().to_string();
    let log = folder.path().join("run.log");
    running.signal("INT");
    // Two pending signals of one kind are one, and a drain may be over before the second arrives.
    let _ = Command::new("kill").args(["-s", "TERM", &id]).stderr(Stdio::null()).status();
    let (code, _) = running.ended();
    let log = std::fs::read_to_string(log).unwrap_or_default();
    assert!(matches!(code, Some(130 | 0)), "{code:?}\n{log}");
    assert_eq!(code == Some(130), log.contains("leaving at once"), "{log}");
    folder.tidegate(&["run", "-f", "p.yaml", "--until-caught-up"]);
    let verified = folder.tidegate(&["verify", "-f", "p.yaml", "--source"]);
    assert!(verified.contains("400 rows"), "{verified}");
}

#[test]
#[ignore = "needs nats-server; run by make test"]
fn a_publisher_that_is_told_to_stop_does_not_say_that_all_is_published() {
    let folder = Folder::new();
    let arguments = ["publish", "-f", "p.yaml", "--subject", "readings.{sensor}", "--input", "-"];
    let mut publisher = Running(
        folder
            .command(&arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary runs"),
    );
    let mut input = publisher.0.stdin.take().expect("piped");
    input.write_all(b"{\"sensor\": \"a\"}\n").expect("it reads");
    // It listens for signals before it makes this folder; the end of its input never comes.
    wait_until("it has begun", || folder.path().join(".tidegate").exists().then_some(()));
    publisher.signal("TERM");
    let (code, summary) = publisher.ended();
    assert_eq!(code, Some(130), "{summary}");
    assert!(summary.starts_with("published "), "{summary}");
    drop(input);
}
