//! Broker, store, pipeline and traffic of one test.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use object_store::local::LocalFileSystem;
use tidegate_source::{ConnectOptions, Connection};
use tidegate_testing::readers::Question;
use tidegate_testing::{
    ACCESS_KEY, NatsServer, Random, S3Server, SECRET_KEY, Scratch, TidegateCommand,
};
use tokio::time::Instant;

use crate::life::{Life, PARTITIONS};
use crate::table_log::TableLog;
use crate::traffic::Traffic;

/// The stream's name.
pub(crate) const STREAM: &str = "CRASH";
/// What lives are told by.
const LOGS: &str =
    "warn,tidegate=info,tidegate_worker=debug,tidegate_source=info,tidegate_table=info";
const LOOK: Duration = Duration::from_millis(10);

/// Where the table lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    Local,
    S3,
}

/// Everything that outlives the workers.
pub(crate) struct World {
    pub(crate) traffic: Traffic,
    pub(crate) log: TableLog,
    pub(crate) nats: NatsServer,
    pub(crate) connection: Connection,
    s3: Option<S3Server>,
    url: String,
    trimming: bool,
    lives: u32,
    scratch: Scratch,
}

impl World {
    pub(crate) async fn start(store: Store, random: &mut Random) -> Result<Self> {
        let scratch = Scratch::new("crash")?;
        let nats = NatsServer::start(&scratch.join("nats")).await?;
        let (s3, url, log) = match store {
            Store::Local => {
                let local = LocalFileSystem::new_with_prefix(scratch.path())?;
                (None, scratch.url("table"), TableLog::new(Arc::new(local), "table"))
            }
            Store::S3 => {
                let server = S3Server::start(&scratch.join("s3"), "lake").await?;
                let (url, log) = (server.url("table"), TableLog::new(server.store(None)?, "table"));
                (Some(server), url, log)
            }
        };
        fs::write(scratch.join("pipeline.yaml"), pipeline(&nats, s3.as_ref(), &url))?;
        let connection = Connection::connect(ConnectOptions {
            servers: vec![nats.url()],
            client_name: "publisher".to_owned(),
            ..ConnectOptions::default()
        })
        .await?;
        let mut world = Self {
            traffic: Traffic::start(connection.clone(), random.fork()),
            connection,
            log,
            nats,
            s3,
            url,
            trimming: false,
            lives: 0,
            scratch,
        };
        // Without the stream the publisher's messages go nowhere; it tries again until it is there.
        let mut first = world.live(|command| command)?;
        first.reach("committed", Duration::from_secs(60)).await?;
        first.kill().await?;
        Ok(world)
    }

    /// From now on workers remove committed messages from the stream.
    pub(crate) fn trim(&mut self) {
        self.trimming = true;
    }

    /// The table's address.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    fn command(&self, subcommand: &str) -> Result<TidegateCommand> {
        Ok(TidegateCommand::new(subcommand)?
            .argument("-f")
            .argument(self.pipeline())
            .environment("TIDEGATE_LOG", LOGS)
            .environment("AWS_ACCESS_KEY_ID", ACCESS_KEY)
            .environment("AWS_SECRET_ACCESS_KEY", SECRET_KEY))
    }

    fn pipeline(&self) -> PathBuf {
        self.scratch.join("pipeline.yaml")
    }

    /// Begins a worker's life.
    pub(crate) fn live(
        &mut self,
        change: impl FnOnce(TidegateCommand) -> TidegateCommand,
    ) -> Result<Life> {
        self.lives += 1;
        let command = self
            .command("run")?
            .argument("--data-dir")
            .argument(self.scratch.join("data"))
            .environment("TIDEGATE_KEEPER_HASTE", "60");
        let command = match self.trimming {
            true => command.set("source.jetStream.trim", "{keep: 1s}"),
            false => command,
        };
        let name = format!("worker-{:05}", self.lives);
        let process = change(command).spawn(&name, &self.scratch.join("lives"))?;
        Ok(Life::new(process))
    }

    pub(crate) fn question(&self) -> Question {
        let question = Question::about(&self.url);
        match &self.s3 {
            Some(server) => question.endpoint(&server.endpoint()),
            None => question,
        }
    }

    /// What `tidegate verify --source` says, and its exit code.
    pub(crate) async fn verify(&self, limit: Duration) -> Result<(Option<i32>, String)> {
        let name = format!("verify-{:05}", self.lives);
        let command = self.command("verify")?.argument("--source");
        let mut process = command.spawn(&name, &self.scratch.join("lives"))?;
        let status = process.wait(limit).await?;
        Ok((status.code(), process.output()))
    }

    /// Waits until floors moved beyond `before`.
    pub(crate) async fn moves_on_from(&mut self, before: i64, limit: Duration) -> Result<()> {
        let started = Instant::now();
        while self.log.refresh().await?.progress() <= before {
            ensure!(started.elapsed() < limit, "no floor moved within {limit:?}");
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Waits until the broker has nothing that the table's log does not count. Traffic must pause.
    pub(crate) async fn caught_up(&mut self, limit: Duration) -> Result<()> {
        let last = tidegate_source::leader_last_sequence(&self.connection, STREAM).await?;
        let all = i64::try_from(last).context("a sequence")?;
        let started = Instant::now();
        while self.log.refresh().await?.sum("in") < all {
            ensure!(started.elapsed() < limit, "{} of {all} messages", self.log.sum("in"));
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Ends the traffic and tells its faults.
    pub(crate) async fn end(self) -> Result<()> {
        self.traffic.end().await
    }
}

fn pipeline(nats: &NatsServer, s3: Option<&S3Server>, url: &str) -> String {
    let access = s3.map(|server| {
        let endpoint = server.endpoint();
        format!("s3: {{endpoint: \"{endpoint}\", addressingStyle: Path, region: us-east-1}}")
    });
    let (servers, access) = (nats.url(), access.unwrap_or_default());
    format!(
        r#"
apiVersion: tidegate.dev/v1alpha1
kind: IngestionPipeline
metadata: {{name: crash}}
spec:
  guarantee: ExactlyOnce
  source:
    type: JetStream
    jetStream:
      servers: ["{servers}"]
      stream: {STREAM}
      subjects: ["crash.>"]
      partitioning: {{type: Subject, partitions: {PARTITIONS}, idSubjectStable: true}}
      duplicateWindow: 100ms
  schema:
    fields:
      - {{name: id, type: string, required: true}}
      - {{name: device, type: string}}
      - {{name: value, type: long, required: true}}
  dedup: {{key: {{type: Header, header: Nats-Msg-Id}}, window: 1h}}
  sink:
    storage:
      url: "{url}"
      {access}
    flush: {{maxInterval: 200ms}}
"#
    )
}
