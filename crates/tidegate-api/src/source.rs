//! The source: a stream, a database, or files.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{DatabaseSpec, JetStreamSpec, ObjectStoreSpec};

/// Where data comes from.
#[derive(KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.type == 'JetStream') == has(self.jetStream)")
        .message("source type JetStream needs the member jetStream, and no other type has it; write jetStream: {stream: NAME}"),
    validation = Rule::new("(self.type == 'Postgres') == has(self.postgres)")
        .message("source type Postgres needs the member postgres, and no other type has it; write postgres: {connection: {secretRef: {name: SECRET}}, table: SCHEMA.NAME}"),
    validation = Rule::new("(self.type == 'MySQL') == has(self.mysql)")
        .message("source type MySQL needs the member mysql, and no other type has it; write mysql: {connection: {secretRef: {name: SECRET}}, table: NAME}"),
    validation = Rule::new("(self.type == 'ObjectStore') == has(self.objectStore)")
        .message("source type ObjectStore needs the member objectStore, and no other type has it; write objectStore: {storage: {url: URL}, glob: \"*.csv\", format: CSV}"),
)]
pub struct SourceSpec {
    /// The kind of source. JetStream is a stream, read without pause; Postgres, MySQL (MariaDB too) and
    /// ObjectStore hold data that is stored already and is moved by runs, see `bulk`. Cannot be changed.
    #[serde(rename = "type")]
    #[x_kube(validation = Rule::new("self == oldSelf").message("the type of the source cannot be changed; make another pipeline"))]
    pub source_type: SourceType,
    /// The stream. Required with type JetStream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jet_stream: Option<JetStreamSpec>,
    /// The table or query of a PostgreSQL database. Required with type Postgres.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<DatabaseSpec>,
    /// The table or query of a MySQL or MariaDB database. Required with type MySQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mysql: Option<DatabaseSpec>,
    /// Files in an object store or a folder. Required with type ObjectStore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_store: Option<ObjectStoreSpec>,
}

/// The kind of source.
#[derive(JsonSchema, Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceType {
    /// A NATS JetStream stream.
    JetStream,
    /// A PostgreSQL database.
    Postgres,
    /// A MySQL or MariaDB database.
    MySQL,
    /// Files.
    ObjectStore,
}

impl SourceType {
    /// Whether its data is stored already and moved by runs.
    #[must_use]
    pub fn is_bulk(self) -> bool {
        self != Self::JetStream
    }
}
