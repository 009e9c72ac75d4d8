//! Tables of bulk runs, whole and damaged.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use bytes::Bytes;
use jiff::Timestamp;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tidegate_table::dead_letter::{FOLDER, RunDeadLetter, RunDeadLetters, RunFooter};
use tidegate_table::files::layout::{DataPath, FileName, object_of_log_path};
use tidegate_table::files::system::{BulkColumns, BulkCoordinates, file_schema, run_source_name};
use tidegate_table::files::{DataFile, FileWriter, WriteOptions};
use tidegate_table::ledger::{
    Claim, Done, Effect, claim_notes, done_txns, has_dead_letters, run_claim_txns,
};
use tidegate_table::log::{
    CommitKind, CommitRequest, CommitTag, Outcome, RetryPolicy, TableSnapshot, TableSpec,
};
use tidegate_table::replace::{Naming, Replacement, Replacer, Selection};
use tidegate_table::store::{StoreOptions, open};
use tidegate_types::{DataInterval, Nonce, Reason};
use url::Url;

use super::*;
use crate::verify::VerifyState;

fn ledger() -> Ledger {
    Ledger::new("l").expect("valid")
}

fn fresh() -> Nonce {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    Nonce::from_random(NEXT.fetch_add(1, Ordering::Relaxed) << 1)
}

fn key(start: i64, end: i64) -> IntervalKey {
    let at = |hour: i64| Timestamp::from_second(hour * 3600).expect("in range");
    IntervalKey::Of(DataInterval::new(at(start), at(end)).expect("not empty"))
}

struct Lake {
    store: TableStore,
    log: CommitLog,
    /// A run takes the place of nothing, whatever it says: a defect.
    forgets_to_replace: bool,
}

impl Lake {
    async fn new() -> Self {
        let url = Url::parse("memory:///").expect("a URL");
        let store = open(&StoreOptions::new(url)).expect("opened");
        let log = CommitLog::open(&store);
        let declared = Schema::new(vec![Field::new("v", DataType::Int64, true)]);
        let spec = TableSpec::new(Arc::new(BulkColumns.table_schema(&declared, &[])), Vec::new());
        let request = request(CommitKind::Create);
        let prepared = log.prepare_create(&spec, &request).await.expect("prepared");
        let never = std::future::pending();
        log.settle(&prepared, &RetryPolicy::default(), never).await.expect("settled");
        Self { store, log, forgets_to_replace: false }
    }

    async fn now(&self) -> TableSnapshot {
        self.log.load().await.expect("readable").expect("there")
    }

    async fn intervals(&self) -> Intervals {
        Intervals::read(self.now().await.txns(), &ledger()).expect("valid")
    }

    async fn put(&self, request: &CommitRequest) {
        let prepared = self.log.prepare(&self.now().await, request).await.expect("prepared");
        let never = std::future::pending();
        let outcome = self.log.settle(&prepared, &RetryPolicy::default(), never).await;
        assert!(matches!(outcome, Ok(Outcome::Won)), "{outcome:?}");
    }

    async fn claim(&self, key: IntervalKey, effect: Effect) -> Claim {
        let intervals = self.intervals().await;
        let claim = Claim::next(&intervals, key, effect);
        let mut txns = run_claim_txns(&ledger(), &claim);
        txns.extend(claim_notes(&ledger(), &intervals, &claim, None));
        self.put(&CommitRequest { txns, ..request(CommitKind::RunClaim) }).await;
        claim
    }

