//! Replacing rows in small tables that real files make up.

use std::collections::BTreeSet;

use arrow::array::{
    ArrayRef, AsArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
use jiff::Timestamp;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_types::{DataInterval, Incarnation, Ledger, PartitionId};
use url::Url;

use super::*;
use crate::files::FileWriter;
use crate::files::layout::{DataPath, FileName, log_entry, object_of_log_path};
use crate::files::reader::read_columns;
use crate::files::system::{self, BulkColumns};
use crate::ledger::{Effect, IntervalKey};
use crate::log::{CommitKind, CommitRequest, CommitTag, Outcome, RetryPolicy, TableSpec};

const HOUR: i64 = 3_600_000_000;

/// A row: whose, of which interval's start in microseconds, and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    source: Option<&'static str>,
    interval: Option<i64>,
    value: i64,
}

/// The event time of a row by its value; none of some.
fn happened(value: i64) -> Option<i64> {
    (value % 7 != 0).then_some(value % 5 * HOUR + value % 3 * (HOUR - 1) / 2)
}

const SOURCES: [Option<&str>; 6] =
    [Some("l/g1"), Some("l/g12"), Some("l-x/g1"), Some("l/00000000000000ab"), Some("k/g1"), None];

fn ledger() -> Ledger {
    Ledger::new("l").expect("valid")
}

fn hours(start: i64, end: i64) -> DataInterval {
    let at = |hour: i64| Timestamp::from_second(hour * 3600).expect("in range");
    DataInterval::new(at(start), at(end)).expect("not empty")
}

/// What a selection takes, said once more and otherwise.
fn is_selected(row: &Row, interval: Option<DataInterval>) -> bool {
    let ours = row.source.is_some_and(|source| source.starts_with("l/g"));
    ours && interval.is_none_or(|wanted| {
        row.interval.is_some_and(|at| {
            at >= wanted.start().as_microsecond() && at < wanted.end().as_microsecond()
        })
    })
}

/// How somebody wrote a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    Ours,
    /// Without statistics.
    Stranger,
    /// Rows only counted.
    Counting,
    /// Without the column of intervals, as before there were bulk runs.
    Older,
}

struct Table {
    log: CommitLog,
    next: u64,
}

impl Table {
    async fn new() -> Self {
        Self::over(Arc::new(InMemory::new())).await
    }

    async fn over(store: Arc<dyn ObjectStore>) -> Self {
        let log = CommitLog::new(store, Url::parse("test:///t/").expect("a url"));
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let declared =
            Schema::new(vec![Field::new("v", DataType::Int64, true), Field::new("at", time, true)]);
        let day = Field::new("day", DataType::Utf8, true);
        let schema = BulkColumns.table_schema(&declared, &[day]);
        let spec = TableSpec::new(Arc::new(schema), vec!["day".to_owned()]);
        let mut table = Self { log, next: 1 };
        let request = table.request(CommitKind::Create);
        let prepared = table.log.prepare_create(&spec, &request).await.expect("prepared");
        table.settle(&prepared).await;
        table
    }

    fn nonce(&mut self) -> Nonce {
        self.next += 1;
        Nonce::from_random(self.next << 1)
    }

    fn request(&mut self, kind: CommitKind) -> CommitRequest {
        CommitRequest::new(CommitTag { ledger: ledger(), kind, nonce: self.nonce() })
    }

    async fn settle(&self, prepared: &crate::log::PreparedCommit) {
        let never = std::future::pending();
        let outcome = self.log.settle(prepared, &RetryPolicy::default(), never).await;
        assert!(matches!(outcome, Ok(Outcome::Won)), "{outcome:?}");
    }

    async fn now(&self) -> TableSnapshot {
        self.log.load().await.expect("readable").expect("there")
    }

    async fn commit(&mut self, adds: Vec<DataFile>, removes: Vec<LiveFile>) {
        let request = CommitRequest { adds, removes, ..self.request(CommitKind::Run) };
        let prepared = self.log.prepare(&self.now().await, &request).await.expect("prepared");
        self.settle(&prepared).await;
    }

