//! The source as a whole, over local directories and stores in memory.

mod damage;
mod formats;
mod joined;
mod many;
mod named;
mod parquets;
mod splits;

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::json::LineDelimitedWriter;
use flate2::write::GzEncoder;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use tidegate_config::{
    BadFilePolicy, BulkSource, Chunking, CsvOptions, FileCompression, FileFormat, ObjectSource,
    S3Options,
};
use tidegate_runtime::secrets::Secrets;
use tidegate_types::{BadRowPolicy, Field};
use tokio::sync::mpsc;

use super::{Files, open, open_in};
use crate::{Chunk, ChunkCounts, DeadRecord, ExtractError, Piece, ReadRequest, Snapshot};

/// A request, of CSV with a header unless changed.
#[derive(Clone)]
struct Ask {
    source: ObjectSource,
    fields: Option<Vec<Field>>,
    parallelism: u32,
    batch_rows: usize,
    batch_bytes: usize,
    on_error: BadRowPolicy,
}

fn ask(format: FileFormat, glob: &str) -> Ask {
    Ask {
        source: ObjectSource {
            url: "memory:///".into(),
            secret: None,
            endpoint: None,
            s3: S3Options::default(),
            glob: glob.into(),
            format,
            compression: FileCompression::Auto,
            csv: CsvOptions { delimiter: ',', header: true, null: String::new() },
            on_bad_file: BadFilePolicy::Fail,
        },
        fields: None,
        parallelism: 1,
        batch_rows: 1_000,
        batch_bytes: 1 << 20,
        on_error: BadRowPolicy::DeadLetter,
    }
}

impl Ask {
    /// Columns as `name: type`, with `!` behind what is required.
    fn fields(mut self, fields: &[&str]) -> Self {
        self.fields = Some(fields.iter().map(|text| field(text)).collect());
        self
    }

    fn setting_aside(mut self) -> Self {
        self.source.on_bad_file = BadFilePolicy::DeadLetter;
        self
    }

    fn request(&self) -> ReadRequest {
        ReadRequest {
            source: BulkSource::ObjectStore(self.source.clone()),
            secrets: Secrets::new(None),
            application: "tidegate/test".into(),
            fields: self.fields.clone(),
            interval: None,
            time_zone: None,
            incremental: None,
            chunking: Chunking {
                field: None,
                target_rows: 1_000_000,
                parallelism: self.parallelism,
            },
            on_error: self.on_error,
            on_bad_file: self.source.on_bad_file,
            batch_rows: self.batch_rows,
            batch_bytes: self.batch_bytes,
        }
    }

    async fn open_in(&self, store: &Arc<dyn ObjectStore>) -> Result<Files, ExtractError> {
        open_in(Arc::clone(store), self.source.clone(), self.request()).await
    }

    async fn open_folder(&self, folder: &Path) -> Result<Files, ExtractError> {
        let mut source = self.source.clone();
        source.url = url::Url::from_file_path(folder).unwrap().to_string();
        open(source, self.request()).await
    }
}

/// From `name: type`; `!` behind it where it is required, and ` from $.path` where it stands elsewhere.
fn field(text: &str) -> Field {
    let (name, data_type) = text.split_once(": ").unwrap();
    let (data_type, from) = match data_type.split_once(" from ") {
        Some((data_type, path)) => (data_type, Some(path.to_owned())),
        None => (data_type, None),
    };
    Field {
        name: name.into(),
        data_type: data_type.trim_end_matches('!').parse().unwrap(),
        required: data_type.ends_with('!'),
        from,
    }
}

fn memory() -> Arc<dyn ObjectStore> {
    Arc::new(InMemory::new())
}

async fn put(store: &Arc<dyn ObjectStore>, path: &str, bytes: impl Into<Vec<u8>>) {
    store.put(&path.into(), bytes.into().into()).await.unwrap();
}

/// What a source held.
#[derive(Debug, Default)]
struct Found {
    batches: Vec<RecordBatch>,
    dead: Vec<DeadRecord>,
    counts: ChunkCounts,
}

impl Found {
    /// Every row as JSON, in order.
    fn rows(&self) -> Vec<String> {
        let mut text = Vec::new();
        let mut writer = LineDelimitedWriter::new(&mut text);
        self.batches.iter().for_each(|batch| writer.write(batch).unwrap());
        writer.finish().unwrap();
        String::from_utf8(text).unwrap().lines().map(str::to_owned).collect()
    }

    fn places(&self) -> Vec<(&str, &str)> {
        self.dead.iter().map(|dead| (dead.place.as_str(), dead.reason.as_str())).collect()
    }
}

async fn read_chunk(files: &Files, chunk: &Chunk) -> Result<Found, ExtractError> {
    // As if another process read it.
    let chunk: Chunk = serde_json::from_str(&serde_json::to_string(chunk).unwrap()).unwrap();
    let (into, mut pieces) = mpsc::channel(4);
    let gather = async {
        let mut found = Found::default();
        while let Some(piece) = pieces.recv().await {
            match piece {
                Piece::Rows(batch) => found.batches.push(batch),
                Piece::Dead(record) => found.dead.push(record),
            }
        }
        found
    };
    let (counts, mut found) = tokio::join!(files.read(&chunk, into), gather);
    found.counts = counts?;
    let rows: usize = found.batches.iter().map(RecordBatch::num_rows).sum();
    assert_eq!(found.counts, ChunkCounts { rows: rows as u64, dead: found.dead.len() as u64 });
    check_ordinals(&found);
    Ok(found)
}

/// Numbers of dead records ascend and are records of the chunk.
fn check_ordinals(found: &Found) {
    let ordinals: Vec<u64> = found.dead.iter().map(|dead| dead.ordinal).collect();
    assert!(ordinals.is_sorted_by(|one, other| one < other), "{ordinals:?}");
    let all = found.counts.rows + found.counts.dead;
    assert!(ordinals.iter().all(|ordinal| *ordinal < all), "{ordinals:?} of {all}");
}

/// All chunks; one that fails transiently is read again, as a run does.
async fn read_all(files: &Files) -> Result<Found, ExtractError> {
    let plan = files.plan().await?;
    assert_eq!(plan.fingerprint.as_deref(), Some(files.id()));
    let mut all = Found::default();
    for chunk in &plan.chunks {
        let mut attempt = read_chunk(files, chunk).await;
        if matches!(attempt, Err(ExtractError::Transient { .. })) {
            attempt = read_chunk(files, chunk).await;
        }
        let found = attempt?;
        all.batches.extend(found.batches);
        all.dead.extend(found.dead);
        all.counts.rows += found.counts.rows;
        all.counts.dead += found.counts.dead;
    }
    files.check().await?;
    Ok(all)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ::zstd::stream::encode_all(bytes, 1).unwrap()
}
