//! What the tests stand on: one server for all that treat it well, and short ways to ask and read.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use futures::future::join_all;
use tidegate_config::{BulkSource, Relation};
use tidegate_extract::{ChunkCounts, ExtractError, Plan, ReadRequest, Snapshot, open};
use tidegate_runtime::secrets::Secrets;
use tidegate_testing::{MariaDbOptions, MariaDbServer, Scratch, write_secret};
use tidegate_types::BadRowPolicy;
use tokio::sync::OnceCell;

use crate::requests::{self, database, read_chunk, request, secrets_in, texts};
pub(crate) use crate::requests::{CONNECTION, with};

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
        write_secret(&folder, CONNECTION, &[("user", name), ("password", "x")]).unwrap();
        secrets_in(&folder)
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
        let mut request =
            request(BulkSource::MySql(database(relation)), secrets_in(self.scratch.path()));
        request.chunking.parallelism = 1;
        request.on_error = BadRowPolicy::Halt;
        request
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

/// The request for the rows of an interval; times without a zone are UTC.
pub(crate) fn of_interval(request: ReadRequest, cursor: &str, interval: &str) -> ReadRequest {
    let request = requests::of_interval(request, cursor, interval);
    with(request, |incremental| incremental.time_zone = Some("UTC".to_owned()))
}

/// The request divided into chunks of about so many rows.
pub(crate) fn divided(mut request: ReadRequest, rows: u64, parallelism: u32) -> ReadRequest {
    request.chunking.target_rows = rows;
    request.chunking.parallelism = parallelism;
    request
}

/// Declared fields: `name type` each.
pub(crate) fn declared(mut request: ReadRequest, fields: &[&str]) -> ReadRequest {
    let declared: Vec<_> = fields.iter().map(|text| text.split_once(' ').unwrap()).collect();
    request.fields = requests::fields(&declared);
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
    let chunks = join_all(plan.chunks.iter().map(|chunk| read_chunk(snapshot, chunk))).await;
    let (mut counts, mut batches) = (Vec::new(), Vec::new());
    for chunk in chunks {
        let (counted, rows) = chunk?;
        counts.push(counted);
        batches.extend(rows);
    }
    assert!(batches.iter().all(|batch| batch.schema() == snapshot.columns()));
    let came: u64 = counts.iter().map(|chunk| chunk.rows).sum();
    assert_eq!(plan.rows, Some(came), "what the source counted");
    Ok(Read { plan, counts, batches })
}

/// Rows as text, values between `|`.
pub(crate) fn shown(batch: &RecordBatch) -> Vec<String> {
    let columns: Vec<_> = batch.columns().iter().map(|column| texts(column.as_ref())).collect();
    let row = |row: usize| {
        let values: Vec<_> = columns.iter().map(|of: &Vec<String>| of[row].as_str()).collect();
        values.join("|")
    };
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
