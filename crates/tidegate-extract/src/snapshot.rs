//! A source, opened.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tidegate_config::BulkSource;
use tidegate_runtime::secrets::Secrets;
use tidegate_types::Reason;
use tokio::sync::mpsc;

use crate::{ExtractError, ReadRequest, mysql, objects, postgres};

/// A share of a run. What is in it is the source's own affair; it can be handed to another process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// Its number in the plan, from 0.
    pub number: u32,
    /// What it reads, for people: `id from 1 to 5000000`, a file's path.
    pub what: String,
    /// The source's own description.
    pub bounds: serde_json::Value,
    /// About how many rows it has; 0 when the source cannot say.
    pub estimated_rows: u64,
}

impl Chunk {
    /// A share with the source's own description.
    pub(crate) fn new(
        number: u32,
        what: String,
        bounds: &impl Serialize,
        estimated_rows: u64,
    ) -> Result<Self, ExtractError> {
        let bounds = serde_json::to_value(bounds).map_err(|error| {
            let what = format!("chunk {number} cannot be described");
            ExtractError::permanent(Reason::InvalidConfiguration, what).because(error)
        })?;
        Ok(Self { number, what, bounds, estimated_rows })
    }

    /// The source's own description, read back.
    pub(crate) fn bounds<B: DeserializeOwned>(&self) -> Result<B, ExtractError> {
        serde_json::from_value(self.bounds.clone()).map_err(|error| {
            let what = format!("chunk {} is none of this source: {}", self.number, self.what);
            ExtractError::permanent(Reason::InvalidConfiguration, what).because(error)
        })
    }
}

/// How a source is divided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The chunks; together they are all rows of the request, each once.
    pub chunks: Vec<Chunk>,
    /// How many rows there are, counted by the source under the same snapshot; none when only reading
    /// tells (files). It is what was written that must agree with it.
    pub rows: Option<u64>,
    /// What identifies the input for good: of files the listing's fingerprint (B8).
    pub fingerprint: Option<String>,
    /// Whether the input is pinned: under another snapshot with this fingerprint each chunk has the same rows,
    /// or cannot be read (B5).
    pub pinned: bool,
    /// Rows without a cursor that are left out (B7).
    pub null_cursors: u64,
}

/// Rows, or a record that is none.
#[derive(Debug, Clone)]
pub enum Piece {
    /// Rows, in the columns of [`Snapshot::columns`].
    Rows(RecordBatch),
    /// A record that cannot be a row.
    Dead(DeadRecord),
}

/// A record that cannot be a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadRecord {
    /// Its number within its chunk, rows counted too, from 0.
    pub ordinal: u64,
    /// Where it stands, for people: a file's path and line.
    pub place: String,
    /// Why.
    pub reason: Reason,
    /// What is wrong with it.
    pub detail: String,
    /// The record's bytes; cut at 64 KiB.
    pub payload: Bytes,
}

/// What a chunk had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChunkCounts {
    /// Rows handed over.
    pub rows: u64,
    /// Records set aside.
    pub dead: u64,
}

/// A source, opened and fixed: whatever is written to it now does not change what is read.
pub trait Snapshot: Send + Sync {
    /// The snapshot's name in the source: of a database what `pg_export_snapshot` and its like say, of
    /// files the listing's fingerprint.
    fn id(&self) -> &str;

    /// What another process needs to [`join`] the snapshot, for as long as this one holds it; none when
    /// only this process can read it.
    fn ticket(&self) -> Option<serde_json::Value> {
        None
    }

    /// The columns of what is read.
    fn columns(&self) -> SchemaRef;

    /// Divides the rows and counts them.
    fn plan(&self) -> BoxFuture<'_, Result<Plan, ExtractError>>;

    /// Reads one chunk. A receiver that is gone ends the reading with [`ExtractError::Cancelled`].
    fn read<'a>(
        &'a self,
        chunk: &'a Chunk,
        into: mpsc::Sender<Piece>,
    ) -> BoxFuture<'a, Result<ChunkCounts, ExtractError>>;

    /// Whether the snapshot is still held; asked before the commit.
    fn check(&self) -> BoxFuture<'_, Result<(), ExtractError>>;

    /// Gives it back.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// Joins the snapshot that another process holds open, to read chunks of its plan: nothing is waited for,
