//! Files of numbers in the column `id`, and a request that reads them.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use parquet::arrow::ArrowWriter;
use tidegate_config::{
    BadFilePolicy, BulkSource, Chunking, CsvOptions, FileCompression, FileFormat, ObjectSource,
    S3Options,
};
use tidegate_extract::{ExtractError, Piece, ReadRequest, Snapshot};
use tidegate_runtime::secrets::Secrets;
use tidegate_types::{BadRowPolicy, Field};
use tokio::sync::mpsc;

/// Files below an address, with the keys of a secret.
pub(crate) fn source(url: String, secret: &str, format: FileFormat, glob: &str) -> ObjectSource {
    ObjectSource {
        url,
        secret: Some(secret.into()),
        endpoint: None,
        s3: S3Options::default(),
        glob: glob.into(),
        format,
        compression: FileCompression::Auto,
        csv: CsvOptions { delimiter: ',', header: true, null: String::new() },
        on_bad_file: BadFilePolicy::Fail,
    }
}

/// Asks for the files of the first of June 2026.
pub(crate) fn request(source: ObjectSource, secrets: Secrets) -> ReadRequest {
    let id = Field {
        name: "id".into(),
        data_type: "long".parse().expect("valid"),
        required: true,
        from: None,
    };
    ReadRequest {
        source: BulkSource::ObjectStore(source),
        secrets,
        application: "tidegate/test".into(),
        fields: Some(vec![id]),
        interval: Some("2026-06-01T00:00:00Z/2026-06-02T00:00:00Z".parse().expect("valid")),
        time_zone: None,
        incremental: None,
        chunking: Chunking { field: None, target_rows: 1_000_000, parallelism: 2 },
        on_error: BadRowPolicy::DeadLetter,
        on_bad_file: BadFilePolicy::Fail,
        batch_rows: 16 << 10,
        batch_bytes: 1 << 20,
    }
}

/// The sum of all ids and how many there are.
pub(crate) async fn read(snapshot: &dyn Snapshot) -> Result<(i64, u64), ExtractError> {
    let (mut sum, mut rows) = (0, 0);
    for chunk in snapshot.plan().await?.chunks {
        let (into, mut pieces) = mpsc::channel(2);
        let add = async {
            while let Some(piece) = pieces.recv().await {
                let Piece::Rows(batch) = piece else { panic!("no dead records") };
                sum += batch.column(0).as_primitive::<Int64Type>().values().iter().sum::<i64>();
            }
        };
        let (counts, ()) = tokio::join!(snapshot.read(&chunk, into), add);
        rows += counts?.rows;
    }
    Ok((sum, rows))
}

/// A Parquet file.
pub(crate) fn parquet(ids: Range<i64>) -> Vec<u8> {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(ids));
    let batch = RecordBatch::try_from_iter_with_nullable([("id", ids, true)]).expect("a batch");
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("written");
    writer.into_inner().expect("a file")
}
