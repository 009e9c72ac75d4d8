//! A pipeline's document, put together field by field.

use serde_json::{Value, json};

use super::bulk::tick_minute;

/// A pipeline over one stream; what a test does not say is short and small.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) name: String,
    document: Value,
}

impl Document {
    /// Reads the stream `<NAME>` with the subjects `<name>.>` of `server`, in four partitions, into the
    /// table at `url`. Its columns are `id: string, required` and `n: long`, its dedup key is the header
    /// `Nats-Msg-Id`. It scales by lag and cools down at once.
    pub(crate) fn new(name: &str, server: &str, url: &str) -> Self {
        let document = json!({
            "apiVersion": "tidegate.dev/v1alpha1",
            "kind": "IngestionPipeline",
            "metadata": {"name": name},
            "spec": {
                "source": {"type": "JetStream", "jetStream": {
                    "servers": [server],
                    "stream": name.to_uppercase(),
                    "subjects": [format!("{name}.>")],
                    "partitioning":
                        {"type": "Subject", "partitions": 4, "idSubjectStable": true},
                }},
                "schema": {"fields": [
                    {"name": "id", "type": "string", "required": true},
                    {"name": "n", "type": "long"},
                ]},
                "dedup": {"key": {"type": "Header", "header": "Nats-Msg-Id"}, "window": "1h"},
                "sink": {"storage": {"url": url}, "flush": {"maxInterval": "1s"}},
                "scaling": {"minReplicas": 1, "maxReplicas": 4, "cooldownPeriod": "1s"},
                "template": {"terminationGracePeriodSeconds": 20},
            },
        });
        Self { name: name.to_owned(), document }
    }

    /// One that nobody ever runs: its pods are stand-ins.
    pub(crate) fn of_stand_ins(name: &str) -> Self {
        Self::new(name, "nats://nats.invalid:4222", &format!("file:///tables/{name}"))
    }

    /// A bulk pipeline that loads an hour of a database's table at a time; see [`tick_minute`].
    pub(crate) fn hourly(name: &str) -> Self {
        let document = json!({
            "apiVersion": "tidegate.dev/v1alpha1",
            "kind": "IngestionPipeline",
            "metadata": {"name": name},
            "spec": {
                "source": {"type": "Postgres", "postgres": {
                    "connection": {"secretRef": {"name": "db"}}, "table": "public.orders",
                }},
                "bulk": {
                    "incremental": {"cursorField": "created_at", "mutability": "Immutable"},
                    "schedule": {"cron": format!("{} * * * *", tick_minute())},
                    "runTemplate": {"retry":
                        {"limit": 2, "backoff": {"duration": "1s", "maxDuration": "1s"}}},
                },
                "sink": {"storage": {"url": format!("file:///tables/{name}")}},
            },
        });
        Self { name: name.to_owned(), document }
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

    /// An annotation of the resource itself.
    pub(crate) fn annotated(mut self, name: &str, value: &str) -> Self {
        self.document["metadata"]["annotations"][name] = json!(value);
        self
    }

    /// The document.
    pub(crate) fn value(&self) -> &Value {
        &self.document
    }

    /// The field at a path below `spec`.
    pub(crate) fn field(&self, path: &str) -> &Value {
        path.split('.').fold(&self.document["spec"], |place, step| &place[step])
    }
}

fn remove_nulls(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.retain(|_, field| !field.is_null());
        fields.values_mut().for_each(remove_nulls);
    }
}
