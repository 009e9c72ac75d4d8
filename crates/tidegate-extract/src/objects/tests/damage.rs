//! Files that are cut off, garbled, or change.

use std::fmt;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use proptest::prelude::*;
use tidegate_testing::{HookedStore, Inner, StoreHooks};
use tidegate_types::{Explained, Reason};

use super::*;
use crate::objects::blocking;
use crate::objects::fetch::Fetch;
use crate::objects::glob::Glob;
use crate::objects::listing::{PinnedFile, list};

const FIELDS: [&str; 1] = ["id: long"];

fn lines(count: u32) -> Vec<u8> {
    (0..count).map(|n| format!("{{\"id\":{n}}}\n")).collect::<String>().into_bytes()
}

#[tokio::test]
async fn a_damaged_file_stops_the_run_and_is_named() {
    let store = memory();
    let whole = gzip(&lines(5_000));
    put(&store, "a.json.gz", whole[..whole.len() - 9].to_vec()).await;
    let files = ask(FileFormat::NdJson, "*").fields(&FIELDS).open_in(&store).await.unwrap();
    let error = read_all(&files).await.unwrap_err();
    assert!(!error.is_transient());
    assert!(error.to_string().contains("a.json.gz cannot be read"), "{error}");
}

/// Some rows of the damaged files are handed over before the damage is met; they must not stay.
#[tokio::test]
async fn a_damaged_file_is_one_dead_letter_and_none_of_its_rows_counts() {
    let store = memory();
    let cut = |bytes: Vec<u8>| bytes[..bytes.len() - 9].to_vec();
    put(&store, "1.json", lines(10)).await;
    put(&store, "2.json.gz", cut(gzip(&lines(90_000)))).await;
    put(&store, "3.json", lines(20)).await;
    put(&store, "4.json.zst", cut(zstd(&lines(90_000)))).await;
    put(&store, "5.json.gz", "no gzip at all").await;
    put(&store, "6.json", lines(30)).await;
    let ask = ask(FileFormat::NdJson, "*").fields(&FIELDS).setting_aside();
    let files = ask.open_in(&store).await.unwrap();
    let plan = files.plan().await.unwrap();
    assert_eq!(plan.chunks.len(), 1);
    let first = read_chunk(&files, &plan.chunks[0]).await.unwrap_err();
    assert!(first.is_transient() && first.to_string().contains("2.json.gz, 4.json.zst"), "{first}");
    let found = read_chunk(&files, &plan.chunks[0]).await.unwrap();
    assert_eq!(found.counts, ChunkCounts { rows: 60, dead: 3 });
    let places: Vec<_> = found.places();
    assert_eq!(
        places,
        [("2.json.gz", "Malformed"), ("4.json.zst", "Malformed"), ("5.json.gz", "Malformed")]
    );
    assert_eq!(found.dead[2].payload, "no gzip at all");
}

#[tokio::test]
async fn a_file_that_is_written_again_or_gone_ends_the_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let (store, path) = (memory(), folder.path().join("a.json"));
    for again in [true, false] {
        std::fs::write(&path, lines(3)).unwrap();
        put(&store, "a.json", lines(3)).await;
        let ask = ask(FileFormat::NdJson, "*").fields(&FIELDS);
        let opened =
            [ask.open_in(&store).await.unwrap(), ask.open_folder(folder.path()).await.unwrap()];
        if again {
            put(&store, "a.json", lines(4)).await;
            std::fs::write(&path, lines(4)).unwrap();
        } else {
            store.delete(&"a.json".into()).await.unwrap();
            std::fs::remove_file(&path).unwrap();
        }
        for files in opened {
            let error = read_all(&files).await.unwrap_err();
            assert!(error.is_transient());
            assert_eq!(error.reason(), Reason::SourceChanged);
            assert!(error.to_string().contains("a.json"), "{error}");
        }
    }
}

/// Asks for whatever is there: a cache, or a server that knows no conditions.
#[derive(Debug)]
struct Heedless;

impl StoreHooks for Heedless {
    fn get<'a>(
        &'a self,
        inner: Inner<'a>,
        path: Path,
        options: GetOptions,
    ) -> BoxFuture<'a, object_store::Result<GetResult>> {
        let options = GetOptions { if_match: None, if_unmodified_since: None, ..options };
        Box::pin(async move { inner.get_opts(&path, options).await })
    }
}

