//! Reading data files back: footers, and a few columns as a stream of batches.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryFutureExt};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::{AsyncFileReader, MetadataSuffixFetch};
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use super::FileError;

/// Bytes that are read first from the end of a file. A footer of a hundred columns and a few row
/// groups fits, so that one request is enough.
const FOOTER_HINT: usize = 64 << 10;
/// Rows of one batch.
const BATCH_ROWS: usize = 8192;

/// Some columns of a file, batch by batch.
pub type ColumnStream = BoxStream<'static, Result<RecordBatch, FileError>>;

/// A file's footer, and what the store says of the object.
#[derive(Debug, Clone)]
pub struct Footer {
    /// The object.
    pub object: ObjectMeta,
    /// The footer.
    pub metadata: Arc<ParquetMetaData>,
}

impl Footer {
    /// The footer's key-value metadata.
    #[must_use]
    pub fn entries(&self) -> BTreeMap<String, String> {
        let entries = self.metadata.file_metadata().key_value_metadata();
        let entries = entries.into_iter().flatten();
        entries.filter_map(|e| Some((e.key.clone(), e.value.clone()?))).collect()
    }
}

/// Reads a file's footer.
///
/// # Errors
///
/// When the object is missing, cut short, or not a Parquet file.
pub async fn read_footer(store: &Arc<dyn ObjectStore>, path: &Path) -> Result<Footer, FileError> {
    let mut file = ObjectFile::new(Arc::clone(store), path.clone());
    let metadata = match file.get_metadata(None).await {
        Ok(metadata) => metadata,
        Err(source) => return Err(FileError::Parquet { path: path.to_string(), source }),
    };
    let object = match file.object {
        Some(object) => object,
        None => store.head(path).await.map_err(|source| store_error(path, source))?,
    };
    Ok(Footer { object, metadata })
}

/// Reads the named columns of a file that it has; columns that it lacks are missing from the batches.
///
/// # Errors
///
/// When the footer cannot be read; the stream fails when rows cannot.
pub async fn read_columns(
    store: &Arc<dyn ObjectStore>,
    path: &Path,
    columns: &[&str],
) -> Result<ColumnStream, FileError> {
    let name = path.to_string();
    let failed = move |source| FileError::Parquet { path: name.clone(), source };
    let file = ObjectFile::new(Arc::clone(store), path.clone());
    // Writers' hints about Arrow types differ; Parquet's own types do not.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchStreamBuilder::new_with_options(file, options)
        .await
        .map_err(failed.clone())?;
    let roots = builder.parquet_schema().root_schema().get_fields().iter().enumerate();
    let wanted: Vec<_> =
        roots.filter(|(_, f)| columns.contains(&f.name())).map(|(index, _)| index).collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
    let stream = builder
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(failed.clone())?;
    Ok(stream.map(move |batch| batch.map_err(&failed)).boxed())
}

fn store_error(path: &Path, source: object_store::Error) -> FileError {
    FileError::Store { path: path.to_string(), source }
}

/// A file in an object store, as the Parquet reader wants it.
struct ObjectFile {
    store: Arc<dyn ObjectStore>,
    path: Path,
    /// Known once something was read.
    object: Option<ObjectMeta>,
}

impl ObjectFile {
    fn new(store: Arc<dyn ObjectStore>, path: Path) -> Self {
        Self { store, path, object: None }
    }

    /// So many of its last bytes. Azure has to be told where they begin, which is another request.
    async fn end(&self, bytes: u64) -> object_store::Result<GetResult> {
        let of = |range| GetOptions { range: Some(range), ..GetOptions::default() };
        let at_once = self.store.get_opts(&self.path, of(GetRange::Suffix(bytes))).await;
        let Err(object_store::Error::NotSupported { .. }) = at_once else { return at_once };
        let size = self.store.head(&self.path).await?.size;
        let range = GetRange::Bounded(size.saturating_sub(bytes)..size);
        self.store.get_opts(&self.path, of(range)).await
    }
}

impl AsyncFileReader for ObjectFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        self.store.get_range(&self.path, range).map_err(external).boxed()
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async move { self.store.get_ranges(&self.path, &ranges).await.map_err(external) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        async move {
            let reader = ParquetMetaDataReader::new()
                .with_arrow_reader_options(options)
                .with_prefetch_hint(Some(FOOTER_HINT));
            reader.load_via_suffix_and_finish(self).await.map(Arc::new)
        }
        .boxed()
    }
}

impl MetadataSuffixFetch for &mut ObjectFile {
    fn fetch_suffix(&mut self, suffix: usize) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        async move {
            let answer = self.end(suffix as u64).await.map_err(external)?;
            self.object = Some(answer.meta.clone());
            answer.bytes().await.map_err(external)
        }
        .boxed()
    }
}

fn external(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}
