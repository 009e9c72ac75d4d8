//! One server for all tests of this binary, a database for each.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use tempfile::TempDir;
use tidegate_config::{
    BadFilePolicy, BulkSource, Chunking, DatabaseSource, DatabaseTls, FileRef, Incremental,
    NullCursorPolicy, Relation, TlsMode,
};
use tidegate_extract::{ExtractError, Piece, Plan, ReadRequest, Snapshot, open};
use tidegate_runtime::secrets::Secrets;
use tidegate_testing::{PostgresServer, PostgresSession, Scratch};
use tidegate_types::{BadRowPolicy, Field, Span};
use tokio::sync::{OnceCell, mpsc};

const SECRET: &str = "db";

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
        let database = Self { server, name: name.to_owned(), secrets: secrets() };
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

    pub(crate) fn session(&self) -> PostgresSession {
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
        write_secret(&self.secrets, key, value);
    }

    pub(crate) fn forget(&self, key: &str) {
        std::fs::remove_file(self.secrets.path().join(SECRET).join(key)).unwrap();
    }

    /// Asks for a whole table of the schema that the server would choose.
    pub(crate) fn table(&self, name: &str) -> ReadRequest {
        request(&self.secrets, Relation::Table { schema: None, name: name.to_owned() })
    }

    pub(crate) fn query(&self, query: &str) -> ReadRequest {
        request(&self.secrets, Relation::Query(query.to_owned()))
    }
}

pub(crate) fn secrets() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join(SECRET)).unwrap();
    folder
}

pub(crate) fn write_secret(secrets: &TempDir, key: &str, value: &str) {
    std::fs::write(secrets.path().join(SECRET).join(key), value).unwrap();
}

pub(crate) fn request(secrets: &TempDir, relation: Relation) -> ReadRequest {
    let tls = DatabaseTls { mode: TlsMode::Disable, ca: None };
    ReadRequest {
        source: BulkSource::Postgres(DatabaseSource {
            connection: SECRET.to_owned(),
            relation,
            tls,
        }),
        secrets: Secrets::new(Some(secrets.path().to_owned())),
        application: "tidegate/test.orders".to_owned(),
        fields: None,
        interval: None,
        time_zone: None,
        incremental: None,
        chunking: Chunking { field: None, target_rows: 1_000_000, parallelism: 4 },
        on_error: BadRowPolicy::DeadLetter,
        on_bad_file: BadFilePolicy::Fail,
        batch_rows: 1000,
        batch_bytes: 4 << 20,
    }
}

/// With TLS, trusting the authority under a key of the secret.
pub(crate) fn over_tls(mut request: ReadRequest, ca: Option<&str>) -> ReadRequest {
    if let BulkSource::Postgres(source) = &mut request.source {
        let ca = ca.map(|key| FileRef { name: SECRET.to_owned(), key: key.to_owned() });
        source.tls = DatabaseTls { mode: TlsMode::VerifyFull, ca };
    }
    request
}

pub(crate) fn fields(declared: &[(&str, &str)]) -> Option<Vec<Field>> {
    let fields = declared.iter().map(|(name, data_type)| Field {
        name: (*name).to_owned(),
        data_type: data_type.parse().unwrap(),
        required: false,
        from: None,
    });
    Some(fields.collect())
}

/// By an interval of a cursor.
pub(crate) fn incremental(mut request: ReadRequest, cursor: &str, interval: &str) -> ReadRequest {
    request.interval = Some(interval.parse().unwrap());
    request.incremental = Some(Incremental {
        cursor_field: cursor.to_owned(),
        time_zone: None,
        settle: Span::seconds(0),
        max_wait: Span::seconds(30),
        ignore_roles: Vec::new(),
        on_null_cursor: NullCursorPolicy::Fail,
        rerun_last: 0,
    });
    request
}

/// Changes how an incremental request waits and counts.
pub(crate) fn by(mut request: ReadRequest, change: impl FnOnce(&mut Incremental)) -> ReadRequest {
    change(request.incremental.as_mut().unwrap());
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
    let (sender, mut receiver) = mpsc::channel(2);
    let gather = async {
        let mut batches = Vec::new();
        while let Some(piece) = receiver.recv().await {
            match piece {
                Piece::Rows(batch) => batches.push(batch),
                Piece::Dead(record) => panic!("{record:?}"),
            }
        }
        batches
    };
    let (counts, batches) = tokio::join!(snapshot.read(&plan.chunks[chunk], sender), gather);
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(counts?.rows, rows as u64);
    Ok(batches)
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
    let options = FormatOptions::default().with_null("NULL");
    let column = batch.column_by_name(column).unwrap();
    ArrayFormatter::try_new(column, &options).unwrap().value(row).to_string()
}

/// A column as text.
pub(crate) fn values(batch: &RecordBatch, column: &str) -> Vec<String> {
    (0..batch.num_rows()).map(|row| value(batch, column, row)).collect()
}