#[tokio::test]
async fn a_file_of_the_same_size_and_another_etag_is_another_whatever_the_store_heeds() {
    for (format, bytes) in [
        (FileFormat::NdJson, lines(40)),
        (FileFormat::Csv, b"id\n1\n".to_vec()),
        (FileFormat::Parquet, super::parquets::numbers(40, 16)),
    ] {
        let inner = memory();
        put(&inner, "a", bytes.clone()).await;
        let store: Arc<dyn ObjectStore> = Arc::new(HookedStore::new(Arc::clone(&inner), Heedless));
        let files = ask(format, "*").fields(&FIELDS).open_in(&store).await.unwrap();
        let plan = files.plan().await.unwrap();
        assert!(read_chunk(&files, &plan.chunks[0]).await.is_ok());
        put(&inner, "a", bytes).await;
        let error = read_chunk(&files, &plan.chunks[0]).await.unwrap_err();
        assert_eq!((error.reason(), error.is_transient()), (Reason::SourceChanged, true));
        assert!(error.to_string().contains("its etag is another"), "{format:?}: {error}");
    }
}

/// What an upload leaves that failed at once; plain, a file may have nothing in it.
#[tokio::test]
async fn a_packed_file_without_a_byte_is_damaged() {
    for (name, damaged) in [("a.json.gz", true), ("a.json.zst", true), ("a.json", false)] {
        let store = memory();
        put(&store, name, "").await;
        put(&store, "b.json", lines(3)).await;
        let ask = ask(FileFormat::NdJson, "*").fields(&FIELDS);
        let read = read_all(&ask.open_in(&store).await.unwrap()).await;
        match read {
            Ok(found) => assert!(!damaged && found.counts.rows == 3, "{name}"),
            Err(error) => {
                let text = error.to_string();
                assert!(damaged && text.contains(name) && text.contains("it is empty"), "{text}");
            }
        }
    }
}

#[tokio::test]
async fn a_link_that_leads_to_a_folder_above_it_is_named_and_not_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("in")).unwrap();
    std::fs::write(folder.path().join("in/a.json"), lines(3)).unwrap();
    std::os::unix::fs::symlink(folder.path(), folder.path().join("in/up")).unwrap();
    let ask = ask(FileFormat::NdJson, "**/*.json").fields(&FIELDS);
    let error = ask.open_folder(folder.path()).await.err().expect("refused");
    assert_eq!((error.reason(), error.is_transient()), (Reason::InvalidConfiguration, false));
    assert!(error.to_string().contains("in/up"), "{error}");
}

/// A store without etags is asked for what was not written since the listing, to the second.
#[tokio::test]
async fn a_file_without_an_etag_is_pinned_by_its_time() {
    let store = memory();
    put(&store, "a.json", lines(3)).await;
    let listed = list(&store, &Glob::any(&["*".to_owned()]).unwrap()).await.unwrap().remove(0);
    for (seconds, changed) in [(0, false), (-10, true)] {
        let modified = listed.modified + seconds * 1_000_000;
        let pinned = PinnedFile { etag: None, modified, ..listed.clone() };
        let read = move |fetch: &Fetch| fetch.range(&pinned, 0..pinned.size);
        let read = blocking(&store, read).await.unwrap();
        assert_eq!(read.is_err(), changed, "{read:?}");
        assert!(read.err().is_none_or(|error| error.reason() == Reason::SourceChanged));
    }
}

/// Nobody else counts the lines of a file: one that ends early would be rows that are missing.
#[tokio::test]
async fn an_answer_that_ends_early_is_no_file() {
    let whole = memory();
    put(&whole, "a.json", lines(1_000)).await;
    let store: Arc<dyn ObjectStore> = Arc::new(CutShort(whole));
    let files = ask(FileFormat::NdJson, "*").fields(&FIELDS).open_in(&store).await.unwrap();
    let error = read_all(&files).await.unwrap_err();
    assert_eq!((error.reason(), error.is_transient()), (Reason::SourceChanged, true), "{error}");
}

