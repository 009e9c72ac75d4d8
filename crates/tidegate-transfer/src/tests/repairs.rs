//! Repairs of a streamed table (B10).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidegate_config::{Trigger, WriteMode};
use tidegate_runtime::failpoint::RUN_STEPS;
use tidegate_table::ledger::StreamFloors;
use tidegate_table::log::{CommitKind, Txns};
use tidegate_types::{Ledger, PartitionId, Reason};
use tokio::sync::Notify;

use super::lake::{Lake, rows_of};
use super::pause::Pause;
use super::source::{Fault, Row};
use super::stream::{Sent, Streamed, clicks};
use crate::decide::testing::hours;
use crate::repair::Repair;
use crate::steps::Steps;

/// A row that arrived half a minute after it happened.
fn sent(sequence: u64, row: Row) -> Sent {
    Sent { sequence, published: row.at + 30, row }
}

/// Five hours of a stream, of which every third message of the second hour was lost: two partitions, the
/// files of which end in the middle of hours.
async fn damaged() -> Streamed {
    let stream = Streamed::new().await;
    let all: Vec<Row> = (0..5).flat_map(|hour| rows_of(hour, 40, 1)).collect();
    stream.lake.database.put(all.iter().copied());
    let lost = |row: &Row| row.at / 3600 == 1 && row.id % 3 == 0;
    let messages: Vec<Sent> =
        (1..).zip(&all).filter(|(_, row)| !lost(row)).map(|(n, row)| sent(n, *row)).collect();
    for k in [0, 1] {
        let own: Vec<Sent> =
            messages.iter().filter(|m| m.sequence % 2 == u64::from(k)).copied().collect();
        for part in own.chunks(13) {
            stream.commit(k, part).await;
        }
    }
    // What comes last says how far the stream is.
    for (k, n) in [(0, 1_000), (1, 1_001)] {
        stream.commit(k, &[sent(n, Row { id: -1 - i64::from(k), at: 6 * 3600, value: 1 })]).await;
    }
    stream.lake.database.put((0..2).map(|k| Row { id: -1 - k, at: 6 * 3600, value: 1 }));
    stream
}

/// Everything as it should be.
fn whole(stream: &Streamed) -> Vec<Row> {
    stream.lake.database.rows(None)
}

#[tokio::test(flavor = "multi_thread")]
async fn b10_a_repair_puts_the_sources_rows_in_the_place_of_the_streams() {
    let stream = damaged().await;
    assert_eq!(stream.values().await.len() + 13, whole(&stream).len(), "the stream lost some");
    let report = stream.lake.attempt(stream.options(hours(1, 2)), None).await.expect("repaired");
    assert_eq!((report.rows_committed, report.rows_replaced, report.generation), (40, 27, 1));
    assert_eq!(stream.values().await, whole(&stream));
    for (row, source) in stream.rows().await {
        let repaired = row.at / 3600 == 1;
        assert_eq!(source == "g1", repaired, "{row:?} is of {source}");
    }
    stream.is_consistent().await;
    let records = stream.records().await;
    let [record] = &records[..] else { panic!("one record: {records:?}") };
    assert_eq!((record.rows, record.replaced, record.removed_rows()), (40, 0, 27));
    let floors: Vec<_> = record.cuts.iter().map(|cut| (cut.partition.0, cut.floor.0)).collect();
    assert_eq!(floors, [(0, 1_000), (1, 1_001)]);
    assert_eq!(record.repaired.stretches(), [hours(1, 2)]);
    let entry = stream.lake.history().await.pop().expect("a commit");
    assert_eq!(entry.ours.map(|tag| tag.kind), Some(CommitKind::Repair));
}

