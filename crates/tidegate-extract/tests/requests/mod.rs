//! Requests for all that a source has, and what a snapshot gives.
#![allow(clippy::unwrap_used, reason = "the lint's exception for tests leaves their helpers out")]
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::path::Path;

use arrow::array::{Array, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use tidegate_config::{
    BadFilePolicy, BulkSource, Chunking, CsvOptions, DatabaseSource, DatabaseTls, FileCompression,
    FileFormat, Incremental, NullCursorPolicy, ObjectSource, Relation, S3Options, TlsMode,
};
use tidegate_extract::{Chunk, ChunkCounts, ExtractError, Piece, ReadRequest, Snapshot};
use tidegate_runtime::secrets::Secrets;
use tidegate_types::{BadRowPolicy, Field, Span};
use tokio::sync::mpsc;

/// The secret that leads to the source.
pub(crate) const CONNECTION: &str = "db";

/// All rows, with the columns that the source has.
pub(crate) fn request(source: BulkSource, secrets: Secrets) -> ReadRequest {
    ReadRequest {
        source,
        secrets,
        application: "tidegate/test".to_owned(),
        fields: None,
        interval: None,
        time_zone: None,
        incremental: None,
        chunking: Chunking { field: None, target_rows: 1_000_000, parallelism: 4 },
        on_error: BadRowPolicy::DeadLetter,
        on_bad_file: BadFilePolicy::Fail,
        batch_rows: 1_000,
        batch_bytes: 4 << 20,
    }
}

/// What the source is for a database, without TLS.
pub(crate) fn database(relation: Relation) -> DatabaseSource {
    let tls = DatabaseTls { mode: TlsMode::Disable, ca: None };
    DatabaseSource { connection: CONNECTION.to_owned(), relation, tls }
}

/// A folder of secrets.
pub(crate) fn secrets_in(folder: &Path) -> Secrets {
    Secrets::new(Some(folder.to_path_buf()))
}

/// Files below an address; CSV has a header.
pub(crate) fn objects(url: String, format: FileFormat, glob: &str) -> ObjectSource {
    ObjectSource {
        url,
        secret: None,
        endpoint: None,
        s3: S3Options::default(),
        glob: glob.into(),
        format,
        compression: FileCompression::Auto,
        csv: CsvOptions { delimiter: ',', header: true, null: String::new() },
        on_bad_file: BadFilePolicy::Fail,
    }
}

/// A declared column.
pub(crate) fn field(name: &str, data_type: &str) -> Field {
    Field {
        name: name.to_owned(),
        data_type: data_type.parse().unwrap(),
        required: false,
        from: None,
    }
}

/// Declared columns: name and type of each.
pub(crate) fn fields(declared: &[(&str, &str)]) -> Option<Vec<Field>> {
    Some(declared.iter().map(|(name, data_type)| field(name, data_type)).collect())
}

/// The rows of an interval by a cursor; what is open at its end is waited for, half a minute at most.
pub(crate) fn of_interval(mut request: ReadRequest, cursor: &str, interval: &str) -> ReadRequest {
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

/// The request of an interval that waits or counts in another way.
pub(crate) fn with(mut request: ReadRequest, change: impl FnOnce(&mut Incremental)) -> ReadRequest {
    change(request.incremental.as_mut().unwrap());
    request
}

/// Reads one chunk, in which no record is dead.
pub(crate) async fn read_chunk(
    snapshot: &dyn Snapshot,
    chunk: &Chunk,
) -> Result<(ChunkCounts, Vec<RecordBatch>), ExtractError> {
    let (into, mut pieces) = mpsc::channel(2);
    let gather = async {
        let mut batches = Vec::new();
        while let Some(piece) = pieces.recv().await {
            let Piece::Rows(batch) = piece else { panic!("a dead record: {piece:?}") };
            batches.push(batch);
        }
        batches
    };
    let (counts, batches) = tokio::join!(snapshot.read(chunk, into), gather);
    let (counts, rows) = (counts?, batches.iter().map(RecordBatch::num_rows).sum::<usize>());
    assert_eq!(counts, ChunkCounts { rows: rows as u64, dead: 0 });
    Ok((counts, batches))
}

/// The values of a column as text; `NULL` where there is none.
pub(crate) fn texts(column: &dyn Array) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let formatter = ArrayFormatter::try_new(column, &options).unwrap();
    (0..column.len()).map(|row| formatter.value(row).to_string()).collect()
}
