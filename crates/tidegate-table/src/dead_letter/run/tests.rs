//! Dead letters of runs, rolled forward by several at once.

use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimestampMicrosecondType};
use bytes::Bytes;
use futures::TryStreamExt;
use jiff::Timestamp;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt};
use tidegate_types::DataInterval;
use url::Url;

use super::*;
use crate::dead_letter::stream_schema;
use crate::files::layout::object_of_log_path;
use crate::files::reader::read_columns;
use crate::files::{system, write_file};
use crate::ledger::{Claim, Done, Effect, done_txns, has_dead_letters, run_claim_txns};
use crate::log::TableSpec;

fn ledger() -> Ledger {
    Ledger::new("l").expect("valid")
}

fn key(start: i64, end: i64) -> IntervalKey {
    let at = |hour: i64| Timestamp::from_second(hour * 3600).expect("in range");
    IntervalKey::Of(DataInterval::new(at(start), at(end)).expect("not empty"))
}

fn fresh() -> Nonce {
    static NEXT: AtomicI64 = AtomicI64::new(1);
    Nonce::from_txn(NEXT.fetch_add(1, Ordering::Relaxed)).expect("positive")
}

/// A main table, and the dead-letter table beside it.
struct Lake {
    main: CommitLog,
    dead: CommitLog,
}

impl Lake {
    async fn new() -> Self {
        let root = Url::parse("memory:///t/").expect("a url");
        let table = || CommitLog::new(Arc::new(InMemory::new()), root.clone());
        let lake = Self { main: table(), dead: table() };
        let columns = Schema::new(vec![Field::new("n", DataType::Int64, true)]);
        create(&lake.main, &TableSpec::new(Arc::new(columns), Vec::new())).await;
        lake
    }

    fn letters(&self) -> RunDeadLetters {
        RunDeadLetters::new(self.dead.clone(), ledger())
    }

    async fn main_now(&self) -> TableSnapshot {
        self.main.load().await.expect("readable").expect("there")
    }

    async fn put(&self, kind: CommitKind, txns: BTreeMap<String, i64>) {
        let tag = CommitTag { ledger: ledger(), kind, nonce: fresh() };
        let request = CommitRequest { txns, ..CommitRequest::new(tag) };
        let prepared = self.main.prepare(&self.main_now().await, &request).await.expect("prepared");
        win(&self.main, &prepared).await;
    }

    async fn intervals(&self) -> Intervals {
        Intervals::read(self.main_now().await.txns(), &ledger()).expect("valid")
    }

    async fn claim(&self, key: IntervalKey, effect: Effect) -> Claim {
        let claim = Claim::next(&self.intervals().await, key, effect);
        self.put(CommitKind::RunClaim, run_claim_txns(&ledger(), &claim)).await;
        claim
    }

    /// Writes the file with dead letters of these values; none when none is needed.
    async fn write(&self, claim: &Claim, values: &[u64]) -> Option<Nonce> {
        if values.is_empty() && !has_dead_letters(&self.intervals().await, claim) {
            return None;
        }
        let nonce = fresh();
        let footer = RunFooter::new(ledger(), claim, nonce);
        let mut file = self.letters().create(footer, Timestamp::UNIX_EPOCH);
        let letter = |value: &u64| RunDeadLetter {
            chunk: 0,
            ordinal: *value,
            place: format!("a.csv:{value}"),
            reason: Reason::WrongType,
            detail: "no number".to_owned(),
            payload: Bytes::from_static(b"x"),
        };
        file.write(&values.iter().map(letter).collect::<Vec<_>>()).await.expect("written");
        file.finish().await.expect("finished");
        Some(nonce)
    }

    async fn commit(&self, claim: &Claim, dead_letters: Option<Nonce>) {
        let done = Done { dead_letters, ..Done::default() };
        let intervals = self.intervals().await;
        let txns = done_txns(&ledger(), &intervals, claim, &done).expect("no conflict");
        self.put(CommitKind::Run, txns).await;
    }

    /// A run with these dead letters, up to its commit.
    async fn run(&self, key: IntervalKey, effect: Effect, values: &[u64]) {
        let claim = self.claim(key, effect).await;
        let nonce = self.write(&claim, values).await;
        self.commit(&claim, nonce).await;
    }

