//! What the tests stand on: one server for all that treat it well, and short ways to ask and read.

use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::future::{join_all, try_join};
use tidegate_config::{
    BadFilePolicy, BulkSource, Chunking, DatabaseSource, DatabaseTls, Incremental,
    NullCursorPolicy, Relation, TlsMode,
};
use tidegate_extract::{ChunkCounts, ExtractError, Piece, Plan, ReadRequest, Snapshot, open};
use tidegate_runtime::secrets::Secrets;
use tidegate_testing::{MariaDbOptions, MariaDbServer, Scratch};
use tidegate_types::{BadRowPolicy, Field, Span};
use tokio::sync::{OnceCell, mpsc};

/// The secret with the server's address.
pub(crate) const CONNECTION: &str = "db";

/// A server with the secrets that lead to it.
pub(crate) struct Ground {
    pub(crate) server: MariaDbServer,
    pub(crate) scratch: Scratch,
}

impl Ground {
    /// A server of the test's own, which it may kill and configure.
    pub(crate) async fn own() -> Self {
        Self::own_with(MariaDbOptions::default()).await
    }

    /// One with options.
    pub(crate) async fn own_with(options: MariaDbOptions) -> Self {
        let scratch = Scratch::new("mysql").unwrap();
        let server = MariaDbServer::start_with(&scratch.join("server"), &options).await.unwrap();
        server.write_secret(scratch.path(), CONNECTION).unwrap();
        Self { server, scratch }
    }

    /// The server of all tests; each makes tables of its own.
    pub(crate) async fn shared() -> &'static Self {
        static SHARED: OnceCell<Ground> = OnceCell::const_new();
        SHARED.get_or_init(Self::own).await
    }

    /// The secrets of somebody who has the rights in `grants` and no others.
    pub(crate) async fn account(&self, name: &str, grants: &[&str]) -> Secrets {
        let mut statements = format!("CREATE USER {name} IDENTIFIED BY 'x';");
        for grant in grants {
            statements += &format!("GRANT {grant} TO {name};");
        }
        self.sql(&statements).await;
        let folder = self.scratch.join(name);
        self.server.write_secret(&folder, CONNECTION).unwrap();
        std::fs::write(folder.join(CONNECTION).join("user"), name).unwrap();
        std::fs::write(folder.join(CONNECTION).join("password"), "x").unwrap();
        Secrets::new(Some(folder))
    }

    pub(crate) async fn sql(&self, statements: &str) -> String {
        self.server.sql(statements).await.unwrap()
    }

    /// A request for all rows of a table.
    pub(crate) fn table(&self, name: &str) -> ReadRequest {
        self.relation(Relation::Table { schema: None, name: name.to_owned() })
    }

    pub(crate) fn query(&self, sql: &str) -> ReadRequest {
        self.relation(Relation::Query(sql.to_owned()))
    }

    pub(crate) fn relation(&self, relation: Relation) -> ReadRequest {
        request(self.scratch.path(), relation)
    }

    /// Whole rows as text, sorted, read by as many readers as the request asks for.
    pub(crate) async fn rows(&self, request: ReadRequest) -> Vec<String> {
        let snapshot = open(request).await.unwrap();
        let read = read(snapshot.as_ref()).await.unwrap();
        snapshot.check().await.unwrap();
        snapshot.close().await;
        let mut rows: Vec<_> = read.batches.iter().flat_map(shown).collect();
        rows.sort();
        rows
    }

    /// Why a request cannot be answered, at whichever step.
    pub(crate) async fn refusal(&self, request: ReadRequest) -> ExtractError {
        match open(request).await {
            Err(error) => error,
            Ok(snapshot) => match read(snapshot.as_ref()).await {
                Err(error) => error,
                Ok(read) => panic!("it was read: {:?}", read.plan),
            },
        }
    }
}

