//! Tables that somebody took back in time (T1, B10).

use std::collections::BTreeMap;

use object_store::ObjectStoreExt;
use object_store::path::Path;
use serde_json::{Value, json};
use tidegate_config::{Trigger, WriteMode};
use tidegate_types::Reason;

use super::lake::{Lake, rows_of};
use super::source::Row;
use super::stream::{Sent, Streamed};
use crate::decide::testing::hours;

/// Every file that the log ever added, as it was added.
async fn added(lake: &Lake) -> BTreeMap<String, Value> {
    let mut added = BTreeMap::new();
    for entry in lake.history().await {
        for line in entry.bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let action: Value = serde_json::from_slice(line).expect("an action");
            if let Some(path) = action.pointer("/add/path").and_then(Value::as_str) {
                added.insert(path.to_owned(), action.clone());
            }
        }
    }
    added
}

async fn live(lake: &Lake) -> Vec<String> {
    let files = lake.log().live_files(&lake.snapshot().await).await.expect("readable");
    files.into_iter().map(|file| file.path).collect()
}

/// Makes these files the table's, as other writers restore a version.
async fn restore(lake: &Lake, wanted: &[String]) {
    commit(lake, "RESTORE", wanted).await;
}

/// Makes these files the table's.
async fn commit(lake: &Lake, operation: &str, wanted: &[String]) {
    let (now, added) = (live(lake).await, added(lake).await);
    let remove = |path: &String| json!({"remove": {"path": path, "deletionTimestamp": 1, "dataChange": true}});
    let removes = now.iter().filter(|path| !wanted.contains(path)).map(remove);
    let adds = wanted.iter().filter(|path| !now.contains(path)).map(|path| added[path].clone());
    let info = json!({"commitInfo": {"timestamp": 1, "operation": operation}});
    let lines: Vec<String> =
        [info].into_iter().chain(removes).chain(adds).map(|action| action.to_string()).collect();
    put(lake, &lines).await;
}

/// A stranger's commit.
async fn put(lake: &Lake, lines: &[String]) {
    let version = lake.snapshot().await.version() + 1;
    let path = Path::from(format!("_delta_log/{version:020}.json"));
    lake.store.data.put(&path, lines.join("\n").into()).await.expect("put");
}

