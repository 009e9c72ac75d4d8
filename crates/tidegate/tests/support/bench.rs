//! A broker, a folder, and calls of the binary.

use std::path::Path;
use std::time::Duration;

use tidegate_testing::{NatsServer, Scratch, TidegateCommand, TidegateProcess};

use super::broker::{Broker, Outgoing};
use super::pipeline::Pipeline;

/// Longer than anything takes on a loaded machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// What one test stands on. Everything goes away with it, the processes first.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) broker: Broker,
    pub(crate) nats: NatsServer,
    pub(crate) scratch: Scratch,
}

/// A call of the binary that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    /// Standard output, then standard error.
    pub(crate) output: String,
}

impl Ended {
    /// Panics with the output unless it ended so.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.output);
        self
    }

    /// Panics with the output unless it says so.
    #[track_caller]
    pub(crate) fn says(&self, text: &str) -> &Self {
        assert!(self.output.contains(text), "not said: {text:?} in\n{}", self.output);
        self
    }
}

impl Bench {
    /// A folder and a broker.
    pub(crate) async fn start(name: &str) -> Self {
        let scratch = Scratch::new(name).unwrap();
        let nats = NatsServer::start(&scratch.join("nats")).await.unwrap();
        let broker = Broker::connect(&nats.url()).await.unwrap();
        Self { broker, nats, scratch }
    }

    /// A pipeline of this bench whose stream is there.
    pub(crate) async fn pipeline(&self, name: &str) -> Pipeline {
        let pipeline = Pipeline::new(name, &self.nats.url(), self.scratch.path());
        self.create_stream(&pipeline).await;
        pipeline
    }

    /// Makes the stream as the pipeline wants it.
    pub(crate) async fn create_stream(&self, pipeline: &Pipeline) {
        let nothing = self.scratch.join("nothing");
        std::fs::write(&nothing, "").unwrap();
        let publish = call("publish", pipeline)
            .argument("--subject")
            .argument(pipeline.subject("x"))
            .argument("--input")
            .argument(&nothing);
        self.end(publish, "publish").await.expect(0);
    }

    /// Publishes records whose header `Event-Id` is the id; the sequences.
    pub(crate) async fn publish(&mut self, subject: &str, records: &[(&str, &str)]) -> Vec<u64> {
        let messages: Vec<_> = records
            .iter()
            .map(|(id, text)| Outgoing::new(subject, *text).header("Event-Id", id))
            .collect();
        self.broker.publish(&messages).await.unwrap()
    }

    /// Publishes `{"id": "<id>", "n": <number>}` for each id, the number counting from 0.
    pub(crate) async fn publish_ids(&mut self, subject: &str, ids: &[&str]) -> Vec<u64> {
        let records: Vec<_> = ids
            .iter()
            .enumerate()
            .map(|(n, id)| (*id, format!("{{\"id\": \"{id}\", \"n\": {n}}}")))
            .collect();
        let records: Vec<_> = records.iter().map(|(id, text)| (*id, text.as_str())).collect();
        self.publish(subject, &records).await
    }

    /// `tidegate run` in the background.
    pub(crate) fn spawn_run(&self, pipeline: &Pipeline, name: &str) -> TidegateProcess {
        self.run_command(pipeline).spawn(name, self.scratch.path()).unwrap()
    }

    /// `tidegate run` to be completed.
    pub(crate) fn run_command(&self, pipeline: &Pipeline) -> TidegateCommand {
        call("run", pipeline).argument("--data-dir").argument(self.scratch.join("data"))
    }

    /// `tidegate run --until-caught-up` to its end.
    pub(crate) async fn catch_up(&self, pipeline: &Pipeline) -> Ended {
        let run = self.run_command(pipeline).argument("--until-caught-up");
        self.end(run, &format!("run-{}", pipeline.name)).await
    }

    /// `tidegate verify --source`.
    pub(crate) async fn verify(&self, pipeline: &Pipeline) -> Ended {
        self.end(call("verify", pipeline).argument("--source"), "verify").await
    }

    /// A call to its end; only what this call wrote is in the answer.
    pub(crate) async fn end(&self, command: TidegateCommand, name: &str) -> Ended {
        end(&self.scratch, command, name).await
    }
}

/// A call to its end; only what this call wrote is in the answer.
pub(crate) async fn end(scratch: &Scratch, command: TidegateCommand, name: &str) -> Ended {
    // A folder a call: logs of one name are appended to.
    let logs = tempfile::Builder::new().prefix(name).tempdir_in(scratch.path()).unwrap();
    let mut process = command.spawn(name, logs.path()).unwrap();
    let code = process.wait(LONG).await.unwrap().code();
    let ended = Ended { code, stdout: process.stdout(), output: process.output() };
    // Kept for a look when the test fails.
    let _ = logs.keep();
    ended
}

/// A subcommand with the pipeline's file.
pub(crate) fn call(subcommand: &str, pipeline: &Pipeline) -> TidegateCommand {
    TidegateCommand::new(subcommand).unwrap().argument("-f").argument(pipeline.write())
}

/// The text of every commit of a table, oldest first.
pub(crate) fn commits(table: &Path) -> Vec<String> {
    let mut paths: Vec<_> = std::fs::read_dir(table.join("_delta_log"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    paths.sort();
    paths.into_iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
}