/// Nothing of a directory is pinned; a file that grows or changes in place is noticed at its end.
#[tokio::test]
async fn a_local_file_that_changes_while_it_is_read_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.json");
    std::fs::write(&path, lines(200_000)).unwrap();
    let ask = ask(FileFormat::NdJson, "*").fields(&FIELDS);
    let files = ask.open_folder(folder.path()).await.unwrap();
    let plan = files.plan().await.unwrap();
    let (into, mut pieces) = mpsc::channel(1);
    let interfere = async {
        // The reader waits for us, with most of the file before it.
        pieces.recv().await.unwrap();
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"id\":-1}\n").unwrap();
        while pieces.recv().await.is_some() {}
    };
    let (counts, ()) = tokio::join!(files.read(&plan.chunks[0], into), interfere);
    assert_eq!(counts.unwrap_err().reason(), Reason::SourceChanged);
}

#[tokio::test]
async fn reading_ends_when_nobody_takes_the_rows() {
    let store = memory();
    put(&store, "a.json", lines(100_000)).await;
    let files = ask(FileFormat::NdJson, "*").fields(&FIELDS).open_in(&store).await.unwrap();
    let plan = files.plan().await.unwrap();
    let (into, mut pieces) = mpsc::channel(1);
    let leave = async {
        pieces.recv().await.unwrap();
        drop(pieces);
    };
    let (counts, ()) = tokio::join!(files.read(&plan.chunks[0], into), leave);
    assert!(matches!(counts.unwrap_err(), ExtractError::Cancelled));
}

#[tokio::test]
async fn a_line_that_is_too_long_is_set_aside_with_its_beginning() {
    let store = memory();
    let long = format!("{{\"id\":1}}\n{{\"x\":\"{}\"}}\n{{\"id\":2}}\n", "y".repeat(17 << 20));
    put(&store, "a.json.gz", gzip(long.as_bytes())).await;
    put(&store, "b.json", "z".repeat(17 << 20)).await;
    let files = ask(FileFormat::NdJson, "*").fields(&FIELDS).open_in(&store).await.unwrap();
    let found = read_all(&files).await.unwrap();
    assert_eq!(found.rows(), ["{\"id\":1}", "{\"id\":2}"]);
    assert_eq!(found.places(), [("a.json.gz:2", "TooLarge"), ("b.json:1", "TooLarge")]);
    assert_eq!(found.dead[0].payload.len(), 64 << 10);
}

/// A store whose answers end after the first lines, as if that were all.
#[derive(Debug)]
struct CutShort(Arc<dyn ObjectStore>);

type Answer<'a, T> = BoxFuture<'a, object_store::Result<T>>;

impl fmt::Display for CutShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cut short", self.0)
    }
}

impl ObjectStore for CutShort {
    fn put_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Answer<'c, PutResult>
    where
        'a: 'c,
        'b: 'c,
    {
        self.0.put_opts(location, payload, options)
    }

    fn put_multipart_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b Path,
        options: PutMultipartOptions,
    ) -> Answer<'c, Box<dyn MultipartUpload>>
    where
        'a: 'c,
        'b: 'c,
    {
        self.0.put_multipart_opts(location, options)
    }

    fn get_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b Path,
        options: GetOptions,
    ) -> Answer<'c, GetResult>
    where
        'a: 'c,
        'b: 'c,
    {
        Box::pin(async move {
            let bytes = self.0.get_opts(location, options.clone()).await?.bytes().await?;
            let mut answer = self.0.get_opts(location, options).await?;
            let first = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            let some = futures::stream::iter([Ok(bytes.slice(..first))]);
            answer.payload = GetResultPayload::Stream(some.boxed());
            Ok(answer)
        })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.0.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.0.list(prefix)
    }

    fn list_with_delimiter<'a, 'b, 'c>(&'a self, prefix: Option<&'b Path>) -> Answer<'c, ListResult>
    where
        'a: 'c,
        'b: 'c,
    {
        self.0.list_with_delimiter(prefix)
    }

    fn copy_opts<'a, 'b, 'd, 'c>(
        &'a self,
        from: &'b Path,
        to: &'d Path,
        options: CopyOptions,
    ) -> Answer<'c, ()>
    where
        'a: 'c,
        'b: 'c,
        'd: 'c,
    {
        self.0.copy_opts(from, to, options)
    }
}

