//! A pipeline of one test, and its file.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tidegate_testing::Document;

/// A pipeline over one stream into one table; what a test does not say is short and small.
#[derive(Debug, Clone)]
pub(crate) struct Pipeline {
    pub(crate) name: String,
    pub(crate) table: PathBuf,
    folder: PathBuf,
    document: Document,
}

impl Pipeline {
    /// Reads a stream of `server` into a table of that name in `folder`; see [`Document::streamed`]. Its
    /// dedup key is the header `Event-Id`, which the broker does not look at.
    pub(crate) fn new(name: &str, server: &str, folder: &Path) -> Self {
        let table = folder.join(name);
        let document = Document::streamed(name, server, &url(&table), "Event-Id");
        Self { name: name.to_owned(), table, folder: folder.to_path_buf(), document }
    }

    /// Reads stored rows of `source`, a union member such as `{"type": "Postgres", "postgres": …}`, into a
    /// table of that name in `folder`; whole, and in place of what was there.
    pub(crate) fn bulk(name: &str, source: &Value, folder: &Path) -> Self {
        let table = folder.join(name);
        let sink = json!({"storage": {"url": url(&table)}, "writeMode": "Overwrite"});
        let document = Document::pipeline(name, &json!({"source": source, "sink": sink}));
        Self { name: name.to_owned(), table, folder: folder.to_path_buf(), document }
    }

    /// The document as text.
    pub(crate) fn text(&self) -> String {
        self.document.value().to_string()
    }

    /// Sets the field at a path below `spec`, such as `sink.flush.maxRows`; `null` removes it.
    pub(crate) fn set(self, path: &str, value: Value) -> Self {
        Self { document: self.document.set(path, value), ..self }
    }

    /// Declares these columns: (name, type), none of them required.
    pub(crate) fn columns(self, columns: &[(&str, &str)]) -> Self {
        let field = |(name, data_type): &(&str, &str)| json!({"name": name, "type": data_type});
        let fields: Vec<Value> = columns.iter().map(field).collect();
        self.set("schema.fields", json!(fields))
    }

    /// Writes into a table of its own, beside the one of the first.
    pub(crate) fn into_table(mut self, name: &str) -> Self {
        self.table = self.folder.join(name);
        let url = self.url();
        self.set("sink.storage.url", json!(url))
    }

    /// Another pipeline, and with it another ledger, on the same stream.
    pub(crate) fn renamed(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self.document = self.document.renamed(name);
        self.into_table(name)
    }

    /// The table's address.
    pub(crate) fn url(&self) -> String {
        url(&self.table)
    }

    /// A subject of the stream.
    pub(crate) fn subject(&self, rest: &str) -> String {
        let subjects = self.document.field("source.jetStream.subjects");
        subjects[0].as_str().expect("a pipeline has subjects").replace('>', rest)
    }

    /// Writes the document; JSON is YAML.
    pub(crate) fn write(&self) -> PathBuf {
        let path = self.folder.join(format!("{}.yaml", self.name));
        // Another process may be reading it at this moment.
        let fresh =
            tempfile::NamedTempFile::new_in(&self.folder).expect("a scratch folder is writable");
        std::fs::write(fresh.path(), self.text()).expect("a scratch folder is writable");
        fresh.persist(&path).expect("a scratch folder is writable");
        path
    }
}

fn url(table: &Path) -> String {
    format!("file://{}", table.display())
}
