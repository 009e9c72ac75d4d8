//! How much memory a reader takes, whatever the files hold: measured of a process of its own, which does
//! nothing else. The limits are those of a whole run, of which a reader is a part.

#![allow(clippy::unwrap_used, reason = "the lint's exception for tests leaves their helpers out")]

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tidegate_config::{
    BadFilePolicy, BulkSource, Chunking, CsvOptions, FileCompression, FileFormat, ObjectSource,
    S3Options,
};
use tidegate_extract::{ChunkCounts, ExtractError, Piece, ReadRequest, Snapshot, open};
use tidegate_runtime::secrets::Secrets;
use tidegate_types::{BadRowPolicy, Field};
use tokio::sync::mpsc;

/// What a run may take, in KiB.
const LIMIT: u64 = 200_000_000 / 1024;
/// A file that is refused is not even begun: the process itself takes some 25 MB.
const LITTLE: u64 = 64 << 10;
/// Says to the child which file it reads.
const FILE: &str = "TIDEGATE_TEST_FILE";
const CHILD: &str = "the_process_that_is_measured_reads_a_file";
const MIB: usize = 1 << 20;

/// What the child told.
struct Told {
    outcome: String,
    /// The most memory it ever had, in KiB.
    peak: u64,
}

/// Lets a process of its own read a file, or those that a pattern means.
fn read_apart(file: &Path) -> Told {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", CHILD, "--nocapture", "--test-threads=1"])
        .env(FILE, file)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    let told = |what: &str| {
        let line = text.lines().find_map(|line| line.split_once(what));
        line.unwrap_or_else(|| panic!("{what} is not in {text}")).1.to_owned()
    };
    Told { outcome: told("outcome: "), peak: told("peak: ").parse().unwrap() }
}

#[tokio::test]
async fn the_process_that_is_measured_reads_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = std::env::var_os(FILE).map_or_else(
        || {
            let file = folder.path().join("a.csv");
            std::fs::write(&file, "text\nx\n").unwrap();
            file
        },
        Into::into,
    );
    let outcome = match read(&file).await {
        Ok(counts) => format!("{} rows, {} dead", counts.rows, counts.dead),
        Err(error) => error.to_string(),
    };
    println!("\noutcome: {outcome}");
    println!("peak: {}", peak());
    assert!(std::env::var_os(FILE).is_some() || outcome == "1 rows, 0 dead", "{outcome}");
}

/// The most memory that this process ever had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Reads all chunks side by side.
async fn read(file: &Path) -> Result<ChunkCounts, ExtractError> {
    let snapshot = open(request(file)).await?;
    let chunks = snapshot.plan().await?.chunks;
    let reads = chunks.iter().map(|chunk| read_chunk(snapshot.as_ref(), chunk));
    let counts = futures::future::try_join_all(reads).await?;
    let rows = counts.iter().map(|counts| counts.rows).sum();
    Ok(ChunkCounts { rows, dead: counts.iter().map(|counts| counts.dead).sum() })
}

async fn read_chunk(
    snapshot: &dyn Snapshot,
    chunk: &tidegate_extract::Chunk,
) -> Result<ChunkCounts, ExtractError> {
    let (into, mut pieces) = mpsc::channel(2);
    let drop_all = async {
        while let Some(piece) = pieces.recv().await {
            assert!(!matches!(piece, Piece::Rows(batch) if batch.num_rows() == 0));
        }
    };
    let (counts, ()) = tokio::join!(snapshot.read(chunk, into), drop_all);
    counts
}

fn request(file: &Path) -> ReadRequest {
    let name = file.file_name().unwrap().to_str().unwrap();
    let format = match name {
        name if name.contains(".csv") => FileFormat::Csv,
        name if name.contains(".ndjson") => FileFormat::NdJson,
        _ => FileFormat::Parquet,
    };
    let field = |(name, data_type): (&str, &str)| Field {
        name: name.into(),
        data_type: data_type.parse().unwrap(),
        required: false,
        from: None,
    };
    let fields = [("text", "string"), ("other", "string"), ("numbers", "list<long>")];
    let wanted = if format == FileFormat::NdJson { 3 } else { 2 };
    let source = ObjectSource {
        url: url::Url::from_file_path(file.parent().unwrap()).unwrap().to_string(),
        secret: None,
        endpoint: None,
        s3: S3Options::default(),
        glob: name.into(),
        format,
        compression: FileCompression::Auto,
        csv: CsvOptions { delimiter: ',', header: true, null: String::new() },
        on_bad_file: BadFilePolicy::Fail,
    };
    ReadRequest {
        source: BulkSource::ObjectStore(source),
        secrets: Secrets::new(None),
        application: "tidegate/test".into(),
        fields: Some(fields.into_iter().take(wanted).map(field).collect()),
        interval: None,
        time_zone: None,
        incremental: None,
        chunking: Chunking { field: None, target_rows: 1_000_000, parallelism: 4 },
        on_error: BadRowPolicy::DeadLetter,
        on_bad_file: BadFilePolicy::Fail,
        batch_rows: 16 << 10,
        batch_bytes: 2 << 20,
    }
}

