//! Files that are cut off, garbled, or change.

use proptest::prelude::*;
use tidegate_types::{Explained, Reason};

use super::*;

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
    let beside = ask("in/*.json").open_in(&store).await.unwrap();
    assert_eq!(read_all(&beside).await.unwrap().rows().len(), 3);
}