fn request(secrets: &Path, relation: Relation) -> ReadRequest {
    let tls = DatabaseTls { mode: TlsMode::Disable, ca: None };
    let source = DatabaseSource { connection: CONNECTION.to_owned(), relation, tls };
    ReadRequest {
        source: BulkSource::MySql(source),
        secrets: Secrets::new(Some(secrets.to_path_buf())),
        application: "tidegate/test".to_owned(),
        fields: None,
        interval: None,
        time_zone: None,
        incremental: None,
        chunking: Chunking { field: None, target_rows: 1_000_000, parallelism: 1 },
        on_error: BadRowPolicy::Halt,
        on_bad_file: BadFilePolicy::Fail,
        batch_rows: 1_000,
        batch_bytes: 4 << 20,
    }
}

/// The request for the rows of an interval.
pub(crate) fn of_interval(mut request: ReadRequest, cursor: &str, interval: &str) -> ReadRequest {
    request.interval = Some(interval.parse().unwrap());
    request.incremental = Some(Incremental {
        cursor_field: cursor.to_owned(),
        time_zone: Some("UTC".to_owned()),
        settle: Span::seconds(0),
        max_wait: Span::seconds(30),
        ignore_roles: Vec::new(),
        on_null_cursor: NullCursorPolicy::Fail,
        rerun_last: 0,
    });
    request
}

/// The request with other settings of the interval.
pub(crate) fn with(mut request: ReadRequest, change: impl FnOnce(&mut Incremental)) -> ReadRequest {
    change(request.incremental.as_mut().unwrap());
    request
}

/// The request divided into chunks of about so many rows.
pub(crate) fn divided(mut request: ReadRequest, rows: u64, parallelism: u32) -> ReadRequest {
    request.chunking.target_rows = rows;
    request.chunking.parallelism = parallelism;
    request
}

/// Declared fields: `name type` each.
pub(crate) fn declared(mut request: ReadRequest, fields: &[&str]) -> ReadRequest {
    let field = |text: &&str| {
        let (name, data_type) = text.split_once(' ').unwrap();
        let (name, data_type) = (name.to_owned(), data_type.parse().unwrap());
        Field { name, data_type, required: false, from: None }
    };
    request.fields = Some(fields.iter().map(field).collect());
    request
}

/// All that a snapshot has.
pub(crate) struct Read {
    pub(crate) plan: Plan,
    /// What each chunk counted, in the plan's order.
    pub(crate) counts: Vec<ChunkCounts>,
    pub(crate) batches: Vec<RecordBatch>,
}

/// Reads all chunks side by side. The rows that the source counted must be those that came.
pub(crate) async fn read(snapshot: &dyn Snapshot) -> Result<Read, ExtractError> {
    let plan = snapshot.plan().await?;
    let chunks = join_all(plan.chunks.iter().map(|chunk| async move {
        let (into, mut from) = mpsc::channel(2);
        let gathered = async {
            let mut batches = Vec::new();
            while let Some(piece) = from.recv().await {
                let Piece::Rows(batch) = piece else { panic!("a dead record: {piece:?}") };
                batches.push(batch);
            }
            Ok(batches)
        };
        try_join(snapshot.read(chunk, into), gathered).await
    }));
    let (mut counts, mut batches) = (Vec::new(), Vec::new());
    for chunk in chunks.await {
        let (counted, mut rows) = chunk?;
        let came: usize = rows.iter().map(RecordBatch::num_rows).sum();
        assert_eq!(counted, ChunkCounts { rows: came as u64, dead: 0 });
        counts.push(counted);
        batches.append(&mut rows);
    }
    assert!(batches.iter().all(|batch| batch.schema() == snapshot.columns()));
    let came: u64 = counts.iter().map(|chunk| chunk.rows).sum();
    assert_eq!(plan.rows, Some(came), "what the source counted");
    Ok(Read { plan, counts, batches })
}

/// Rows as text, values between `|`; null as `∅`.
pub(crate) fn shown(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("∅");
    let columns: Vec<_> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap())
        .collect();
    let row = |row| columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|");
    (0..batch.num_rows()).map(row).collect()
}

/// The values of a column of 64-bit numbers.
pub(crate) fn numbers(batches: &[RecordBatch], column: &str) -> Vec<i64> {
    batches
        .iter()
        .flat_map(|batch| {
            let column = batch.column_by_name(column).unwrap().as_primitive::<Int64Type>();
            assert_eq!(column.null_count(), 0);
            column.values().to_vec()
        })
        .collect()
}
