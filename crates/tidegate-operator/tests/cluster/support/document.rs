//! Pipelines of a cluster.

use serde_json::{Value, json};

use super::bulk::tick_minute;

/// A pipeline's document; what a test does not say is short and small.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) name: String,
    document: tidegate_testing::Document,
}

impl Document {
    /// One over the stream `<NAME>` of `server`, in four partitions, into the table at `url`. It scales by
    /// lag and cools down at once.
    pub(crate) fn new(name: &str, server: &str, url: &str) -> Self {
        let partitioning = json!({"type": "Subject", "partitions": 4, "idSubjectStable": true});
        let scaling = json!({"minReplicas": 1, "maxReplicas": 4, "cooldownPeriod": "1s"});
        let document = tidegate_testing::Document::streamed(name, server, url, "Nats-Msg-Id")
            .set("source.jetStream.partitioning", partitioning)
            .set("scaling", scaling)
            .set("template.terminationGracePeriodSeconds", json!(20));
        Self { name: name.to_owned(), document }
    }

    /// One that nobody ever runs: its pods are stand-ins.
    pub(crate) fn of_stand_ins(name: &str) -> Self {
        Self::new(name, "nats://nats.invalid:4222", &format!("file:///tables/{name}"))
    }

    /// A bulk pipeline that loads an hour of a database's table at a time; see [`tick_minute`].
    pub(crate) fn hourly(name: &str) -> Self {
        let spec = json!({
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
        });
        let document = tidegate_testing::Document::pipeline(name, &spec);
        Self { name: name.to_owned(), document }
    }

    /// Sets the field at a path below `spec`; `null` removes it.
    pub(crate) fn set(self, path: &str, value: Value) -> Self {
        Self { document: self.document.set(path, value), ..self }
    }

    /// An annotation of the resource itself.
    pub(crate) fn annotated(self, name: &str, value: &str) -> Self {
        Self { document: self.document.annotated(name, value), ..self }
    }

    /// The document.
    pub(crate) fn value(&self) -> &Value {
        self.document.value()
    }

    /// The field at a path below `spec`.
    pub(crate) fn field(&self, path: &str) -> &Value {
        self.document.field(path)
    }
}
