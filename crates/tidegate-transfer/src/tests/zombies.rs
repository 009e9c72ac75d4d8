//! Attempts that go on after others took their place.

use std::sync::Arc;

use tidegate_config::{Trigger, WriteMode};
use tidegate_types::Reason;
use tokio::sync::Notify;

use super::lake::{Lake, rows_of};
use super::source::Fault;
use crate::decide::testing::hours;

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_that_writes_after_its_successor_committed_touches_nothing_that_is_named() {
    let lake = Arc::new(Lake::new(WriteMode::ReplaceInterval));
    lake.database.put(rows_of(0, 60, 1));
    let options = lake.options(Trigger::Scheduled, Some(hours(0, 1)));
    let (reached, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    lake.database.fail(2, Fault::Waits { reached: Arc::clone(&reached), go: Arc::clone(&go) });
    let zombie = {
        let (lake, options) = (Arc::clone(&lake), options.clone());
        tokio::spawn(async move { lake.attempt(options, None).await })
    };
    reached.notified().await;
    // The same run, started again while the first pod still lives.
    lake.attempt(options.clone(), None).await.expect("the successor");
    let before = lake.rows().await;
    go.notify_one();
    let error = zombie.await.expect("ended").expect_err("fenced");
    assert_eq!(error.reason(), Reason::GenerationLost);
    assert_eq!(lake.rows().await, before);
    let third = lake.attempt(options, None).await.expect("nothing to do");
    assert_eq!((third.reason.as_str(), third.generation), ("AlreadyComplete", 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_attempts_at_once_end_with_one_set_of_rows() {
    let lake = Arc::new(Lake::new(WriteMode::ReplaceInterval));
    lake.database.put(rows_of(0, 60, 1));
    let attempts: Vec<_> = (0..8)
        .map(|_| {
            let lake = Arc::clone(&lake);
            tokio::spawn(async move { lake.run(Trigger::Manual, Some(hours(0, 1))).await })
        })
        .collect();
    let mut won = 0;
    for attempt in attempts {
        match attempt.await.expect("ended") {
            Ok(_) => won += 1,
            Err(error) => assert_eq!(error.reason(), Reason::GenerationLost, "{error:?}"),
        }
    }
    assert!(won >= 1, "the newest generation is nobody's prey");
    lake.holds(&lake.database.rows(None)).await;
}