    /// A file with `rows` rows of the claim's first chunk.
    async fn file(&self, claim: &Claim, rows: i64) -> DataFile {
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows));
        let batch = RecordBatch::try_from_iter([("v", values)]).expect("one column");
        let source = run_source_name(&ledger(), claim.generation);
        let interval = claim.key.interval().map(DataInterval::start);
        let place = BulkCoordinates { source: &source, chunk: 0, first: 0, interval };
        let batch = BulkColumns.append(&batch, &place).expect("fits");
        let name = FileName::of_run(ledger(), claim.generation, 0, fresh(), 0);
        let schema = Arc::new(file_schema(&batch.schema(), &[]));
        let (store, options) = (Arc::clone(&self.store.data), WriteOptions::default());
        let path = DataPath::new(&[], &name);
        let mut file = FileWriter::create(store, path, schema, BTreeMap::new(), &options);
        file.write(&batch).await.expect("written");
        file.finish().await.expect("finished")
    }

    fn letters(&self) -> RunDeadLetters {
        RunDeadLetters::new(CommitLog::open(&self.store.below(FOLDER)), ledger())
    }

    async fn dead_letters(&self, claim: &Claim, number: u64) -> Option<Nonce> {
        if number == 0 && !has_dead_letters(&self.intervals().await, claim) {
            return None;
        }
        let footer = RunFooter::new(ledger(), claim, fresh());
        let nonce = footer.nonce;
        let mut file = self.letters().create(footer, Timestamp::UNIX_EPOCH);
        let letter = |ordinal| RunDeadLetter {
            chunk: 0,
            ordinal: 1_000 + ordinal,
            place: "a.csv:1".to_owned(),
            reason: Reason::WrongType,
            detail: String::new(),
            payload: Bytes::new(),
        };
        file.write(&(0..number).map(letter).collect::<Vec<_>>()).await.expect("written");
        file.finish().await.expect("finished");
        Some(nonce)
    }

    async fn commit(&self, claim: &Claim, adds: Vec<DataFile>, dead_letters: Option<Nonce>) {
        let empty = adds.is_empty();
        self.commit_as(claim, adds, Done { empty, dead_letters, ..Done::default() }).await;
    }

    async fn commit_as(&self, claim: &Claim, adds: Vec<DataFile>, done: Done) {
        let (intervals, now) = (self.intervals().await, self.now().await);
        let txns = done_txns(&ledger(), &intervals, claim, &done).expect("no conflict");
        let plan = match Selection::of_run(&ledger(), claim.key, claim.effect) {
            Some(selection) if !self.forgets_to_replace => {
                let generation = claim.generation;
                let naming = Naming { ledger: ledger(), generation, nonce: fresh() };
                let options = WriteOptions::default();
                let mut replacer = Replacer::new(self.log.clone(), selection, naming, options);
                replacer.plan(&now).await.expect("planned")
            }
            _ => Replacement::default(),
        };
        let tag = request(CommitKind::Run).tag;
        self.put(&CommitRequest { txns, ..CommitRequest::replacing(tag, plan, adds) }).await;
    }

    /// A whole run, up to its dead letters.
    async fn run(&self, key: IntervalKey, effect: Effect, (rows, dead): (i64, u64)) {
        let claim = self.claim(key, effect).await;
        let mut adds = Vec::new();
        if rows > 0 {
            adds.push(self.file(&claim, rows).await);
        }
        let nonce = self.dead_letters(&claim, dead).await;
        self.commit(&claim, adds, nonce).await;
    }

    async fn roll(&self) {
        let now = self.now().await;
        self.letters().roll_forward(&self.log, &now, fresh).await.expect("rolled forward");
    }

    async fn verify(&self) -> VerifyReport {
        self.verify_as(WriteMode::ReplaceInterval).await
    }

    async fn verify_as(&self, mode: WriteMode) -> VerifyReport {
        verify_table(&ledger(), mode, &self.store, None).await.expect("readable")
    }

    /// The outcome must be `state`, found by `check`.
    async fn expect(&self, state: VerifyState, check: &str) {
        let report = self.verify().await;
        assert_eq!(report.state, state, "{report}");
        let found = report.findings.iter().any(|f| f.state == state && f.check == check);
        assert!(found, "{report}");
    }

    async fn live(&self) -> Vec<tidegate_table::log::LiveFile> {
        self.log.live_files(&self.now().await).await.expect("listed")
    }

    /// Somebody else's commit.
    async fn stranger(&self, actions: &str) {
        let version = self.now().await.version() + 1;
        let path = Path::from(format!("_delta_log/{version:020}.json"));
        self.store.data.put(&path, actions.to_owned().into()).await.expect("put");
    }
}