/// listed or divided. It is read like the other's, and lost with it.
///
/// # Errors
///
/// [`ExtractError`], also when the snapshot is gone or the source cannot be joined.
pub async fn join(
    request: ReadRequest,
    ticket: serde_json::Value,
) -> Result<Box<dyn Snapshot>, ExtractError> {
    match request.source.clone() {
        BulkSource::Postgres(source) => {
            Ok(Box::new(postgres::join(source, request, of_ticket(ticket)?).await?))
        }
        BulkSource::ObjectStore(source) => {
            Ok(Box::new(objects::join(source, request, of_ticket(ticket)?)?))
        }
        BulkSource::MySql(_) => {
            let what = "a snapshot of MySQL belongs to its connections and cannot be joined";
            Err(ExtractError::permanent(Reason::InvalidConfiguration, what))
        }
    }
}

fn of_ticket<T: DeserializeOwned>(ticket: serde_json::Value) -> Result<T, ExtractError> {
    serde_json::from_value(ticket).map_err(|error| {
        let what = "the snapshot's ticket is none of this source";
        ExtractError::permanent(Reason::InvalidConfiguration, what).because(error)
    })
}

/// Whether the secret that leads to the source is there and can be read; nothing is connected to.
///
/// # Errors
///
/// [`ExtractError`], `SecretMissing` where one is missing.
pub fn check_secret(source: &BulkSource, secrets: &Secrets) -> Result<(), ExtractError> {
    match source {
        BulkSource::Postgres(source) => postgres::check_secret(source, secrets),
        BulkSource::MySql(source) => mysql::check_secret(source, secrets),
        BulkSource::ObjectStore(source) => objects::check_secret(source, secrets),
    }
}

/// Opens the source of `request` and fixes its snapshot.
///
/// # Errors
///
/// [`ExtractError`], with a reason, and whether trying again may help.
pub async fn open(request: ReadRequest) -> Result<Box<dyn Snapshot>, ExtractError> {
    match request.source.clone() {
        BulkSource::Postgres(source) => Ok(Box::new(postgres::open(source, request).await?)),
        BulkSource::MySql(source) => Ok(Box::new(mysql::open(source, request).await?)),
        BulkSource::ObjectStore(source) => Ok(Box::new(objects::open(source, request).await?)),
    }
}

#[cfg(test)]
mod tests {
    use tidegate_config::{DatabaseSource, DatabaseTls, FileRef, Relation, TlsMode};
    use tidegate_runtime::in_words;
    use tidegate_types::Explained as _;

    use super::*;

    #[test]
    fn what_a_connection_needs_is_named_by_its_field_before_anything_is_connected_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let secrets = Secrets::new(Some(folder.path().to_path_buf()));
        let database = DatabaseSource {
            connection: "shop-db".into(),
            relation: Relation::Query("SELECT 1".into()),
            tls: DatabaseTls {
                mode: TlsMode::VerifyFull,
                ca: Some(FileRef { name: "shop-ca".into(), key: "ca.crt".into() }),
            },
        };
        let missing = |source: BulkSource| {
            let error = check_secret(&source, &secrets).expect_err("something is missing");
            assert_eq!(error.reason(), Reason::SecretMissing);
            in_words(&error)
        };
        let both = || {
            [
                ("postgres", BulkSource::Postgres(database.clone())),
                ("mysql", BulkSource::MySql(database.clone())),
            ]
        };
        for (kind, source) in both() {
            let told = missing(source);
            let asks =
                format!("source.{kind}.connection.secretRef: secret \"shop-db\" is not there");
            assert!(told.starts_with(&asks), "{told}");
        }
        std::fs::create_dir(folder.path().join("shop-db")).expect("made");
        for (key, value) in [("host", "h"), ("user", "u")] {
            std::fs::write(folder.path().join("shop-db").join(key), value).expect("written");
        }
        for (kind, source) in both() {
            let told = missing(source);
            assert!(told.starts_with(&format!("source.{kind}.tls.caRef: ")), "{told}");
            assert!(told.contains("shop-ca") && told.contains("ca.crt"), "{told}");
        }
    }
}