/// A file of two columns with one page each: rows of half a mebibyte, so many.
fn parquet(path: &Path, rows: usize, compression: Compression) {
    let value = |row: usize| char::from(b'a' + (row % 26) as u8).to_string().repeat(MIB / 2);
    let text: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(value)));
    let other: ArrayRef = Arc::new(StringArray::from_iter_values((0..rows).map(value)));
    let batch = RecordBatch::try_from_iter([("text", text), ("other", other)]).unwrap();
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_dictionary_enabled(false)
        .set_data_page_size_limit(1 << 30)
        .set_write_batch_size(rows)
        .build();
    let file = File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn a_page_that_is_too_large_is_refused_before_memory_is_taken_for_it() {
    let folder = tempfile::tempdir().unwrap();
    for (name, compression) in
        [("zstd", Compression::ZSTD(ZstdLevel::default())), ("plain", Compression::UNCOMPRESSED)]
    {
        let file = folder.path().join(name);
        parquet(&file, 200, compression);
        let told = read_apart(&file);
        let says = format!("the file {name} cannot be read: column \"text\" has a page of 10485");
        assert!(told.outcome.contains(&says), "{}", told.outcome);
        assert!(told.peak < LITTLE, "{name}: {} KiB", told.peak);
    }
}

/// Says of the first page that it has fewer bytes than it has.
fn belittle(path: &Path, bytes: u32) {
    let mut file = std::fs::read(path).unwrap();
    assert_eq!(file[4..7], [0x15, 0x00, 0x15], "the header of a data page");
    let length = file[7..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    for (place, byte) in file[7..7 + length].iter_mut().enumerate() {
        let more = if place + 1 < length { 0x80 } else { 0 };
        *byte = ((bytes << 1) >> (7 * place)) as u8 & 0x7f | more;
    }
    std::fs::write(path, file).unwrap();
}

#[test]
fn a_page_that_is_larger_than_it_says_is_refused_before_memory_is_taken_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gzip");
    parquet(&file, 60, Compression::GZIP(GzipLevel::default()));
    assert_eq!(read_apart(&file).outcome, "60 rows, 0 dead");
    parquet(&file, 200, Compression::GZIP(GzipLevel::default()));
    belittle(&file, 1 << 20);
    let told = read_apart(&file);
    let says = "column \"text\" has a page that is larger than the 1048576 bytes that it says";
    assert!(told.outcome.contains(says), "{}", told.outcome);
    assert!(told.peak < LITTLE, "{} KiB", told.peak);
}

#[test]
fn pages_that_are_just_not_too_large_are_read_within_the_memory_of_a_run() {
    let folder = tempfile::tempdir().unwrap();
    for (name, compression) in
        [("zstd", Compression::ZSTD(ZstdLevel::default())), ("plain", Compression::UNCOMPRESSED)]
    {
        let file = folder.path().join(name);
        parquet(&file, 60, compression);
        let told = read_apart(&file);
        assert_eq!(told.outcome, "60 rows, 0 dead");
        assert!(told.peak < LIMIT, "{name}: {} KiB", told.peak);
    }
}

#[test]
fn large_pages_of_several_files_are_in_memory_one_file_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..3 {
        parquet(&folder.path().join(format!("plain-{number}")), 60, Compression::UNCOMPRESSED);
    }
    let told = read_apart(&folder.path().join("plain-*"));
    assert_eq!(told.outcome, "180 rows, 0 dead");
    assert!(told.peak < LIMIT, "{} KiB", told.peak);
}

/// Packed, so that a gigabyte is a megabyte.
fn packed(path: &Path, begin: &str, repeated: u8, mebibytes: usize, end: &str) {
    let mut file = zstd::stream::Encoder::new(File::create(path).unwrap(), 1).unwrap();
    file.write_all(begin.as_bytes()).unwrap();
    let block = vec![repeated; MIB];
    for _ in 0..mebibytes {
        file.write_all(&block).unwrap();
    }
    file.write_all(end.as_bytes()).unwrap();
    file.finish().unwrap();
}

#[test]
fn lines_without_end_take_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let line = r#"{"text":""#;
    for (name, begin, end, outcome) in [
        ("a.ndjson.zst", line, "\"}\n{\"text\":\"b\"}\n", "1 rows, 1 dead"),
        (
            "b.csv.zst",
            "text,other\na,\"",
            "\"\nb,c\n",
            "the record of line 2 is longer than 16 MiB",
        ),
    ] {
        let file = folder.path().join(name);
        packed(&file, begin, b'x', 1_024, end);
        assert!(file.metadata().unwrap().len() < MIB as u64);
        let told = read_apart(&file);
        assert!(told.outcome.contains(outcome), "{name}: {}", told.outcome);
        assert!(told.peak < LIMIT, "{name}: {} KiB", told.peak);
    }
}

#[test]
fn records_of_very_many_cells_or_values_take_no_more_than_a_run_may() {
    let folder = tempfile::tempdir().unwrap();
    let numbers = "1,".repeat(15 * MIB / 2);
    let many = format!("{{\"numbers\":[{numbers}1]}}\n");
    for (name, text, outcome) in [
        ("a.csv", "text,other\n".to_owned() + &",".repeat(15 * MIB) + "\nb,c\n", "1 rows, 1 dead"),
        ("b.ndjson", many, "1 rows, 0 dead"),
    ] {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        let told = read_apart(&file);
        assert_eq!(told.outcome, outcome, "{name}");
        assert!(told.peak < LIMIT, "{name}: {} KiB", told.peak);
    }
}
