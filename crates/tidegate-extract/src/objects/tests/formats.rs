//! Every format and compression, and what cells and lines mean.

use tidegate_types::Reason;

use super::*;

const FIELDS: [&str; 3] = ["id: long!", "name: string", "price: decimal(9,2)"];

fn lines(range: std::ops::Range<u32>) -> String {
    range.map(|n| format!("{{\"id\":{n},\"name\":\"n {n}\",\"price\":{n}.25}}\n")).collect()
}

fn csv(range: std::ops::Range<u32>) -> String {
    let rows = range.map(|n| format!("{n}.25,{n},\"n {n}\"\n"));
    "price,id,name\n".to_owned() + &rows.collect::<String>()
}

fn expected(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| format!("{{\"id\":{n},\"name\":\"n {n}\",\"price\":{n}.25}}")).collect()
}

#[tokio::test]
async fn text_is_read_plain_and_packed() {
    let folder = tempfile::tempdir().unwrap();
    let write =
        |name: &str, bytes: Vec<u8>| std::fs::write(folder.path().join(name), bytes).unwrap();
    for (format, end, text) in [
        (FileFormat::NdJson, "json", lines as fn(std::ops::Range<u32>) -> String),
        (FileFormat::Csv, "csv", csv),
    ] {
        write(&format!("1.{end}"), text(0..900).into());
        write(&format!("2.{end}.gz"), gzip(text(900..1800).as_bytes()));
        write(&format!("3.{end}.zst"), zstd(text(1800..2700).as_bytes()));
        write(&format!("4.{end}"), Vec::new());
        write(&format!("5.{end}.gz"), gzip(b""));
        let ask = ask(format, &format!("*.{end}*")).fields(&FIELDS);
        let files = ask.open_folder(folder.path()).await.unwrap();
        let found = read_all(&files).await.unwrap();
        assert_eq!(found.rows(), expected(0..2700), "{format:?}");
        assert_eq!(found.places(), []);
    }
}

#[tokio::test]
async fn packed_files_may_be_several_behind_each_other() {
    let store = memory();
    put(&store, "a.json.gz", [gzip(lines(0..5).as_bytes()), gzip(lines(5..9).as_bytes())].concat())
        .await;
    put(
        &store,
        "b.json.zst",
        [zstd(lines(9..12).as_bytes()), zstd(lines(12..13).as_bytes())].concat(),
    )
    .await;
    let files = ask(FileFormat::NdJson, "*").fields(&FIELDS).open_in(&store).await.unwrap();
    assert_eq!(read_all(&files).await.unwrap().rows(), expected(0..13));
}

#[tokio::test]
async fn records_that_cannot_be_rows_are_set_aside_with_their_place() {
    let store = memory();
    let json = "{\"id\":1}\r\n\n{\"id\":\"2\"}\n{\"name\":\"x\"}\nnonsense\n{\"id\":5}";
    put(&store, "a.json", json).await;
    let csv = "id,name,price\n1,a,1.00\n2,b\n,c,\nx,d,\n\"5\",\"e\"\"\n\",1.255\n6,\"f\"g,\n7,,\n";
    put(&store, "b.csv", csv).await;
    let json = ask(FileFormat::NdJson, "*.json").fields(&FIELDS).open_in(&store).await.unwrap();
    let found = read_all(&json).await.unwrap();
    assert_eq!(found.rows(), ["{\"id\":1}", "{\"id\":5}"]);
    assert_eq!(
        found.places(),
        [("a.json:3", "WrongType"), ("a.json:4", "MissingField"), ("a.json:5", "Malformed")]
    );
    assert_eq!(found.dead[2].payload, "nonsense");
    assert_eq!(found.dead.iter().map(|dead| dead.ordinal).collect::<Vec<_>>(), [1, 2, 3]);

    let csv = ask(FileFormat::Csv, "*.csv").fields(&FIELDS).open_in(&store).await.unwrap();
    let found = read_all(&csv).await.unwrap();
    assert_eq!(found.rows(), ["{\"id\":1,\"name\":\"a\",\"price\":1.00}", "{\"id\":7}"]);
    assert_eq!(
        found.places(),
        [
            ("b.csv:3", "Malformed"),
            ("b.csv:4", "MissingField"),
            ("b.csv:5", "WrongType"),
            ("b.csv:6", "OutOfRange"),
            ("b.csv:8", "Malformed"),
        ]
    );
    assert_eq!(found.dead[3].payload, "\"5\",\"e\"\"\n\",1.255");
}

#[tokio::test]
async fn halting_stops_at_the_first_bad_record_and_names_it() {
    let store = memory();
    put(&store, "a.json", "{\"id\":1}\n{\"id\":true}\n").await;
    let mut ask = ask(FileFormat::NdJson, "*").fields(&FIELDS);
    ask.on_error = BadRowPolicy::Halt;
    let files = ask.open_in(&store).await.unwrap();
    let error = read_all(&files).await.unwrap_err();
    assert!(matches!(error, ExtractError::Permanent { reason: Reason::WrongType, .. }));
    assert!(error.to_string().starts_with("a.json:2: id: expected long"), "{error}");
}