#[tokio::test(flavor = "multi_thread")]
async fn b10_a_second_repair_replaces_the_first_and_what_came_late_between_them() {
    let stream = damaged().await;
    stream.lake.attempt(stream.options(hours(1, 2)), None).await.expect("repaired");
    // A pipeline with afterRepair: Append files such a row beside those of the repair.
    let late = Row { id: 7, at: 3600 + 5, value: 9 };
    stream.commit(0, &[Sent { sequence: 1_002, published: 6 * 3600 + 60, row: late }]).await;
    let after = Row { id: -9, at: 9 * 3600, value: 1 };
    stream.commit(0, &[sent(1_004, after)]).await;
    stream.commit(1, &[sent(1_005, after)]).await;
    stream.lake.database.put([after, after]);
    stream.lake.database.change(|rows| {
        let own = |row: &&mut Row| row.at / 3600 == 1;
        rows.iter_mut().filter(own).for_each(|row| row.value = 2);
    });
    let again = stream.lake.attempt(stream.options(hours(1, 2)), None).await.expect("again");
    assert_eq!((again.rows_committed, again.rows_replaced, again.generation), (40, 41, 2));
    assert_eq!(stream.values().await, whole(&stream));
    stream.is_consistent().await;
    let records = stream.records().await;
    assert_eq!((records.len(), records[0].replaced, records[0].removed_rows()), (2, 40, 1));
    // One that contains it takes its place too; one that overlaps it is refused (B3).
    let overlaps = stream.lake.attempt(stream.options(hours(0, 1)), None).await.expect("beside");
    assert_eq!(overlaps.rows_replaced, 40);
    let wider = stream.lake.attempt(stream.options(hours(0, 3)), None).await.expect("contains");
    assert_eq!((wider.rows_committed, wider.rows_replaced), (120, 120));
    let part = stream.lake.attempt(stream.options(hours(2, 4)), None).await.expect_err("overlaps");
    assert_eq!(part.reason(), Reason::IntervalConflict);
    assert_eq!(stream.values().await, whole(&stream));
    stream.is_consistent().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b10_a_streaming_commit_in_between_wins_and_the_repair_is_decided_anew() {
    let stream = Arc::new(damaged().await);
    let pause = Arc::new(Pause::at("run.before_put"));
    let repair = {
        let (stream, pause) = (Arc::clone(&stream), Some(Arc::clone(&pause)));
        tokio::spawn(async move {
            let steps = Steps { pause, ..Steps::default() };
            stream.lake.attempt_with(stream.options(hours(1, 2)), steps).await
        })
    };
    pause.reached().await;
    let late = Row { id: 7, at: 3600 + 5, value: 9 };
    stream.commit(0, &[Sent { sequence: 1_002, published: 4 * 3600, row: late }]).await;
    assert!(stream.values().await.contains(&late));
    pause.go();
    let report = repair.await.expect("ended").expect("the race was lost, the repair is not");
    assert_eq!(report.rows_replaced, 28, "the late row went too");
    assert_eq!(stream.values().await, whole(&stream));
    stream.is_consistent().await;
    assert_eq!(stream.records().await[0].cuts[0].floor.0, 1_002);
}

/// What the log said before a version.
async fn before(lake: &Lake, version: u64) -> Txns {
    let mut txns = Txns::default();
    for entry in lake.history().await.iter().filter(|entry| entry.version < version) {
        txns.apply(&entry.txns);
    }
    txns
}

/// Repairs an hour, and commits a message of the stream when the repair is about to commit.
async fn repair_overtaken(stream: &Arc<Streamed>, hour: i64, message: Sent) {
    let pause = Arc::new(Pause::at("run.before_put"));
    let repair = {
        let (stream, pause) = (Arc::clone(stream), Some(Arc::clone(&pause)));
        tokio::spawn(async move {
            let steps = Steps { pause, ..Steps::default() };
            stream.lake.attempt_with(stream.options(hours(hour, hour + 1)), steps).await
        })
    };
    pause.reached().await;
    stream.commit(0, &[message]).await;
    stream.lake.database.put([message.row]);
    pause.go();
    repair.await.expect("ended").expect("repaired");
}

#[tokio::test(flavor = "multi_thread")]
async fn b10_the_record_tells_the_very_snapshot_that_the_commit_extends() {
    let stream = Arc::new(damaged().await);
    for (hour, sequence) in [(0, 2_000), (1, 2_002), (2, 2_004), (3, 2_006)] {
        let row = Row { id: -5, at: 7 * 3600, value: 1 };
        repair_overtaken(&stream, hour, sent(sequence, row)).await;
    }
    assert_eq!(stream.values().await, whole(&stream));
    stream.is_consistent().await;
    let history = stream.lake.history().await;
    let kind = |kind| {
        let is = move |tag: &tidegate_table::log::CommitTag| tag.kind == kind;
        let found = history.iter().filter(move |entry| entry.ours.as_ref().is_some_and(is));
        found.map(|entry| entry.version).collect::<Vec<_>>()
    };
    let (repairs, streamed) = (kind(CommitKind::Repair), kind(CommitKind::Data));
    let mut records = stream.records().await;
    records.reverse();
    assert_eq!((repairs.len(), records.len()), (4, 4));
    for two in repairs.windows(2) {
        let between = streamed.iter().filter(|version| (two[0]..two[1]).contains(version));
        assert_eq!(between.count(), 1, "the stream went on between {two:?}");
    }
    for (version, record) in repairs.into_iter().zip(&records) {
        let floors = StreamFloors::read(&before(&stream.lake, version).await, &clicks());
        let floors = floors.expect("ours");
        assert_eq!(record.cuts.len(), 2);
        for cut in &record.cuts {
            let now = floors.lives[&cut.incarnation][&cut.partition];
            assert_eq!(Some(cut.floor), now.floor, "{} at version {version}", record.interval);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b10_a_repair_waits_for_the_stream_and_claims_nothing_before() {
    let stream = Streamed::new().await;
    stream.lake.database.put(rows_of(1, 10, 1));
    let early = |error: tidegate_runtime::RunError| {
        assert_eq!(error.reason(), Reason::RepairTooEarly, "{error}");
        assert!(error.is_transient());
    };
    let repair = async || stream.lake.attempt(stream.options(hours(1, 2)), None).await;
    assert_eq!(repair().await.expect_err("nobody streams").reason(), Reason::LedgerMismatch);
    let at = |hours: i64| Row { id: 0, at: hours * 3600, value: 1 };
    stream.commit(0, &[sent(10, at(2))]).await;
    early(repair().await.expect_err("a partition is missing"));
    stream.commit(1, &[sent(11, at(2))]).await;
    early(repair().await.expect_err("rows may still be on time"));
    stream.commit(0, &[sent(12, at(3))]).await;
    stream.commit(1, &[sent(13, at(3))]).await;
    assert_eq!(stream.lake.generation(Some(hours(1, 2))).await, 0, "nothing was claimed");
    // A row of the interval whose id is still compared.
    let late = Row { id: 7, at: 3600, value: 9 };
    stream.commit(0, &[Sent { sequence: 14, published: 3 * 3600, row: late }]).await;
    let opened = stream.lake.database.opened.load(Ordering::SeqCst);
    early(repair().await.expect_err("the window would change"));
    assert_eq!(stream.lake.database.opened.load(Ordering::SeqCst), opened, "nothing was read");
    assert_eq!(stream.lake.generation(Some(hours(1, 2))).await, 0, "nor was anything claimed");
    assert!(stream.records().await.is_empty() && stream.values().await.contains(&late));
    stream.commit(0, &[sent(16, at(4))]).await;
    stream.commit(1, &[sent(17, at(4))]).await;
    repair().await.expect("now it may");
    assert!(!stream.values().await.contains(&late));
    stream.is_consistent().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b10_a_repair_with_an_older_generation_changes_nothing() {
    let stream = Arc::new(damaged().await);
    let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let waits = Fault::Waits { reached: Arc::clone(&reached), go: Arc::clone(&go) };
    stream.lake.database.fail(1, waits);
    let zombie = {
        let stream = Arc::clone(&stream);
        tokio::spawn(async move { stream.lake.attempt(stream.options(hours(1, 2)), None).await })
    };
    reached.notified().await;
    stream.lake.attempt(stream.options(hours(1, 2)), None).await.expect("a newer one");
    let before = stream.rows().await;
    go.notify_one();
    let error = zombie.await.expect("ended").expect_err("fenced");
    assert_eq!(error.reason(), Reason::GenerationLost);
    assert_eq!(stream.rows().await, before);
    assert_eq!(stream.records().await.len(), 1);
    stream.is_consistent().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b10_a_repair_that_dies_between_any_two_steps_is_finished_by_its_next_attempt() {
    for step in RUN_STEPS {
        let stream = damaged().await;
        let damaged = stream.values().await;
        let options = stream.options(hours(1, 2));
        stream.lake.dies_at(options.clone(), step).await;
        // Readers see all of the old rows or all of the new ones.
        let seen = stream.values().await;
        assert!(seen == damaged || seen == whole(&stream), "{step}");
        stream.is_consistent().await;
        stream.lake.attempt(options, None).await.expect("the next attempt");
        assert_eq!(stream.values().await, whole(&stream), "{step}");
        stream.is_consistent().await;
        assert_eq!(stream.records().await.len(), 1, "{step}: repaired once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b10_a_store_that_fails_one_call_in_five_delays_repairs_and_nothing_else() {
    let stream = damaged().await;
    stream.lake.mood.percent.store(20, Ordering::SeqCst);
    for hour in [1, 3, 1] {
        let options = stream.options(hours(hour, hour + 1));
        let mut attempts = 0;
        while let Err(error) = stream.lake.attempt(options.clone(), None).await {
            assert!(error.is_transient(), "{error:?}");
            attempts += 1;
            assert!(attempts < 300, "{error:?}");
        }
    }
    stream.lake.mood.percent.store(0, Ordering::SeqCst);
    assert_eq!(stream.values().await, whole(&stream));
    stream.is_consistent().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b10_what_is_no_repair_is_refused_and_so_is_a_repair_of_nothing() {
    let stream = damaged().await;
    for trigger in [Trigger::Scheduled, Trigger::Manual, Trigger::Backfill] {
        let error = stream.lake.run(trigger, Some(hours(1, 2))).await.expect_err("no repair");
        assert!(error.to_string().contains("write trigger: Repair"), "{error}");
        assert!(!error.is_transient());
    }
    let without = Lake::new(WriteMode::ReplaceInterval);
    let error = without.run(Trigger::Repair, Some(hours(1, 2))).await.expect_err("of nobody");
    assert!(error.to_string().contains("bulk.repairs"), "{error}");
    without.set(|config| config.repairs = stream.lake.config().repairs);
    let error = without.run(Trigger::Repair, Some(hours(1, 2))).await.expect_err("no table");
    assert_eq!(error.reason(), Reason::TableMismatch);
    assert!(without.log().load().await.expect("readable").is_none(), "none was made");
    let before = stream.rows().await;
    stream.lake.database.change(Vec::clear);
    let shrinks =
        stream.lake.attempt(stream.options(hours(1, 2)), None).await.expect_err("to none");
    assert_eq!(shrinks.reason(), Reason::IntervalShrank);
    assert_eq!(stream.rows().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn b10_an_interval_that_another_pipeline_repaired_is_left_to_it() {
    let stream = damaged().await;
    stream.lake.attempt(stream.options(hours(1, 2)), None).await.expect("repaired");
    let before = stream.rows().await;
    stream.lake.set(|config| config.ledger = Ledger::new("shop.other").expect("valid"));
    // X6: a third ledger's rows need `shared: true`, those of the stream do not.
    let error = stream.lake.attempt(stream.options(hours(3, 4)), None).await.expect_err("a third");
    assert_eq!(error.reason(), Reason::LedgerMismatch);
    stream.lake.set(|config| config.sink.delta.shared = true);
    let error = stream.lake.attempt(stream.options(hours(1, 3)), None).await.expect_err("not its");
    assert_eq!(error.reason(), Reason::IntervalConflict);
    let told = tidegate_runtime::in_words(&error);
    assert!(told.contains("shop.orders"), "{told}");
    assert_eq!(stream.rows().await, before);
    stream.lake.attempt(stream.options(hours(3, 4)), None).await.expect("beside it");
    assert_eq!(stream.values().await, whole(&stream));
    stream.is_consistent().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn b10_a_repair_never_changes_the_tables_columns_nor_leaves_one_of_them_out() {
    let stream = damaged().await;
    let repair = Repair::of(&stream.lake.config(), Some(hours(1, 2))).expect("it repairs");
    let snapshot = stream.lake.snapshot().await;
    let table = snapshot.schema();
    repair.check_columns(table, table).expect("the same");
    let without = arrow::datatypes::Schema::new(
        table.fields().iter().filter(|field| field.name() != "value").cloned().collect::<Vec<_>>(),
    );
    let lacks = repair.check_columns(table, &without).expect_err("values would become null");
    assert!(lacks.to_string().contains("gives no column value"), "{lacks}");
    let more = repair.check_columns(&without, table).expect_err("the table would change");
    assert!(more.to_string().contains("gives a column value"), "{more}");
    assert!([lacks, more].iter().all(|error| error.reason() == Reason::TableMismatch));
}

#[tokio::test(flavor = "multi_thread")]
async fn b10_a_source_with_other_columns_than_the_table_repairs_nothing() {
    let stream = damaged().await;
    let (before, columns) = (stream.rows().await, stream.lake.snapshot().await.schema().clone());
    stream.lake.database.has_more_columns.store(true, Ordering::SeqCst);
    let error = stream.lake.attempt(stream.options(hours(1, 2)), None).await.expect_err("more");
    assert_eq!((error.reason(), error.is_transient()), (Reason::TableMismatch, false));
    assert_eq!(
        stream.lake.snapshot().await.schema(),
        &columns,
        "the stream's table stays as it is"
    );
    assert_eq!(stream.rows().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn b10_a_ledger_that_repaired_another_stream_leaves_those_rows_alone() {
    let mut stream = damaged().await;
    stream.lake.attempt(stream.options(hours(1, 2)), None).await.expect("repaired");
    stream.ledger = Ledger::new("shop.other").expect("valid");
    for (k, sequence) in [(0, 1), (1, 2)] {
        let last = Row { id: -1, at: 6 * 3600, value: 1 };
        stream.commit(k, &[sent(sequence, last)]).await;
    }
    let before = stream.rows().await;
    stream.lake.set(|config| {
        config.sink.delta.shared = true;
        config.repairs.as_mut().expect("it repairs").ledger = stream.ledger.clone();
    });
    let error = stream.lake.attempt(stream.options(hours(1, 2)), None).await.expect_err("theirs");
    assert_eq!(error.reason(), Reason::LedgerMismatch, "{error}");
    assert!(error.to_string().contains("own ledger"), "{error}");
    assert_eq!(stream.rows().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn b10_rows_are_replaced_by_one_column_for_ever() {
    let stream = damaged().await;
    stream.lake.attempt(stream.options(hours(1, 2)), None).await.expect("repaired");
    let before = stream.rows().await;
    stream.lake.set(|config| {
        let repairs = config.repairs.as_mut().expect("it repairs");
        repairs.event_time = "value".to_owned();
    });
    let error = stream.lake.attempt(stream.options(hours(3, 4)), None).await.expect_err("another");
    assert_eq!((error.reason(), error.is_transient()), (Reason::TableMismatch, false));
    let told = tidegate_runtime::in_words(&error);
    assert!(told.contains("event time at, not value"), "{told}");
    assert_eq!(stream.rows().await, before);
    assert_eq!(stream.lake.generation(Some(hours(3, 4))).await, 0, "nothing was claimed");
}

#[tokio::test(flavor = "multi_thread")]
async fn b10_rows_of_every_life_of_the_stream_are_replaced_and_counted_where_they_were() {
    let mut stream = damaged().await;
    let late = Row { id: 7, at: 3600 + 5, value: 9 };
    let first = stream.life;
    stream.life = tidegate_types::Incarnation::derive("CLICKS", "", 1);
    stream.commit(0, &[Sent { sequence: 1, published: 4 * 3600, row: late }]).await;
    let ends = Row { id: -1, at: 6 * 3600, value: 1 };
    for (k, sequence) in [(0, 2), (1, 3)] {
        stream.commit(k, &[sent(sequence, ends)]).await;
        stream.lake.database.put([ends]);
    }
    let report = stream.lake.attempt(stream.options(hours(1, 2)), None).await.expect("repaired");
    assert_eq!(report.rows_replaced, 28);
    assert_eq!(stream.values().await, whole(&stream));
    stream.is_consistent().await;
    assert_eq!(stream.partition(0).await.superseded, 1);
    let lives: BTreeSet<_> = stream.records().await[0]
        .cuts
        .iter()
        .filter(|cut| cut.partition == PartitionId(0) && !cut.removed.is_empty())
        .map(|cut| cut.incarnation)
        .collect();
    assert_eq!(lives, BTreeSet::from([first, stream.life]));
}