/// Claims that one file holds what all live ones do, as a stranger's OPTIMIZE leaves it: its statistics are
/// what counts here, and its rows are those of the first.
async fn put_together(lake: &Lake) {
    let (now, added) = (live(lake).await, added(lake).await);
    let mut stats: Vec<Value> = Vec::new();
    for path in &now {
        let text = added[path].pointer("/add/stats").and_then(Value::as_str).expect("statistics");
        stats.push(serde_json::from_str(text).expect("JSON"));
    }
    let bound = |of: &str, largest: bool| {
        let pointer = format!("/{of}/_tg_interval");
        let all = stats.iter().filter_map(|one| one.pointer(&pointer).cloned());
        let text = |value: &Value| value.as_str().map(str::to_owned);
        if largest { all.max_by_key(text) } else { all.min_by_key(text) }.expect("bounds")
    };
    let (first, last) = (bound("minValues", false), bound("maxValues", true));
    let mut whole = stats[0].clone();
    whole["minValues"]["_tg_interval"] = first;
    whole["maxValues"]["_tg_interval"] = last;
    let mut add = added[&now[0]].clone();
    add["add"]["stats"] = json!(whole.to_string());
    add["add"]["dataChange"] = json!(false);
    let remove = |path: &String| json!({"remove": {"path": path, "deletionTimestamp": 1, "dataChange": false}});
    let info = json!({"commitInfo": {"timestamp": 1, "operation": "OPTIMIZE"}});
    let lines: Vec<String> = [info]
        .into_iter()
        .chain(now[1..].iter().map(remove))
        .chain([add])
        .map(|action| action.to_string())
        .collect();
    put(lake, &lines).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn t1_a_table_that_was_rewound_behind_a_repair_is_not_repaired_again() {
    let stream = Streamed::new().await;
    let sent = |sequence, row: Row| Sent { sequence, published: row.at + 30, row };
    let rows: Vec<Row> = (1..3).flat_map(|hour| rows_of(hour, 4, 1)).collect();
    stream.lake.database.put(rows.iter().copied());
    let messages: Vec<Sent> = (1..).zip(&rows).map(|(n, row)| sent(n, *row)).collect();
    stream.commit(0, &messages).await;
    let last = |n| sent(n, Row { id: -1, at: 6 * 3600, value: 1 });
    stream.commit(0, &[last(100)]).await;
    stream.commit(1, &[last(101)]).await;
    let before = live(&stream.lake).await;
    stream.lake.attempt(stream.options(hours(1, 2)), None).await.expect("repaired");
    // Four rows were replaced, and four come after them.
    for n in 102..106 {
        stream.commit(0, &[last(n)]).await;
    }
    let newest = live(&stream.lake).await;
    let known = stream.partition(0).await;
    restore(&stream.lake, &before).await;
    let refused = stream.lake.attempt(stream.options(hours(1, 2)), None).await;
    assert_eq!(refused.expect_err("rewound").reason(), Reason::TableRewound);
    assert_eq!(stream.partition(0).await, known, "nothing was counted twice");
    restore(&stream.lake, &newest).await;
    let again = stream.lake.attempt(stream.options(hours(1, 2)), None).await.expect("undone");
    assert_eq!(again.rows_replaced, 4);
    stream.is_consistent().await;
}

/// The log, which a RESTORE leaves alone, still says of every hour that it is done.
#[tokio::test(flavor = "multi_thread")]
async fn t1_a_run_does_not_go_by_a_calendar_whose_rows_a_rewind_took() {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.database.put((0..4).flat_map(|hour| rows_of(hour, 4, 1)));
    let scheduled = async |hour| lake.run(Trigger::Scheduled, Some(hours(hour, hour + 1))).await;
    for hour in [0, 1] {
        scheduled(hour).await.expect("runs");
    }
    let before = live(&lake).await;
    scheduled(2).await.expect("runs");
    let newest = live(&lake).await;
    restore(&lake, &before).await;
    for hour in [2, 3] {
        let refused = scheduled(hour).await.expect_err("rewound");
        assert_eq!((refused.reason(), refused.is_transient()), (Reason::TableRewound, false));
    }
    restore(&lake, &newest).await;
    scheduled(3).await.expect("the rewind was undone");

    restore(&lake, &before).await;
    assert_eq!(scheduled(4).await.expect_err("rewound").reason(), Reason::TableRewound);
    for hour in [2, 3] {
        lake.run(Trigger::Manual, Some(hours(hour, hour + 1))).await.expect("asked for by name");
    }
    scheduled(4).await.expect("nothing is missing any more");
    lake.holds(&lake.database.rows(None)).await;
}

/// What somebody deletes stays deleted, and is no reason to stop.
#[tokio::test(flavor = "multi_thread")]
async fn t1_rows_that_were_deleted_on_purpose_are_no_rewind() {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.database.put((0..3).flat_map(|hour| rows_of(hour, 4, 1)));
    for hour in [0, 1] {
        lake.run(Trigger::Scheduled, Some(hours(hour, hour + 1))).await.expect("runs");
    }
    let newest = live(&lake).await;
    commit(&lake, "DELETE", &newest[1..]).await;
    lake.run(Trigger::Scheduled, Some(hours(2, 3))).await.expect("goes on");
}

/// What mends a wrong deletion brings rows back, and takes none.
#[tokio::test(flavor = "multi_thread")]
async fn t1_a_rewind_that_brings_rows_back_does_not_stop_runs() {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.database.put((0..4).flat_map(|hour| rows_of(hour, 4, 1)));
    for hour in [0, 1, 2] {
        lake.run(Trigger::Scheduled, Some(hours(hour, hour + 1))).await.expect("runs");
    }
    let whole = live(&lake).await;
    // Hour 0 for good, hour 1 by mistake.
    commit(&lake, "DELETE", &whole[1..]).await;
    let wanted = live(&lake).await;
    commit(&lake, "DELETE", &wanted[1..]).await;
    restore(&lake, &wanted).await;
    lake.run(Trigger::Scheduled, Some(hours(3, 4))).await.expect("goes on");
}

/// A rewind counts for what it took alone, and for no longer than until that is loaded again.
#[tokio::test(flavor = "multi_thread")]
async fn t1_rows_deleted_on_purpose_beside_a_rewind_do_not_stop_runs() {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.database.put((0..6).flat_map(|hour| rows_of(hour, 4, 1)));
    let scheduled = async |hour| lake.run(Trigger::Scheduled, Some(hours(hour, hour + 1))).await;
    for hour in [0, 1, 2] {
        scheduled(hour).await.expect("runs");
    }
    let before: Vec<String> = live(&lake).await;
    scheduled(3).await.expect("runs");
    restore(&lake, &before).await;
    assert_eq!(scheduled(4).await.expect_err("rewound").reason(), Reason::TableRewound);
    lake.run(Trigger::Manual, Some(hours(3, 4))).await.expect("asked for by name");
    // Healed. Then one hour that the rewind left, and hour 3, which it took, for good.
    let healed = live(&lake).await;
    let third: Vec<_> = healed.iter().filter(|path| !before.contains(path)).cloned().collect();
    let wanted: Vec<_> = healed.into_iter().filter(|path| *path != before[0]).collect();
    commit(&lake, "DELETE", &wanted).await;
    scheduled(4).await.expect("an hour was deleted");
    let wanted: Vec<_> =
        live(&lake).await.into_iter().filter(|path| !third.contains(path)).collect();
    commit(&lake, "DELETE", &wanted).await;
    // A stranger's rows that come and go are nobody's.
    let info = json!({"commitInfo": {"timestamp": 1, "operation": "WRITE"}});
    let nulls = json!({"_tg_src": 1}).to_string();
    let stats = format!(r#"{{"numRecords":1,"nullCount":{nulls}}}"#);
    let add = json!({"add": {"path": "theirs.parquet", "partitionValues": {}, "size": 1, "modificationTime": 1, "dataChange": true, "stats": stats}});
    let now = live(&lake).await;
    put(&lake, &[info.to_string(), add.to_string()]).await;
    restore(&lake, &now).await;
    scheduled(5).await.expect("hour 3 was deleted, too");
}

/// A file that somebody put together holds the intervals between its bounds, and no others.
#[tokio::test(flavor = "multi_thread")]
async fn t1_a_rewind_is_seen_behind_files_that_a_stranger_put_together() {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.database.put((0..5).flat_map(|hour| rows_of(hour, 4, 1)));
    let scheduled = async |hour| lake.run(Trigger::Scheduled, Some(hours(hour, hour + 1))).await;
    for hour in [0, 1] {
        scheduled(hour).await.expect("runs");
    }
    let before = live(&lake).await;
    scheduled(2).await.expect("runs");
    restore(&lake, &before).await;
    put_together(&lake).await;
    assert_eq!(scheduled(3).await.expect_err("rewound").reason(), Reason::TableRewound);
    lake.run(Trigger::Manual, Some(hours(2, 3))).await.expect("asked for by name");
    scheduled(3).await.expect("nothing is missing any more");
}

/// Of loads of everything only the newest has rows, whichever intervals the others were made for.
#[tokio::test(flavor = "multi_thread")]
async fn t1_a_table_that_is_overwritten_again_after_a_rewind_goes_on() {
    let lake = Lake::new(WriteMode::Overwrite);
    let load = async |hour| {
        lake.database.put(rows_of(hour, 4, 1));
        lake.run(Trigger::Scheduled, Some(hours(hour, hour + 1))).await
    };
    load(0).await.expect("runs");
    let before = live(&lake).await;
    load(1).await.expect("runs");
    restore(&lake, &before).await;
    assert_eq!(load(2).await.expect_err("rewound").reason(), Reason::TableRewound);
    lake.run(Trigger::Manual, Some(hours(2, 3))).await.expect("asked for by name");
    load(3).await.expect("the newest load is there");
}