    /// Writes rows as one file of the partition `day`.
    async fn write(&mut self, rows: &[Row], writer: Writer, day: &str) -> DataFile {
        let nonce = self.nonce();
        let name = FileName::of_run(ledger(), 1, 0, nonce, 0);
        let value = ("day".to_owned(), Some(day.to_owned()));
        let path = DataPath::new(std::slice::from_ref(&value), &name);
        let batch = batch(rows, writer != Writer::Older);
        let options = WriteOptions::default();
        let store = Arc::clone(self.log.store());
        let values = BTreeMap::from([value]);
        let mut file = FileWriter::create(store, path, batch.schema(), values, &options);
        file.write(&batch).await.expect("written");
        let mut file = file.finish().await.expect("finished");
        match writer {
            Writer::Ours | Writer::Older => {}
            Writer::Stranger => file.stats = json!({}),
            Writer::Counting => file.stats = json!({"numRecords": file.rows}),
        }
        file
    }

    /// The values of all rows, each with the folder that it lies in.
    async fn values(&self) -> BTreeSet<(i64, String)> {
        let mut values = BTreeSet::new();
        for file in self.log.live_files(&self.now().await).await.expect("listed") {
            let path = object_of_log_path(&file.path).expect("inside");
            let day = file.partition_values["day"].clone().expect("a day");
            assert!(path.as_ref().starts_with(&format!("day={day}/")), "{path}");
            let mut batches = read_columns(self.log.store(), &path, &["v"]).await.expect("read");
            while let Some(batch) = batches.try_next().await.expect("read") {
                let column = batch.column(0).as_primitive::<Int64Type>().clone();
                for value in column.values() {
                    assert!(values.insert((*value, day.clone())), "{value} stands twice");
                }
            }
        }
        values
    }

    fn replacer(&mut self, interval: Option<DataInterval>) -> Replacer {
        self.replacing(Selection::new(&ledger(), interval))
    }

    fn replacing(&mut self, selection: Selection) -> Replacer {
        let naming = Naming { ledger: ledger(), generation: 2, nonce: self.nonce() };
        Replacer::new(self.log.clone(), selection, naming, WriteOptions::default())
    }
}

fn batch(rows: &[Row], with_intervals: bool) -> RecordBatch {
    let intervals = TimestampMicrosecondArray::from_iter(rows.iter().map(|row| row.interval));
    let times = TimestampMicrosecondArray::from_iter(rows.iter().map(|row| happened(row.value)));
    let mut columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("v", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.value))), true),
        ("at", Arc::new(times.with_timezone("UTC")), true),
        (system::PARTITION, Arc::new(Int32Array::from_iter_values(rows.iter().map(|_| 3))), true),
        (
            system::SEQUENCE,
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.value))),
            true,
        ),
        (system::SOURCE, Arc::new(StringArray::from_iter(rows.iter().map(|r| r.source))), true),
    ];
    if with_intervals {
        let intervals = intervals.with_timezone("UTC");
        columns.push((system::INTERVAL, Arc::new(intervals), true));
    }
    RecordBatch::try_from_iter_with_nullable(columns).expect("columns fit")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

