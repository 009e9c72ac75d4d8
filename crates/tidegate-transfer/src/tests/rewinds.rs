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
    let version = lake.snapshot().await.version() + 1;
    let path = Path::from(format!("_delta_log/{version:020}.json"));
    lake.store.data.put(&path, lines.join("\n").into()).await.expect("put");
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