fn request(kind: CommitKind) -> CommitRequest {
    CommitRequest::new(CommitTag { ledger: ledger(), kind, nonce: fresh() })
}

const REPLACE: Effect = Effect::ReplaceInterval;

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_runs_reruns_and_longer_intervals_is_proved() {
    let lake = Lake::new().await;
    lake.run(key(0, 1), REPLACE, (10, 2)).await;
    lake.run(key(1, 2), REPLACE, (5, 0)).await;
    lake.run(key(2, 3), REPLACE, (0, 0)).await;
    lake.run(key(0, 1), REPLACE, (7, 1)).await;
    lake.claim(key(1, 2), REPLACE).await;
    lake.roll().await;
    let report = lake.verify().await;
    assert_eq!(report.state, VerifyState::Ok, "{report}");
    assert_eq!((report.rows, report.dead, report.read), (12, 1, 13));
    lake.run(key(0, 3), REPLACE, (4, 0)).await;
    lake.roll().await;
    let report = lake.verify().await;
    assert_eq!(report.state, VerifyState::Ok, "{report}");
    assert_eq!((report.rows, report.dead), (4, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_which_no_run_was_ever_done_proves_nothing() {
    let lake = Lake::new().await;
    lake.claim(key(0, 1), REPLACE).await;
    lake.claim(key(1, 2), REPLACE).await;
    lake.expect(VerifyState::NotProvable, "runs").await;
    let text = lake.verify().await.to_string();
    for begun in ["1970-01-01T00:00:00Z/1970-01-01T01:00:00Z", "1970-01-01T01:00:00Z/"] {
        assert!(text.contains(begun), "{begun} is not in {text}");
    }
    lake.run(key(0, 1), REPLACE, (3, 0)).await;
    assert_eq!(lake.verify().await.state, VerifyState::Ok, "one is done");
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_are_overwritten_and_appended_to_are_proved() {
    let lake = Lake::new().await;
    for (hour, rows) in [(0, 10), (1, 20)] {
        lake.run(key(hour, hour + 1), Effect::Overwrite, (rows, 1)).await;
        lake.roll().await;
    }
    let report = lake.verify_as(WriteMode::Overwrite).await;
    assert_eq!((report.state, report.rows, report.dead), (VerifyState::Ok, 20, 1), "{report}");
    let lake = Lake::new().await;
    for rows in [3, 4] {
        lake.run(IntervalKey::All, Effect::Append, (rows, 0)).await;
    }
    let report = lake.verify_as(WriteMode::Append).await;
    assert_eq!((report.state, report.rows), (VerifyState::Ok, 7), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_rerun_left_standing_are_damage() {
    let mut lake = Lake::new().await;
    lake.run(key(0, 1), REPLACE, (10, 0)).await;
    lake.forgets_to_replace = true;
    lake.run(key(0, 1), REPLACE, (10, 0)).await;
    lake.expect(VerifyState::Damaged, "generations").await;
}

/// An attempt went on with the chunks of one that died; its commit says so, or the rows are strangers.
#[tokio::test(flavor = "multi_thread")]
async fn b5_rows_carry_the_number_that_their_commit_says() {
    for effect in [Effect::Append, Effect::ReplaceInterval, Effect::Overwrite] {
        for (origin, expected) in [
            (Some(1), VerifyState::Ok),
            (None, VerifyState::Damaged),
            (Some(2), VerifyState::Damaged),
        ] {
            let lake = Lake::new().await;
            let first = lake.claim(key(0, 1), effect).await;
            let file = lake.file(&first, 10).await;
            for _ in 0..2 {
                lake.claim(key(0, 1), effect).await;
            }
            let last = lake.claim(key(0, 1), effect).await;
            lake.commit_as(&last, vec![file], Done { origin, ..Done::default() }).await;
            let mode = match effect {
                Effect::Append => WriteMode::Append,
                Effect::ReplaceInterval => WriteMode::ReplaceInterval,
                Effect::Overwrite => WriteMode::Overwrite,
            };
            let report = lake.verify_as(mode).await;
            assert_eq!(report.state, expected, "{effect:?} {origin:?}: {report}");
            // The next load is one of its own, and takes their place.
            if effect != Effect::Append && origin == Some(1) {
                lake.run(key(0, 1), effect, (3, 0)).await;
                let report = lake.verify_as(mode).await;
                assert_eq!(report.state, VerifyState::Ok, "{effect:?}: {report}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_run_that_only_claimed_are_damage() {
    let lake = Lake::new().await;
    let claim = lake.claim(key(0, 1), REPLACE).await;
    let adds = vec![lake.file(&claim, 3).await];
    lake.put(&CommitRequest { adds, ..request(CommitKind::Data) }).await;
    lake.expect(VerifyState::Damaged, "generations").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_what_was_not_claimed_is_damage() {
    let lake = Lake::new().await;
    let zombie = lake.claim(key(0, 1), REPLACE).await;
    lake.claim(key(0, 1), REPLACE).await;
    let adds = vec![lake.file(&zombie, 3).await];
    lake.commit(&zombie, adds, None).await;
    lake.expect(VerifyState::Damaged, "generations").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_gone_and_one_that_is_there_twice_are_damage() {
    let lake = Lake::new().await;
    lake.run(key(0, 1), REPLACE, (10, 0)).await;
    let file = lake.live().await.remove(0);
    let object = object_of_log_path(&file.path).expect("inside");
    let bytes = lake.store.data.get(&object).await.expect("there").bytes().await.expect("whole");
    lake.store.data.put(&Path::from("copy.parquet"), bytes.into()).await.expect("put");
    let copy = DataFile {
        path: "copy.parquet".to_owned(),
        size: file.size,
        rows: 10,
        partition_values: BTreeMap::new(),
        modification_time_ms: 0,
        stats: file.stats.clone().expect("statistics"),
    };
    lake.put(&CommitRequest { adds: vec![copy], ..request(CommitKind::Data) }).await;
    lake.expect(VerifyState::Damaged, "identity").await;
    lake.store.data.delete(&object).await.expect("deleted");
    lake.expect(VerifyState::Damaged, "files").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_somebody_else_took_away_cannot_be_proved_and_rows_that_vanished_are_damage() {
    let lake = Lake::new().await;
    lake.run(key(0, 1), REPLACE, (10, 0)).await;
    let file = lake.live().await.remove(0);
    let remove = format!(
        r#"{{"remove":{{"path":"{}","dataChange":true,"deletionTimestamp":1}}}}"#,
        file.path
    );
    let info = r#"{"commitInfo":{"timestamp":1,"operation":"DELETE"}}"#;
    lake.stranger(&format!("{info}\n{remove}\n")).await;
    lake.expect(VerifyState::NotProvable, "rows").await;
    let lake = Lake::new().await;
    lake.run(key(0, 1), REPLACE, (10, 0)).await;
    let removes = lake.live().await;
    lake.put(&CommitRequest { removes, ..request(CommitKind::Data) }).await;
    lake.expect(VerifyState::Damaged, "rows").await;
}

/// What a rewind took is damage until it is loaded again.
#[tokio::test(flavor = "multi_thread")]
async fn t1_a_rewound_table_is_damaged_until_its_intervals_are_loaded_again() {
    let lake = Lake::new().await;
    lake.run(key(0, 1), REPLACE, (10, 0)).await;
    let before = lake.live().await;
    lake.run(key(1, 2), REPLACE, (7, 0)).await;
    let newer = lake.live().await.into_iter().find(|file| !before.contains(file)).expect("a file");
    let remove = format!(
        r#"{{"remove":{{"path":"{}","dataChange":true,"deletionTimestamp":1}}}}"#,
        newer.path
    );
    let info = r#"{"commitInfo":{"timestamp":1,"operation":"RESTORE"}}"#;
    lake.stranger(&format!("{info}\n{remove}\n")).await;
    lake.expect(VerifyState::Damaged, "rewind").await;
    lake.run(key(1, 2), REPLACE, (7, 0)).await;
    let report = lake.verify().await;
    assert_eq!((report.state, report.rows), (VerifyState::Ok, 17), "{report}");
}

/// A RESTORE that mends a wrong deletion takes nothing, and leaves what was deleted on purpose before it.
#[tokio::test(flavor = "multi_thread")]
async fn t1_a_rewind_that_brought_rows_back_is_no_damage() {
    let lake = Lake::new().await;
    for hour in 0..3 {
        lake.run(key(hour, hour + 1), REPLACE, (10, 0)).await;
    }
    let all = lake.live().await;
    let change = async |operation: &str, action: &str, path: &str| {
        let info = format!(r#"{{"commitInfo":{{"timestamp":1,"operation":"{operation}"}}}}"#);
        let add = async || {
            let entries = lake.log.history(0).await.expect("readable");
            let lines = entries.iter().flat_map(|entry| entry.bytes.split(|byte| *byte == b'\n'));
            let line = lines.filter_map(|line| std::str::from_utf8(line).ok());
            let mut adds = line.filter(|line| line.contains("\"add\"") && line.contains(path));
            adds.next().expect("it was added").to_owned()
        };
        let change = match action {
            "add" => add().await,
            _ => format!(
                r#"{{"remove":{{"path":"{path}","dataChange":true,"deletionTimestamp":1}}}}"#
            ),
        };
        lake.stranger(&format!("{info}\n{change}\n")).await;
    };
    for mode in [WriteMode::ReplaceInterval, WriteMode::Append] {
        change("DELETE", "remove", &all[1].path).await;
        change("RESTORE", "add", &all[1].path).await;
        let report = lake.verify_as(mode).await;
        assert_eq!(report.state, VerifyState::NotProvable, "somebody deleted rows: {report}");
        let rows = report.findings.iter().any(|found| found.check == "rows");
        assert!(!rows && report.rows == 30, "{report}");
    }
    change("DELETE", "remove", &all[0].path).await;
    lake.expect(VerifyState::NotProvable, "rows").await;
    change("RESTORE", "remove", &all[2].path).await;
    lake.expect(VerifyState::Damaged, "rewind").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_beginning_is_cleaned_up_proves_generations_and_no_counts() {
    let lake = Lake::new().await;
    lake.run(key(0, 1), REPLACE, (10, 0)).await;
    lake.log.checkpoint(&lake.now().await).await.expect("checkpointed");
    let first = Path::from("_delta_log/00000000000000000000.json");
    lake.store.data.delete(&first).await.expect("deleted");
    lake.run(key(0, 1), REPLACE, (5, 0)).await;
    lake.expect(VerifyState::NotProvable, "log").await;
    assert_eq!(lake.verify().await.rows, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_on_their_way_are_unproven_and_lost_ones_are_damage() {
    let lake = Lake::new().await;
    let claim = lake.claim(key(0, 1), REPLACE).await;
    let nonce = lake.dead_letters(&claim, 3).await.expect("a file");
    lake.commit(&claim, vec![lake.file(&claim, 5).await], Some(nonce)).await;
    lake.expect(VerifyState::NotProvable, "dead letters").await;
    let file = DataPath::dead_letters(&ledger(), nonce);
    let below = lake.store.below(FOLDER);
    below.data.delete(file.object()).await.expect("deleted");
    lake.expect(VerifyState::Damaged, "dead letters").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_of_a_run_that_was_replaced_are_damage() {
    let lake = Lake::new().await;
    lake.run(key(0, 1), REPLACE, (5, 2)).await;
    lake.roll().await;
    assert_eq!(lake.verify().await.state, VerifyState::Ok);
    // A later run that names no file although there is one to replace.
    let claim = lake.claim(key(0, 1), REPLACE).await;
    let adds = vec![lake.file(&claim, 5).await];
    let (intervals, now) = (lake.intervals().await, lake.now().await);
    let done = Done::default();
    let mut txns = done_txns(&ledger(), &intervals, &claim, &done).expect("no conflict");
    let name = now.txns().iter().map(|(id, _)| id.to_owned()).find(|id| id.ends_with("/dl"));
    txns.insert(name.expect("it is named"), 0);
    let removes = lake.live().await;
    lake.put(&CommitRequest { txns, adds, removes, ..request(CommitKind::Run) }).await;
    lake.expect(VerifyState::Damaged, "dead letters").await;
}
