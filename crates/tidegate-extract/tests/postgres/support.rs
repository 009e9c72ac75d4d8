//! One server for all tests of this binary, a database for each.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use tempfile::TempDir;
use tidegate_config::{BulkSource, DatabaseTls, FileRef, Relation, TlsMode};
use tidegate_extract::{ExtractError, Plan, ReadRequest, Snapshot, open};
use tidegate_testing::{PostgresServer, Scratch, SqlSession, write_secret};
use tokio::sync::OnceCell;

use crate::requests::{self, CONNECTION, database, read_chunk, secrets_in, texts};
pub(crate) use crate::requests::{fields, of_interval, with};

/// A database of its own, and the secret that leads there.
pub(crate) struct Database {
    server: &'static PostgresServer,
    name: String,
    secrets: TempDir,
}

async fn shared() -> &'static PostgresServer {
    static SERVER: OnceCell<(PostgresServer, Scratch)> = OnceCell::const_new();
    let start = async || {
        let scratch = Scratch::new("extract-postgres").unwrap();
        (PostgresServer::start(scratch.path()).await.unwrap(), scratch)
    };
    &SERVER.get_or_init(start).await.0
}

impl Database {
    pub(crate) async fn new(name: &str) -> Self {
        let server = shared().await;
        server.sql(&format!("CREATE DATABASE {name}")).await.unwrap();
        let database =
            Self { server, name: name.to_owned(), secrets: tempfile::tempdir().unwrap() };
        database.secret("uri", &server.url(name));
        database
    }

    /// With statements run in it.
    pub(crate) async fn with(name: &str, statements: &str) -> Self {
        let database = Self::new(name).await;
        database.sql(statements).await;
        database
    }

    pub(crate) async fn sql(&self, statements: &str) -> String {
        self.server.sql_in(&self.name, statements).await.unwrap()
    }

    pub(crate) fn session(&self) -> SqlSession {
        self.server.session(&self.name).unwrap()
    }

    pub(crate) fn url(&self) -> String {
        self.server.url(&self.name)
    }

    pub(crate) fn url_as(&self, user: &str, password: &str) -> String {
        self.server.url_as(user, password, &self.name)
    }

    pub(crate) fn socket_folder(&self) -> String {
        self.server.socket_folder().display().to_string()
    }

    pub(crate) fn port(&self) -> u16 {
        self.server.port()
    }

    pub(crate) fn secret(&self, key: &str, value: &str) {
        secret(&self.secrets, key, value);
    }

    pub(crate) fn forget(&self, key: &str) {
        std::fs::remove_file(self.secrets.path().join(CONNECTION).join(key)).unwrap();
    }

    /// Asks for a whole table of the schema that the server would choose.
    pub(crate) fn table(&self, name: &str) -> ReadRequest {
        request(&self.secrets, Relation::Table { schema: None, name: name.to_owned() })
    }

    /// Asks for a whole table of a schema.
    pub(crate) fn table_in(&self, schema: &str, name: &str) -> ReadRequest {
        let schema = Some(schema.to_owned());
        request(&self.secrets, Relation::Table { schema, name: name.to_owned() })
    }

    pub(crate) fn query(&self, query: &str) -> ReadRequest {
        request(&self.secrets, Relation::Query(query.to_owned()))
    }
}

/// Writes a key of the secret that leads to a source.
pub(crate) fn secret(secrets: &TempDir, key: &str, value: &str) {
    write_secret(secrets.path(), CONNECTION, &[(key, value)]).unwrap();
}

pub(crate) fn request(secrets: &TempDir, relation: Relation) -> ReadRequest {
    requests::request(BulkSource::Postgres(database(relation)), secrets_in(secrets.path()))
}

/// With TLS, trusting the authority under a key of the secret.
pub(crate) fn over_tls(mut request: ReadRequest, ca: Option<&str>) -> ReadRequest {
    if let BulkSource::Postgres(source) = &mut request.source {
        let ca = ca.map(|key| FileRef { name: CONNECTION.to_owned(), key: key.to_owned() });
        source.tls = DatabaseTls { mode: TlsMode::VerifyFull, ca };
    }
    request
}

pub(crate) fn chunked(
    mut request: ReadRequest,
    target_rows: u64,
    field: Option<&str>,
) -> ReadRequest {
    request.chunking.target_rows = target_rows;
    request.chunking.field = field.map(str::to_owned);
    request
}

/// Reads one chunk.
pub(crate) async fn read(
    snapshot: &dyn Snapshot,
    plan: &Plan,
    chunk: usize,
) -> Result<Vec<RecordBatch>, ExtractError> {
    Ok(read_chunk(snapshot, &plan.chunks[chunk]).await?.1)
}

/// Reads every chunk; the rows of each.
pub(crate) async fn read_chunks(
    snapshot: &dyn Snapshot,
    plan: &Plan,
) -> Result<Vec<RecordBatch>, ExtractError> {
    let mut chunks = Vec::new();
    for chunk in 0..plan.chunks.len() {
        let batches = read(snapshot, plan, chunk).await?;
        chunks.push(concat_batches(&snapshot.columns(), &batches).unwrap());
    }
    Ok(chunks)
}

/// Opens, plans, reads and counts; the rows.
pub(crate) async fn rows(request: ReadRequest) -> Result<RecordBatch, ExtractError> {
    let snapshot = open(request).await?;
    let plan = snapshot.plan().await?;
    let chunks = read_chunks(&*snapshot, &plan).await?;
    let all = concat_batches(&snapshot.columns(), &chunks).unwrap();
    assert_eq!(plan.rows, Some(all.num_rows() as u64));
    snapshot.check().await?;
    snapshot.close().await;
    Ok(all)
}

/// The error of a request that must fail.
pub(crate) async fn refused(request: ReadRequest) -> ExtractError {
    rows(request).await.map(|rows| rows.num_rows()).expect_err("it must fail")
}

/// A value as text; `NULL` when there is none.
pub(crate) fn value(batch: &RecordBatch, column: &str, row: usize) -> String {
    values(batch, column).swap_remove(row)
}

/// A column as text.
pub(crate) fn values(batch: &RecordBatch, column: &str) -> Vec<String> {
    texts(batch.column_by_name(column).unwrap())
}
