//! What the bounds of intervals mean, and what else is compared before anything is claimed (B7).

use tidegate_config::{Trigger, WriteMode};
use tidegate_table::ledger::IntervalKey;
use tidegate_types::{Field, Ledger, PartitionColumn, PartitionTransform, Reason};

use super::files::immutable;
use super::lake::{Lake, rows_of};
use crate::decide::cursor_mark;
use crate::decide::testing::hours;

/// Whose cursor is written in that zone.
fn in_zone(lake: &Lake, zone: Option<&str>) {
    lake.set(|config| {
        let incremental = config.incremental.get_or_insert_with(immutable);
        incremental.time_zone = zone.map(str::to_owned);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn b7_after_an_edit_of_the_cursor_nothing_is_run_unasked_until_a_person_vouches_for_the_boundary()
 {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.database.put((0..4).flat_map(|hour| rows_of(hour, 5, 1)));
    in_zone(&lake, Some("UTC"));
    for hour in 0..2 {
        lake.run(Trigger::Scheduled, Some(hours(hour, hour + 1))).await.expect("runs");
    }
    in_zone(&lake, Some("Asia/Seoul"));
    let version = lake.snapshot().await.version();
    let error = lake.run(Trigger::Scheduled, Some(hours(2, 3))).await.expect_err("refused");
    assert_eq!((error.reason(), error.is_transient()), (Reason::InvalidConfiguration, false));
    assert!(error.to_string().contains(&hours(1, 2).to_string()), "{error}");
    assert_eq!(lake.snapshot().await.version(), version, "nothing was claimed");
    // What is done is done, whatever it meant.
    let done = lake.run(Trigger::Scheduled, Some(hours(0, 1))).await.expect("held");
    assert_eq!(done.reason, "AlreadyComplete");
    // Done again by a person, the newest one means what the next one will.
    let mut again = lake.options(Trigger::Backfill, Some(hours(1, 2)));
    again.rerun = true;
    lake.attempt(again, None).await.expect("a person asked");
    lake.run(Trigger::Scheduled, Some(hours(2, 3))).await.expect("runs");
    in_zone(&lake, Some("UTC"));
    let error = lake.run(Trigger::Scheduled, Some(hours(3, 4))).await.expect_err("back again");
    assert_eq!(error.reason(), Reason::InvalidConfiguration);
}

#[tokio::test(flavor = "multi_thread")]
async fn b7_what_reruns_by_itself_does_not_carry_an_edit_into_the_past() {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.database.put(rows_of(0, 5, 1));
    in_zone(&lake, Some("UTC"));
    lake.run(Trigger::Scheduled, Some(hours(0, 1))).await.expect("runs");
    in_zone(&lake, Some("Asia/Seoul"));
    lake.set(|config| config.incremental.as_mut().expect("by a cursor").rerun_last = 1);
    let again = || {
        let mut options = lake.options(Trigger::Backfill, Some(hours(0, 1)));
        options.rerun = true;
        lake.attempt(options, None)
    };
    let error = again().await.expect_err("nobody may have asked");
    assert!(error.to_string().contains("rerunLast"), "{error}");
    lake.set(|config| config.incremental.as_mut().expect("by a cursor").rerun_last = 0);
    again().await.expect("a person asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn b7_every_interval_says_what_its_bounds_meant_and_stored_numbers_do_not_change() {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    let known = async || lake.intervals().await.get(IntervalKey::Of(hours(0, 1)));
    lake.run(Trigger::Manual, Some(hours(0, 1))).await.expect("runs");
    assert_eq!(known().await.and_then(|known| known.cursor), None, "there is no cursor");
    let mut marks = Vec::new();
    for zone in [None, Some("UTC"), Some("Asia/Seoul")] {
        in_zone(&lake, zone);
        lake.run(Trigger::Manual, Some(hours(0, 1))).await.expect("runs");
        let stored = known().await.and_then(|known| known.cursor);
        assert_eq!(stored, cursor_mark(&lake.config()));
        marks.extend(stored);
    }
    // Of the cursor `at`, a zero byte and the zone.
    assert_eq!(
        marks,
        [2_557_865_944_809_776_101, 6_521_194_311_716_127_088, 8_780_253_634_930_666_121]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_configuration_alone_shows_to_be_wrong_is_refused_before_anything_is_claimed() {
    let lake = Lake::new(WriteMode::ReplaceInterval);
    lake.database.put((0..2).flat_map(|hour| rows_of(hour, 5, 1)));
    lake.run(Trigger::Scheduled, Some(hours(0, 1))).await.expect("runs");
    let good = lake.config();
    let version = lake.snapshot().await.version();
    let field = |name: &str, data_type: &str| Field {
        name: name.into(),
        data_type: data_type.parse().expect("a type"),
        required: false,
        from: None,
    };
    let by_day = || PartitionColumn { field: "at".into(), transform: PartitionTransform::Day };
    for what in ["partitioning", "columns", "ledger"] {
        lake.set(|config| match what {
            "partitioning" => config.sink.partition_by = vec![by_day()],
            "columns" => config.fields = Some(vec![field("id", "string")]),
            _ => config.ledger = Ledger::new("shop.returns").expect("valid"),
        });
        let error = lake.run(Trigger::Scheduled, Some(hours(1, 2))).await.expect_err(what);
        assert!(!error.is_transient(), "{what}: {error}");
        assert_eq!(lake.snapshot().await.version(), version, "{what}");
        if what != "ledger" {
            let done = lake.run(Trigger::Scheduled, Some(hours(0, 1))).await.expect("held");
            assert_eq!(done.reason, "AlreadyComplete", "{what}");
        }
        lake.set(|config| *config = good.clone());
    }
    lake.run(Trigger::Scheduled, Some(hours(1, 2))).await.expect("as it was");
}