fn row(source: usize, hour: Option<i64>, value: i64) -> Row {
    Row { source: SOURCES[source], interval: hour.map(|hour| hour * HOUR), value }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn b4_exactly_the_rows_of_the_interval_leave_the_table_however_files_were_put_together(
        files in prop::collection::vec(
            (
                prop::collection::vec((0_usize..6, prop::option::weighted(0.8, 0_i64..4)), 1..5),
                prop::sample::select(
                    vec![Writer::Ours, Writer::Stranger, Writer::Counting, Writer::Older],
                ),
                "[ab]",
            ),
            1..6,
        ),
        interval in prop::option::weighted(0.8, (0_i64..4, 1_i64..3)),
    ) {
        let interval = interval.map(|(start, length)| hours(start, start + length));
        runtime().block_on(async {
            let mut table = Table::new().await;
            let (mut value, mut expected, mut gone) = (0, BTreeSet::new(), 0);
            for (rows, writer, day) in &files {
                let rows: Vec<Row> = rows
                    .iter()
                    .map(|(source, hour)| {
                        value += 1;
                        let hour = hour.filter(|_| *writer != Writer::Older);
                        row(*source, hour, value)
                    })
                    .collect();
                for row in &rows {
                    if is_selected(row, interval) {
                        gone += 1;
                    } else {
                        expected.insert((row.value, day.clone()));
                    }
                }
                let file = table.write(&rows, *writer, day).await;
                table.commit(vec![file], Vec::new()).await;
            }
            let mut replacer = table.replacer(interval);
            let now = table.now().await;
            let plan = replacer.plan(&now).await.expect("planned");
            assert_eq!(plan.rows, gone);
            let again = replacer.plan(&now).await.expect("planned again");
            assert_eq!(again, plan, "what was written once is not written again");
            if !plan.removes.is_empty() {
                table.commit(plan.adds, plan.removes).await;
            }
            assert_eq!(table.values().await, expected);
            let next = table.replacer(interval).plan(&table.now().await).await.expect("planned");
            assert_eq!(next, Replacement::default(), "nothing is left to replace");
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn b10_a_repair_takes_its_own_rows_and_the_streams_by_event_time_and_counts_the_latter(
        files in prop::collection::vec(
            (
                prop::collection::vec((0_usize..6, prop::option::weighted(0.8, 0_i64..4)), 1..5),
                prop::sample::select(vec![Writer::Ours, Writer::Stranger, Writer::Counting]),
            ),
            1..6,
        ),
        (start, length) in (0_i64..4, 1_i64..3),
    ) {
        let interval = hours(start, start + length);
        runtime().block_on(async {
            let mut table = Table::new().await;
            let (mut value, mut expected, mut streamed) = (0, BTreeSet::new(), BTreeSet::new());
            for (rows, writer) in &files {
                let rows: Vec<Row> = rows
                    .iter()
                    .map(|(source, hour)| {
                        value += 1;
                        row(*source, *hour, value)
                    })
                    .collect();
                for row in &rows {
                    let within = happened(row.value).is_some_and(|at| {
                        let of = |second: i64| second * 1_000_000;
                        (of(interval.start_second())..of(interval.end_second())).contains(&at)
                    });
                    if row.source == Some("l/00000000000000ab") && within {
                        streamed.insert(row.value.unsigned_abs());
                    } else if !is_selected(row, Some(interval)) {
                        expected.insert((row.value, "a".to_owned()));
                    }
                }
                let file = table.write(&rows, *writer, "a").await;
                table.commit(vec![file], Vec::new()).await;
            }
            let select = || {
                let own = Selection::new(&ledger(), Some(interval));
                own.or(Selection::streamed(&ledger(), "at", interval))
            };
            let plan = table.replacing(select()).plan(&table.now().await).await.expect("planned");
            assert_eq!(plan.streamed.rows(), streamed.len() as u64);
            for of in plan.streamed.partitions().collect::<Vec<_>>() {
                assert_eq!((of.0.to_string().as_str(), of.1.0), ("00000000000000ab", 3));
                let holds = |n: u64| plan.streamed.ranges_of(of).any(|r| r.from <= n && n <= r.to);
                assert!(streamed.iter().all(|sequence| holds(*sequence)));
            }
            if !plan.removes.is_empty() {
                table.commit(plan.adds, plan.removes).await;
            }
            assert_eq!(table.values().await, expected);
            let next = table.replacing(select()).plan(&table.now().await).await.expect("planned");
            assert_eq!(next, Replacement::default(), "nothing is left to replace");
        });
    }
}

#[test]
fn b10_each_of_several_selections_finds_its_own_streamed_rows_in_one_reading() {
    let intervals = [hours(0, 1), hours(1, 3), hours(0, 2), hours(20, 21)];
    let selections = intervals.map(|wanted| Selection::streamed(&ledger(), "at", wanted));
    let of = (Incarnation::parse("00000000000000ab").expect("valid"), PartitionId(3));
    let found = runtime().block_on(async {
        let mut table = Table::new().await;
        for (number, writer) in (0..).zip([Writer::Ours, Writer::Stranger, Writer::Counting]) {
            let values = number * 60..(number + 1) * 60;
            let rows: Vec<_> = values.map(|n| row(n as usize % 6, Some(0), n)).collect();
            let file = table.write(&rows, writer, "a").await;
            table.commit(vec![file], Vec::new()).await;
        }
        let files = table.log.live_files(&table.now().await).await.expect("listed");
        find_streamed(table.log.store(), &files, &selections).await.expect("read")
    });
    for (interval, found) in intervals.iter().zip(&found) {
        let span = interval.start().as_microsecond()..interval.end().as_microsecond();
        let within = |value: &i64| happened(*value).is_some_and(|at| span.contains(&at));
        // Each sixth row is the stream's; none of them are neighbours.
        let expected: Vec<_> = (3..180).step_by(6).filter(within).collect();
        let sequences: Vec<_> = found.ranges_of(of).map(|range| range.from as i64).collect();
        assert_eq!(sequences, expected, "{interval}");
        assert_eq!(found.rows(), expected.len() as u64, "and nobody else's");
    }
    assert!(found[..3].iter().all(|found| found.rows() > 0), "{found:?}");
}

#[test]
fn b10_statistics_of_instants_and_days_leave_files_alone_and_never_take_streamed_rows_unread() {
    let selection = Selection::streamed(&ledger(), "at", hours(24, 48));
    let found = |source: &str, min: &str, max: &str, nulls: u64| {
        let stats = json!({
            "minValues": {"_tg_src": source, "at": min},
            "maxValues": {"_tg_src": source, "at": max},
            "nullCount": {"_tg_src": 0, "at": nulls},
        });
        judged(&selection, Some(10), Some(stats))
    };
    let ours = "l/00000000000000ab";
    for (source, min, max, nulls, expected) in [
        (ours, "1970-01-02T05:00:00.000Z", "1970-01-02T06:00:00.000Z", 0, Verdict::Unknown),
        (ours, "1970-01-01T05:00:00.000Z", "1970-01-01T23:59:59.999Z", 0, Verdict::Stays),
        (ours, "1970-01-03T00:00:00.000Z", "1970-01-04T00:00:00.000Z", 0, Verdict::Stays),
        (ours, "1970-01-02", "1970-01-02", 0, Verdict::Unknown),
        (ours, "1970-01-03", "1970-01-09", 0, Verdict::Stays),
        (ours, "1969-12-31", "1970-01-01", 0, Verdict::Stays),
        (ours, "nonsense", "nonsense", 0, Verdict::Unknown),
        (ours, "1970-01-02", "1970-01-02", 10, Verdict::Stays),
        ("l/g7", "1970-01-02", "1970-01-02", 0, Verdict::Stays),
        ("l-x/00000000000000ab", "1970-01-02", "1970-01-02", 0, Verdict::Stays),
    ] {
        assert_eq!(found(source, min, max, nulls), expected, "{source} {min} {max} {nulls}");
    }
}

fn judged(selection: &Selection, rows: Option<u64>, stats: Option<Value>) -> Verdict {
    selection.judge(&LiveFile {
        path: "x".to_owned(),
        size: 1,
        rows,
        deleted_rows: 0,
        partition_values: BTreeMap::new(),
        stats,
        modification_time_ms: 0,
    })
}

/// Statistics of ten rows.
fn stats(source: (&str, &str, u64), interval: (&str, &str, u64)) -> Value {
    json!({
        "numRecords": 10,
        "minValues": {"_tg_src": source.0, "_tg_interval": interval.0},
        "maxValues": {"_tg_src": source.1, "_tg_interval": interval.1},
        "nullCount": {"_tg_src": source.2, "_tg_interval": interval.2},
    })
}

#[test]
fn b4_statistics_settle_what_they_can_and_nothing_more() {
    let selection = Selection::new(&ledger(), Some(hours(1, 3)));
    let ours = ("l/g1", "l/g2", 0);
    let (one, two, three) =
        ("1970-01-01T01:00:00.000Z", "1970-01-01T02:00:00.000Z", "1970-01-01T03:00:00.000Z");
    let zero = "1970-01-01T00:00:00.000Z";
    for (found, expected) in [
        (stats(ours, (one, two, 0)), Verdict::Whole),
        (stats(ours, ("1970-01-01T02:00:00+01:00", two, 0)), Verdict::Whole),
        (stats(ours, (zero, two, 0)), Verdict::Unknown),
        (stats(ours, (one, three, 0)), Verdict::Unknown),
        (stats(ours, (one, two, 1)), Verdict::Unknown),
        (stats(ours, (zero, zero, 0)), Verdict::Stays),
        (stats(ours, (three, three, 0)), Verdict::Stays),
        (stats(ours, (one, two, 10)), Verdict::Stays),
        (stats(ours, ("yesterday", two, 0)), Verdict::Unknown),
        (stats(("l/g1", "l/g2", 3), (one, two, 0)), Verdict::Unknown),
        (stats(("k/g1", "l/g2", 0), (one, two, 0)), Verdict::Unknown),
        (stats(("l/00ab", "l/00ab", 0), (one, two, 0)), Verdict::Stays),
        (stats(("l-x/g1", "l-x/g1", 0), (one, two, 0)), Verdict::Stays),
        (stats(("m", "z", 0), (one, two, 0)), Verdict::Stays),
        // A bound that was cut: rows of ours may lie behind it.
        (stats(("l", "l/g2", 0), (one, two, 0)), Verdict::Unknown),
        (stats(("", "", 10), (one, two, 0)), Verdict::Stays),
        (json!({"numRecords": 10}), Verdict::Unknown),
    ] {
        assert_eq!(judged(&selection, Some(10), Some(found.clone())), expected, "{found}");
    }
    assert_eq!(judged(&selection, None, None), Verdict::Unknown);
    let all = Selection::new(&ledger(), None);
    assert_eq!(judged(&all, Some(10), Some(stats(ours, ("", "", 10)))), Verdict::Whole);
}

#[test]
fn b4_a_ledger_whose_name_is_longer_than_a_bound_is_looked_up_and_not_guessed() {
    let name = "a".repeat(60);
    let selection = Selection::new(&Ledger::new(&name).expect("valid"), None);
    let cut = "a".repeat(32);
    let found = stats((&cut, "b", 0), ("", "", 10));
    assert_eq!(judged(&selection, Some(10), Some(found)), Verdict::Unknown);
}

#[test]
fn b9_append_replaces_nothing_and_a_load_of_everything_all_of_its_own() {
    let of = |key, effect| Selection::of_run(&ledger(), key, effect);
    let hour = IntervalKey::Of(hours(1, 2));
    assert_eq!(of(hour, Effect::Append), None);
    let interval = Some(Selection::new(&ledger(), Some(hours(1, 2))));
    assert_eq!(of(hour, Effect::ReplaceInterval), interval);
    let all = Some(Selection::new(&ledger(), None));
    assert_eq!(of(hour, Effect::Overwrite), all);
    assert_eq!(of(IntervalKey::All, Effect::ReplaceInterval), all);
}

#[test]
fn a_file_with_a_deletion_vector_goes_whole_or_not_at_all() {
    runtime().block_on(async {
        let mut table = Table::new().await;
        let mixed = [row(0, Some(1), 1), row(0, Some(2), 2)];
        let file = table.write(&mixed, Writer::Ours, "a").await;
        table.commit(vec![file], Vec::new()).await;
        let now = table.now().await;
        let mut live = table.log.live_files(&now).await.expect("listed");
        live[0].deleted_rows = 1;
        let mut replacer = table.replacer(Some(hours(1, 2)));
        replacer.look(&live).await.expect("looked");
        let error = replacer.rewrite(&now, &live[0]).await.expect_err("refused");
        assert!(matches!(error, ReplaceError::DeletionVector { .. }), "{error}");
        assert!(!error.is_transient());
    });
}

/// Which of the rows are hidden is not known, and each counts in its partition.
#[test]
fn b10_streamed_rows_beside_a_deletion_vector_are_not_taken_out() {
    runtime().block_on(async {
        let table = &mut Table::new().await;
        let file = table.write(&[row(3, None, 1), row(3, None, 2)], Writer::Ours, "a").await;
        let vector = json!({
            "storageType": "u", "pathOrInlineDv": "ab^-aqEH.-t@S}K{vb[*k^",
            "offset": 4, "sizeInBytes": 40, "cardinality": 1,
        });
        let add = json!({"add": {
            "path": file.path, "partitionValues": file.partition_values, "size": file.size,
            "modificationTime": 1, "dataChange": true, "stats": file.stats.to_string(),
            "deletionVector": vector,
        }});
        let path = log_entry(table.now().await.version() + 1);
        table.log.store().put(&path, add.to_string().into()).await.expect("put");
        let selection = Selection::streamed(&ledger(), "at", hours(0, 9));
        let planned = table.replacing(selection).plan(&table.now().await).await;
        let error = planned.expect_err("one of two rows");
        assert!(matches!(error, ReplaceError::DeletionVector { .. }), "{error}");
    });
}

#[test]
fn a_file_that_went_away_meanwhile_cannot_be_removed() {
    runtime().block_on(async {
        let mut table = Table::new().await;
        let file = table.write(&[row(0, Some(1), 1)], Writer::Ours, "a").await;
        table.commit(vec![file], Vec::new()).await;
        let plan = table.replacer(None).plan(&table.now().await).await.expect("planned");
        table.commit(Vec::new(), plan.removes.clone()).await;
        let request = CommitRequest { removes: plan.removes, ..table.request(CommitKind::Run) };
        let error = table.log.prepare(&table.now().await, &request).await.expect_err("gone");
        assert!(crate::log::LogError::reason(&error) == Reason::TableMismatch, "{error}");
    });
}

/// Puts all rows into as few files as it can, as people do who do not know of intervals.
const OPTIMIZE: &str = "import sys; from deltalake import DeltaTable\n\
                        assert DeltaTable(sys.argv[1]).optimize.compact()['numFilesAdded'] == 1";

#[test]
#[ignore = "needs the Python readers; run by make test"]
fn b4_an_interval_is_replaced_after_an_outsider_mixed_it_and_every_engine_reads_the_rest() {
    runtime().block_on(async {
        let folder = tempfile::tempdir().expect("a directory");
        let store = object_store::local::LocalFileSystem::new_with_prefix(folder.path());
        let mut table = Table::over(Arc::new(store.expect("it exists"))).await;
        let mut expected = BTreeSet::new();
        for hour in 0..3 {
            let rows = [row(0, Some(hour), hour * 2), row(1, Some(hour), hour * 2 + 1)];
            let kept = rows.iter().filter(|_| hour != 1);
            expected.extend(kept.map(|row| (row.value, "a".to_owned())));
            let file = table.write(&rows, Writer::Ours, "a").await;
            table.commit(vec![file], Vec::new()).await;
        }
        let python = tidegate_testing::readers::python();
        let mut optimize = tokio::process::Command::new(python);
        let status = optimize.args(["-c", OPTIMIZE]).arg(folder.path()).status().await;
        assert!(status.expect("it ran").success());
        let live = table.log.live_files(&table.now().await).await.expect("listed");
        assert_eq!(live.len(), 1, "all intervals stand in one file");

        let mut replacer = table.replacer(Some(hours(1, 2)));
        let plan = replacer.plan(&table.now().await).await.expect("planned");
        assert_eq!((plan.rows, plan.kept_rows(), plan.removes.len()), (2, 4, 1));
        table.commit(plan.adds, plan.removes).await;
        assert_eq!(table.values().await, expected);
        let url = Url::from_file_path(folder.path()).expect("absolute");
        let question = tidegate_testing::readers::Question::about(url.as_str()).id_column("v");
        let engines = &tidegate_testing::readers::Engine::ALL;
        let seen = question.engines(engines).agreed().await.expect("they agree");
        assert_eq!((seen.rows, seen.distinct_ids, seen.files), (4, 4, 1));
    });
}