#[tokio::test]
async fn empty_cells_are_null_and_quoted_ones_are_empty_text() {
    let store = memory();
    put(
        &store,
        "a.csv",
        "\u{feff}id;name;price\r\n1;;\r\n2;\"\";\"\"\r\n3;NULL;NULL\r\n4;\"NULL\";\r\n",
    )
    .await;
    let mut ask = ask(FileFormat::Csv, "*").fields(&FIELDS);
    ask.source.csv = CsvOptions { delimiter: ';', header: true, null: "NULL".into() };
    let found = read_all(&ask.open_in(&store).await.unwrap()).await.unwrap();
    assert_eq!(
        found.rows(),
        ["{\"id\":1}", "{\"id\":2,\"name\":\"\"}", "{\"id\":3}", "{\"id\":4,\"name\":\"NULL\"}"]
    );
}

/// As two files leave them that were put together, of which the first was empty.
#[tokio::test]
async fn byte_order_marks_in_front_are_passed_over_however_many() {
    let store = memory();
    put(&store, "a.csv", "\u{feff}\u{feff}id,name\n1,x\n").await;
    put(&store, "b.csv.gz", gzip("\u{feff}\u{feff}\u{feff}id,name\n2,y\n".as_bytes())).await;
    let files = ask(FileFormat::Csv, "*").fields(&FIELDS).open_in(&store).await.unwrap();
    let rows = read_all(&files).await.unwrap().rows();
    assert_eq!(rows, ["{\"id\":1,\"name\":\"x\"}", "{\"id\":2,\"name\":\"y\"}"]);
}

#[tokio::test]
async fn without_a_header_columns_go_by_their_order() {
    let store = memory();
    put(&store, "a.csv", "1,x,2\n\n3,,4.5\n").await;
    let mut ask = ask(FileFormat::Csv, "*").fields(&FIELDS);
    ask.source.csv.header = false;
    let found = read_all(&ask.open_in(&store).await.unwrap()).await.unwrap();
    assert_eq!(
        found.rows(),
        ["{\"id\":1,\"name\":\"x\",\"price\":2.00}", "{\"id\":3,\"price\":4.50}"]
    );
}

#[tokio::test]
async fn an_empty_line_is_the_null_of_an_only_column() {
    let store = memory();
    put(&store, "a.csv", "name\nx\n\ny\n").await;
    let ask = ask(FileFormat::Csv, "*").fields(&["name: string"]);
    let found = read_all(&ask.open_in(&store).await.unwrap()).await.unwrap();
    assert_eq!(found.rows(), ["{\"name\":\"x\"}", "{}", "{\"name\":\"y\"}"]);
}

#[tokio::test]
async fn headers_that_do_not_fit_are_faults_of_the_file() {
    for (text, says) in [
        ("id,id\n1,2\n", "twice"),
        ("name\nx\n", "lacks the column \"id\""),
        ("1,2,3\n", "lacks the column \"id\""),
        ("\"id\"x,b\n", "closing quote"),
    ] {
        let store = memory();
        put(&store, "a.csv", text).await;
        let files = ask(FileFormat::Csv, "*").fields(&FIELDS).open_in(&store).await.unwrap();
        let error = read_all(&files).await.unwrap_err().to_string();
        assert!(error.contains("a.csv") && error.contains(says), "{error}");
    }
}

#[tokio::test]
async fn what_cannot_work_is_refused_before_anything_is_read() {
    let store = memory();
    put(&store, "a.csv", "id\n1\n").await;
    let mut packed = ask(FileFormat::Parquet, "*");
    packed.source.compression = FileCompression::Gzip;
    let mut delimiter = ask(FileFormat::Csv, "*").fields(&FIELDS);
    delimiter.source.csv.delimiter = '"';
    for (ask, says) in [
        (ask(FileFormat::Csv, "*"), "schema.fields"),
        (packed, "compressed inside"),
        (ask(FileFormat::Csv, "%Y/*").fields(&FIELDS), "schedule"),
        (delimiter, "delimit"),
        (ask(FileFormat::Csv, "*").fields(&["a: list<long>"]), "\"a\""),
    ] {
        let error = match ask.open_in(&store).await {
            Ok(files) => read_all(&files).await.unwrap_err(),
            Err(error) => error,
        };
        assert!(!tidegate_types::Explained::is_transient(&error));
        let told = tidegate_runtime::in_words(&error);
        assert!(told.contains(says), "{told}");
    }
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_an_error_and_one_without_files_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let ask = ask(FileFormat::NdJson, "x/*").fields(&FIELDS);
    let files = ask.open_folder(folder.path()).await.unwrap();
    assert!(files.plan().await.unwrap().chunks.is_empty());
    let missing = folder.path().join("missing");
    let error = ask.open_folder(&missing).await.err().unwrap();
    assert!(tidegate_runtime::in_words(&error).contains("does not exist"));
    assert!(!missing.exists(), "nothing is made");
}