/// A file whose bytes are changed or cut off at will, read under both policies.
async fn survives(format: FileFormat, name: &str, bytes: Vec<u8>) {
    let store = memory();
    put(&store, name, bytes).await;
    let mut ask = ask(format, "*").fields(&FIELDS);
    ask.batch_rows = 7;
    for ask in [ask.clone(), ask.setting_aside()] {
        let files = ask.open_in(&store).await.unwrap();
        match read_all(&files).await {
            // A damaged file is never in by half.
            Ok(found) if found.places().iter().any(|(place, _)| *place == name) => {
                assert_eq!(found.counts, ChunkCounts { rows: 0, dead: 1 });
            }
            Ok(_) => {}
            Err(error) => assert!(!error.is_transient(), "{error}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn garbled_files_never_panic(
        which in 0_usize..6,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        cuts: bool,
    ) {
        let csv = b"id,x\n1,\"a\nb\"\n2,c\n".to_vec();
        let (format, name, mut bytes) = match which {
            0 => (FileFormat::NdJson, "a.json", lines(40)),
            1 => (FileFormat::NdJson, "a.json.gz", gzip(&lines(40))),
            2 => (FileFormat::NdJson, "a.json.zst", zstd(&lines(40))),
            3 => (FileFormat::Csv, "a.csv", csv),
            4 => (FileFormat::Csv, "a.csv.gz", gzip(&csv)),
            _ => (FileFormat::Parquet, "a.parquet", super::parquets::numbers(40, 16)),
        };
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(survives(format, name, bytes));
    }
}

/// Their rows would be one long header, or null, and the run would be done.
#[tokio::test]
async fn a_file_whose_columns_are_nearly_the_declared_ones_is_refused() {
    for (name, bytes, told) in [
        ("a.csv", "id,T\n1,x\n", "it calls the column \"T\", which is declared as \"t\""),
        ("a.csv", "id, t\n1,x\n", "it calls the column \" t\", which is declared as \"t\""),
        ("a.csv", "id,t\r1,x\r2,y\r", "its lines end with a carriage return alone"),
    ] {
        let store = memory();
        put(&store, name, bytes).await;
        let ask = ask(FileFormat::Csv, "*").fields(&["id: long", "t: string"]);
        let files = ask.open_in(&store).await.unwrap();
        let error = read_all(&files).await.unwrap_err();
        assert!(!error.is_transient() && error.to_string().contains(told), "{error}");
    }
    let store = memory();
    put(&store, "a.parquet", super::parquets::numbers(3, 3)).await;
    let ask = ask(FileFormat::Parquet, "*").fields(&["ID: long"]);
    let error = read_all(&ask.open_in(&store).await.unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("it calls the column \"id\""), "{error}");
}

#[tokio::test]
async fn a_record_whose_names_are_nearly_the_declared_ones_is_set_aside() {
    let store = memory();
    let lines = "{\"id\":1}\n{\"ID\":2}\n{\"id\":3,\"s\":{\"b\":1}}\n{\"id\":4,\"u\":0}\n";
    put(&store, "a.json", lines).await;
    let ask = ask(FileFormat::NdJson, "*").fields(&["id: long", "s: struct<B: long>"]);
    let found = read_all(&ask.open_in(&store).await.unwrap()).await.unwrap();
    assert_eq!(found.rows(), ["{\"id\":1}", "{\"id\":4}"]);
    assert_eq!(found.places(), [("a.json:2", "MissingField"), ("a.json:3", "MissingField")]);
    let detail = &found.dead[0].detail;
    assert!(detail.contains("calls it \"ID\", which is declared as \"id\""), "{detail}");
}

/// A table's folder holds what its log replaced, too; the pipeline's own would double with each run.
#[tokio::test]
async fn files_of_a_delta_table_are_not_a_source() {
    let store = memory();
    put(&store, "in/a.json", lines(3)).await;
    put(&store, "in/out/1.json", lines(3)).await;
    put(&store, "in/out/_delta_log/00000000000000000000.json", "{}").await;
    let ask = |glob: &str| ask(FileFormat::NdJson, glob).fields(&FIELDS);
    let refused = ask("in/**/*.json").open_in(&store).await;
    let error = refused.err().expect("refused");
    assert_eq!((error.reason(), error.is_transient()), (Reason::InvalidConfiguration, false));
    assert!(error.to_string().contains("in/out/1.json belongs to the Delta table"), "{error}");
    // The log lies above the folder that is listed.
    put(&store, "lake/_delta_log/00000000000000000000.json", "{}").await;
    put(&store, "lake/dt=1/1.json", lines(3)).await;
    assert!(ask("lake/dt=1/*.json").open_in(&store).await.is_err());
    let beside = ask("in/*.json").open_in(&store).await.unwrap();
    assert_eq!(read_all(&beside).await.unwrap().rows().len(), 3);
}
