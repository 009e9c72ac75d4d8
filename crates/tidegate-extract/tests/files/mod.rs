//! Files of numbers in the column `id`, and a request that reads them.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use parquet::arrow::ArrowWriter;
use tidegate_config::{BulkSource, ObjectSource};
use tidegate_extract::{ExtractError, ReadRequest, Snapshot};
use tidegate_runtime::secrets::Secrets;
use tidegate_types::Field;

use crate::requests::{self, field, read_chunk};

/// Asks for the files of the first of June 2026.
pub(crate) fn request(source: ObjectSource, secrets: Secrets) -> ReadRequest {
    let id = Field { required: true, ..field("id", "long") };
    let mut request = requests::request(BulkSource::ObjectStore(source), secrets);
    request.fields = Some(vec![id]);
    request.interval = Some("2026-06-01T00:00:00Z/2026-06-02T00:00:00Z".parse().expect("valid"));
    request.chunking.parallelism = 2;
    request.batch_rows = 16 << 10;
    request
}

/// The sum of all ids and how many there are.
pub(crate) async fn read(snapshot: &dyn Snapshot) -> Result<(i64, u64), ExtractError> {
    let (mut sum, mut rows) = (0, 0);
    for chunk in snapshot.plan().await?.chunks {
        let (counts, batches) = read_chunk(snapshot, &chunk).await?;
        for batch in batches {
            sum += batch.column(0).as_primitive::<Int64Type>().values().iter().sum::<i64>();
        }
        rows += counts.rows;
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
