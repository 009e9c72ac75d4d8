//! What lies outside the cluster: a broker, tables, and who looks at them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::Range;
use std::path::PathBuf;

use serde_json::{Value, json};
use tidegate_testing::readers::Question;
use tidegate_testing::{NatsServer, Scratch, TidegateCommand, eventually};

use super::LONG;
use super::document::Document;
use super::stage::Stage;

/// Everything goes away with it.
#[derive(Debug)]
pub(crate) struct World {
    namespace: String,
    pub(crate) nats: NatsServer,
    pub(crate) scratch: Scratch,
}

impl World {
    /// What belongs to the pipelines of a stage.
    pub(crate) async fn around(stage: &Stage) -> Self {
        let namespace = stage.namespace.name().to_owned();
        let scratch = Scratch::new(&namespace).unwrap();
        let nats = NatsServer::start(&scratch.join("nats")).await.unwrap();
        Self { namespace, nats, scratch }
    }

    /// A pipeline from the broker into a table of that name.
    pub(crate) fn document(&self, name: &str) -> Document {
        Document::new(name, &self.nats.url(), &self.scratch.url(name))
    }

    /// The folder of a table.
    pub(crate) fn table(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// Publishes `{"id": "<number>", "n": <number>}` for each number, with the id as `Nats-Msg-Id`.
    pub(crate) async fn publish(&self, document: &Document, numbers: Range<u64>) {
        self.publish_at(document, numbers, 1_000_000).await;
    }

    /// The same, so many a second.
    pub(crate) async fn publish_at(&self, document: &Document, numbers: Range<u64>, rate: u32) {
        let records = numbers.map(|number| json!({"id": number.to_string(), "n": number}));
        self.publish_records(document, records, rate).await;
    }

    /// Publishes JSON objects, whose field `id` is the `Nats-Msg-Id`, so many a second.
    pub(crate) async fn publish_records(
        &self,
        document: &Document,
        records: impl Iterator<Item = Value>,
        rate: u32,
    ) {
        let mut lines = String::new();
        records.for_each(|record| writeln!(lines, "{record}").unwrap());
        let input = tempfile::NamedTempFile::new_in(self.scratch.path()).unwrap();
        std::fs::write(input.path(), lines).unwrap();
        let said = self
            .call("publish", document, |command| {
                command
                    .argument("--subject")
                    .argument(format!("{}.{{id}}", document.name))
                    .argument("--id-field=id")
                    .argument(format!("--rate={rate}"))
                    .argument("--input")
                    .argument(input.path())
            })
            .await;
        assert!(said.contains("published"), "{said}");
    }

    /// Waits until the table holds exactly the numbers from 0, each once, in the eyes of an engine that
    /// is not ours.
    pub(crate) async fn until_rows(&self, document: &Document, count: u64) {
        self.until_rows_at(&self.scratch.url(&document.name), None, count).await;
    }

    /// The same of a table elsewhere.
    pub(crate) async fn until_rows_at(&self, url: &str, endpoint: Option<&str>, count: u64) {
        let mut seen = 0;
        let whole = eventually(&format!("{count} rows"), LONG, async || {
            seen = self.rows(url, endpoint).await;
            seen >= count
        })
        .await;
        whole.unwrap_or_else(|error| panic!("{error}: {seen} are there"));
        let reading = question(url, endpoint).with_ids().agreed().await.unwrap();
        let ids: BTreeSet<u64> = reading.ids.iter().map(|id| id.parse().unwrap()).collect();
        assert_eq!((reading.rows, ids), (count, (0..count).collect()));
    }

    /// How many rows a table holds; none when there is no table.
    pub(crate) async fn rows(&self, url: &str, endpoint: Option<&str>) -> u64 {
        let answers = question(url, endpoint).ask().await.unwrap_or_default();
        answers.into_iter().flatten().map(|reading| reading.rows).max().unwrap_or(0)
    }

    /// `tidegate verify --source` finds nothing wrong.
    pub(crate) async fn verify(&self, document: &Document) -> String {
        self.call("verify", document, |command| command.argument("--source")).await
    }

    /// A subcommand over the document, to its end.
    async fn call(
        &self,
        subcommand: &str,
        document: &Document,
        more: impl FnOnce(TidegateCommand) -> TidegateCommand,
    ) -> String {
        let file = self.scratch.join(&format!("{}.yaml", document.name));
        // The ledger's name begins with the namespace.
        let mut value = document.value().clone();
        value["metadata"]["namespace"] = json!(self.namespace);
        std::fs::write(&file, value.to_string()).unwrap();
        let command = TidegateCommand::new(subcommand).unwrap().argument("-f").argument(&file);
        // A folder a call: logs of one name are appended to.
        let logs = tempfile::tempdir_in(self.scratch.path()).unwrap().keep();
        let mut process = more(command).spawn(subcommand, &logs).unwrap();
        let status = process.wait(LONG).await.unwrap();
        assert!(status.success(), "{subcommand}: {status}\n{}", process.output());
        process.output()
    }
}

fn question(url: &str, endpoint: Option<&str>) -> Question {
    let question = Question::about(url);
    endpoint.map_or(question.clone(), |endpoint| question.endpoint(endpoint))
}
