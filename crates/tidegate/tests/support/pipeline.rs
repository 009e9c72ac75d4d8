//! A pipeline's document, put together field by field.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// A pipeline over one stream into one table; what a test does not say is short and small.
#[derive(Debug, Clone)]
pub(crate) struct Pipeline {
    pub(crate) name: String,
    pub(crate) table: PathBuf,
    folder: PathBuf,
    document: Value,
}

impl Pipeline {
    /// Reads the stream `<NAME>` with the subjects `<name>.>` of `server` into a table of that name in
    /// `folder`. Its columns are `id: string, required` and `n: long`, its dedup key is the header
    /// `Event-Id`, which the broker does not look at.
    pub(crate) fn new(name: &str, server: &str, folder: &Path) -> Self {
        let table = folder.join(name);
        let document = json!({
            "apiVersion": "tidegate.dev/v1alpha1",
            "kind": "IngestionPipeline",
            "metadata": {"name": name},
            "spec": {
                "source": {"type": "JetStream", "jetStream": {
                    "servers": [server],
                    "stream": name.to_uppercase(),
                    "subjects": [format!("{name}.>")],
                }},
                "schema": {"fields": [
                    {"name": "id", "type": "string", "required": true},
                    {"name": "n", "type": "long"},
                ]},
                "dedup": {"key": {"type": "Header", "header": "Event-Id"}, "window": "1h"},
                "sink": {
                    "storage": {"url": format!("file://{}", table.display())},
                    "flush": {"maxInterval": "1s"},
                },
            },
        });
        Self { name: name.to_owned(), table, folder: folder.to_path_buf(), document }
    }

    /// Reads stored rows of `source`, a union member such as `{"type": "Postgres", "postgres": …}`, into a
    /// table of that name in `folder`; whole, and in place of what was there.
    pub(crate) fn bulk(name: &str, source: &Value, folder: &Path) -> Self {
        let table = folder.join(name);
        let document = json!({
            "apiVersion": "tidegate.dev/v1alpha1",
            "kind": "IngestionPipeline",
            "metadata": {"name": name},
            "spec": {
                "source": source,
                "sink": {
                    "storage": {"url": format!("file://{}", table.display())},
                    "writeMode": "Overwrite",
                },
            },
        });
        Self { name: name.to_owned(), table, folder: folder.to_path_buf(), document }
    }

    /// The document as text.
    pub(crate) fn text(&self) -> String {
        self.document.to_string()
    }

    /// Sets the field at a path below `spec`, such as `sink.flush.maxRows`; `null` removes it.
    pub(crate) fn set(mut self, path: &str, value: Value) -> Self {
        let mut place = &mut self.document["spec"];
        for step in path.split('.') {
            place = &mut place[step];
        }
        *place = value;
        remove_nulls(&mut self.document);
        self
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
        self.document["metadata"]["name"] = json!(name);
        self.into_table(name)
    }

    /// The table's address.
    pub(crate) fn url(&self) -> String {
        format!("file://{}", self.table.display())
    }

    /// A subject of the stream.
    pub(crate) fn subject(&self, rest: &str) -> String {
        let subjects = &self.document["spec"]["source"]["jetStream"]["subjects"][0];
        subjects.as_str().expect("a pipeline has subjects").replace('>', rest)
    }

    /// Writes the document; JSON is YAML.
    pub(crate) fn write(&self) -> PathBuf {
        let path = self.folder.join(format!("{}.yaml", self.name));
        // Another process may be reading it at this moment.
        let fresh =
            tempfile::NamedTempFile::new_in(&self.folder).expect("a scratch folder is writable");
        std::fs::write(fresh.path(), self.document.to_string())
            .expect("a scratch folder is writable");
        fresh.persist(&path).expect("a scratch folder is writable");
        path
    }
}

fn remove_nulls(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.retain(|_, field| !field.is_null());
        fields.values_mut().for_each(remove_nulls);
    }
}