    async fn roll(&self, by: &mut RunDeadLetters) -> u64 {
        let main = self.main_now().await;
        by.roll_forward(&self.main, &main, fresh).await.expect("rolled forward")
    }

    /// The values of the dead letters that show.
    async fn shown(&self) -> Vec<u64> {
        let Some(snapshot) = self.dead.load().await.expect("readable") else { return Vec::new() };
        let mut shown = Vec::new();
        for file in self.dead.live_files(&snapshot).await.expect("listed") {
            let path = object_of_log_path(&file.path).expect("inside");
            let columns = [system::SEQUENCE];
            let mut batches = read_columns(self.dead.store(), &path, &columns).await.expect("read");
            while let Some(batch) = batches.try_next().await.expect("read") {
                let column = batch.column(0).as_primitive::<Int64Type>();
                shown.extend(column.values().iter().map(|value| value.unsigned_abs()));
            }
        }
        shown.sort_unstable();
        shown
    }
}

async fn create(log: &CommitLog, spec: &TableSpec) {
    let tag = CommitTag { ledger: ledger(), kind: CommitKind::Create, nonce: fresh() };
    let prepared = log.prepare_create(spec, &CommitRequest::new(tag)).await.expect("prepared");
    win(log, &prepared).await;
}

async fn win(log: &CommitLog, prepared: &crate::log::PreparedCommit) {
    let never = std::future::pending();
    let outcome = log.settle(prepared, &RetryPolicy::default(), never).await;
    assert!(matches!(outcome, Ok(Outcome::Won)), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn b6a_a_rerun_takes_the_place_of_the_dead_letters_of_its_interval_and_of_no_others() {
    let lake = Lake::new().await;
    let mut letters = lake.letters();
    lake.run(key(0, 1), Effect::ReplaceInterval, &[1, 2]).await;
    assert_eq!(lake.shown().await, [0_u64; 0], "nothing shows before it is rolled forward");
    assert_eq!(lake.roll(&mut letters).await, 1);
    lake.run(key(1, 2), Effect::ReplaceInterval, &[3]).await;
    assert_eq!(lake.roll(&mut letters).await, 1);
    assert_eq!(lake.shown().await, [1, 2, 3]);
    lake.run(key(0, 1), Effect::ReplaceInterval, &[4]).await;
    assert_eq!(lake.roll(&mut letters).await, 1);
    assert_eq!(lake.roll(&mut letters).await, 0, "once");
    assert_eq!(lake.shown().await, [3, 4]);
    // A run without dead letters replaces them too, and so does a longer interval.
    lake.run(key(0, 1), Effect::ReplaceInterval, &[]).await;
    lake.roll(&mut letters).await;
    assert_eq!(lake.shown().await, [3]);
    lake.run(key(0, 2), Effect::ReplaceInterval, &[5]).await;
    lake.roll(&mut lake.letters()).await;
    assert_eq!(lake.shown().await, [5]);
    lake.run(key(7, 8), Effect::Overwrite, &[6]).await;
    lake.roll(&mut letters).await;
    assert_eq!(lake.shown().await, [6], "a load of everything replaces all");
}

#[tokio::test(flavor = "multi_thread")]
async fn b6a_appended_dead_letters_stay() {
    let lake = Lake::new().await;
    let mut letters = lake.letters();
    for (start, value) in [(0, 1), (1, 2)] {
        lake.run(key(start, start + 1), Effect::Append, &[value]).await;
        lake.roll(&mut letters).await;
    }
    assert_eq!(lake.shown().await, [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_dead_letters_of_a_run_that_did_not_commit_never_show() {
    let lake = Lake::new().await;
    let claim = lake.claim(key(0, 1), Effect::ReplaceInterval).await;
    lake.write(&claim, &[1]).await.expect("a file");
    assert_eq!(lake.roll(&mut lake.letters()).await, 0);
    lake.run(key(0, 1), Effect::ReplaceInterval, &[2]).await;
    lake.roll(&mut lake.letters()).await;
    assert_eq!(lake.shown().await, [2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_file_that_a_later_run_replaced_before_it_showed_is_left_out() {
    let lake = Lake::new().await;
    lake.run(key(0, 1), Effect::ReplaceInterval, &[1]).await;
    // It died here. Somebody saw the table as it is now, and goes on much later.
    let (mut late, seen) = (lake.letters(), lake.main_now().await);
    lake.run(key(0, 2), Effect::ReplaceInterval, &[2]).await;
    lake.roll(&mut lake.letters()).await;
    let rolled = late.roll_forward(&lake.main, &seen, fresh).await.expect("rolled forward");
    assert_eq!((rolled, lake.shown().await), (0, vec![2]));
}

/// It was whole before the main table named it: who waited for it would wait for ever.
#[tokio::test(flavor = "multi_thread")]
async fn p4_dead_letters_that_somebody_removed_hold_up_no_others() {
    let lake = Lake::new().await;
    for (hour, value) in [(0, 1), (1, 2)] {
        lake.run(key(hour, hour + 1), Effect::ReplaceInterval, &[value]).await;
        lake.roll(&mut lake.letters()).await;
    }
    let mut objects = lake.dead.store().list(None);
    while let Some(object) = objects.try_next().await.expect("listed") {
        lake.dead.store().delete(&object.location).await.expect("deleted");
    }
    lake.run(key(2, 3), Effect::ReplaceInterval, &[3]).await;
    let mut letters = lake.letters();
    assert_eq!(letters.count_gone(&lake.main_now().await).await.expect("looked for"), 2);
    assert_eq!((lake.roll(&mut letters).await, letters.gone().len()), (1, 2));
    assert_eq!(lake.shown().await, [3]);
    // Loaded again, an interval is whole again.
    lake.run(key(0, 1), Effect::ReplaceInterval, &[4]).await;
    let mut letters = lake.letters();
    assert_eq!((lake.roll(&mut letters).await, letters.gone().len()), (1, 1));
    assert_eq!(lake.shown().await, [3, 4]);
}

#[test]
fn p4_a_file_shows_only_while_the_main_table_names_it_and_only_once() {
    let claim = Claim { key: key(0, 1), effect: Effect::ReplaceInterval, generation: 1 };
    let (own, other) = (fresh(), fresh());
    let footer = RunFooter::new(ledger(), &claim, own);
    let main = |names: Option<Nonce>| {
        let name = |field| TxnName::Interval(ledger(), key(0, 1), field).to_string();
        let state = Some((name(IntervalField::State), 6));
        let named = names.map(|nonce| (name(IntervalField::DeadLetter), nonce.as_txn()));
        let txns = Txns::from_iter(state.into_iter().chain(named));
        Intervals::read(&txns, &ledger()).expect("valid")
    };
    let shows = |nonce: Option<Nonce>| nonce.map(|nonce| (key(0, 1), nonce)).into_iter().collect();
    for (names, shown, expected) in [
        (Some(own), None, "commit"),
        (Some(own), Some(other), "commit"),
        (Some(own), Some(own), "done"),
        (Some(other), None, "never"),
        (None, None, "never"),
    ] {
        let found = match decide_run_roll_forward(&footer, &main(names), &shows(shown)) {
            RollForward::Commit(txns) => {
                assert_eq!(txns.values().copied().collect::<Vec<_>>(), [own.as_txn()]);
                "commit"
            }
            RollForward::Done => "done",
            RollForward::NotCommitted => "never",
        };
        assert_eq!(found, expected, "{names:?} {shown:?}");
    }
}

/// Two bring letters in; the one that loses the race looks at the main table again.
#[tokio::test(flavor = "multi_thread")]
async fn p4_a_file_that_is_replaced_while_it_is_brought_in_is_left_out() {
    let lake = Lake::new().await;
    lake.run(key(5, 6), Effect::ReplaceInterval, &[9]).await;
    lake.roll(&mut lake.letters()).await;
    lake.run(key(0, 1), Effect::ReplaceInterval, &[1]).await;
    let (mut slow, seen) = (lake.letters(), lake.main_now().await);
    // The second number is that of the commit, which is about to be put.
    let mut numbers = 0;
    let overtaken = || {
        numbers += 1;
        if numbers == 2 {
            let overtake = async {
                lake.run(key(0, 2), Effect::ReplaceInterval, &[2]).await;
                assert_eq!(lake.roll(&mut lake.letters()).await, 1);
            };
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(overtake));
        }
        fresh()
    };
    let rolled = slow.roll_forward(&lake.main, &seen, overtaken).await.expect("rolled forward");
    assert_eq!((rolled, lake.shown().await), (0, vec![2, 9]));
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_eight_who_roll_forward_at_once_add_a_file_once() {
    let lake = Lake::new().await;
    lake.run(key(0, 1), Effect::ReplaceInterval, &[1]).await;
    lake.run(key(1, 2), Effect::ReplaceInterval, &[2]).await;
    let main = lake.main_now().await;
    let rolled = futures::future::join_all((0..8).map(|_| async {
        let mut letters = lake.letters();
        letters.roll_forward(&lake.main, &main, fresh).await.expect("rolled forward")
    }));
    assert_eq!(rolled.await.into_iter().sum::<u64>(), 2);
    assert_eq!(lake.shown().await, [1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_dead_letter_table_gets_the_columns_of_runs_and_keeps_its_rows() {
    let lake = Lake::new().await;
    create(&lake.dead, &TableSpec::new(stream_schema(), Vec::new())).await;
    let streamed = Nonce::from_txn(i64::MAX).expect("positive");
    let columns = stream_schema();
    let nulls = columns.fields().iter().map(|f| arrow::array::new_null_array(f.data_type(), 1));
    let row = arrow::array::RecordBatch::try_new(stream_schema(), nulls.collect()).expect("fits");
    let path = DataPath::dead_letters(&ledger(), streamed);
    let (store, options) = (Arc::clone(lake.dead.store()), WriteOptions::default());
    let file = write_file(store, path, stream_schema(), &[row], &options).await.expect("written");
    let tag = CommitTag { ledger: ledger(), kind: CommitKind::DeadLetters, nonce: fresh() };
    let request = CommitRequest { adds: vec![file], ..CommitRequest::new(tag) };
    let now = lake.dead.load().await.expect("readable").expect("there");
    let prepared = lake.dead.prepare(&now, &request).await.expect("prepared");
    win(&lake.dead, &prepared).await;

    lake.run(key(1, 2), Effect::Overwrite, &[1]).await;
    lake.roll(&mut lake.letters()).await;
    let now = lake.dead.load().await.expect("readable").expect("there");
    assert_eq!(now.schema().as_ref(), schema().as_ref());
    let files = lake.dead.live_files(&now).await.expect("listed");
    assert_eq!(files.len(), 2, "streamed dead letters are nobody's to replace");
    let ours = files.iter().find(|file| !file.path.contains(&streamed.to_string()));
    let path = object_of_log_path(&ours.expect("ours").path).expect("inside");
    let columns = [system::SOURCE, system::INTERVAL, "generation", "subject", "reason"];
    let mut batches = read_columns(lake.dead.store(), &path, &columns).await.expect("read");
    let batch = batches.try_next().await.expect("read").expect("a row");
    let text = |name: &str| batch.column_by_name(name).expect("there").as_string::<i32>().value(0);
    assert_eq!((text(system::SOURCE), text("subject")), ("l/g1", "a.csv:1"));
    assert_eq!(text("reason"), "WrongType");
    let at = batch.column_by_name(system::INTERVAL).expect("there");
    assert_eq!(at.as_primitive::<TimestampMicrosecondType>().value(0), 3_600_000_000);
    let generation = batch.column_by_name("generation").expect("there");
    assert_eq!(generation.as_primitive::<Int64Type>().value(0), 1);
    assert_eq!(generation.null_count(), 0);
}

#[test]
fn a_footer_of_a_run_is_read_back_and_a_damaged_one_is_refused() {
    let claim = Claim { key: key(0, 1), effect: Effect::Overwrite, generation: 7 };
    let good = RunFooter::new(ledger(), &claim, fresh());
    assert_eq!((good.key, good.ran), (IntervalKey::All, key(0, 1)));
    let entries: BTreeMap<_, _> = good.to_key_values().into_iter().collect();
    assert_eq!(RunFooter::from_key_values(&entries), Ok(good));
    for key in entries.keys() {
        let mut without = entries.clone();
        without.remove(key);
        assert!(RunFooter::from_key_values(&without).is_err(), "{key}");
        let mut other = entries.clone();
        other.insert(key.clone(), "?".to_owned());
        assert!(RunFooter::from_key_values(&other).is_err(), "{key}");
    }
}
