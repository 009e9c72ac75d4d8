//! Splitting batches by partition.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use proptest::collection::vec;
use proptest::prelude::*;
use tidegate_batch::{PartitionRouter, PartitionValues, RouterError};
use tidegate_types::{PartitionColumn, PartitionTransform};

const DAY: i64 = 86_400_000_000;

/// Rows of `(country, days since 1970)`, numbered in the column `n`.
fn batch(rows: &[(Option<&str>, Option<i64>)]) -> RecordBatch {
    let numbers: Int64Array = (0_i64..).take(rows.len()).map(Some).collect();
    let countries: StringArray = rows.iter().map(|(country, _)| *country).collect();
    let times: TimestampMicrosecondArray =
        rows.iter().map(|(_, day)| day.map(|day| day.wrapping_mul(DAY))).collect();
    RecordBatch::try_from_iter_with_nullable([
        ("n", Arc::new(numbers) as ArrayRef, true),
        ("country", Arc::new(countries), true),
        ("ts", Arc::new(times.with_timezone("UTC")), true),
    ])
    .expect("columns are equally long")
}

fn by(field: &str, transform: PartitionTransform) -> PartitionColumn {
    PartitionColumn { field: field.into(), transform }
}

fn router(columns: &[PartitionColumn]) -> Result<PartitionRouter, RouterError> {
    PartitionRouter::new(columns, batch(&[]).schema_ref())
}

fn country_and_day() -> PartitionRouter {
    router(&[by("country", PartitionTransform::Identity), by("ts", PartitionTransform::Day)])
        .expect("columns exist")
}

fn numbers(rows: &RecordBatch) -> Vec<i64> {
    rows.column_by_name("n").expect("kept").as_primitive::<Int64Type>().values().to_vec()
}

fn values(pairs: &[(&str, Option<&str>)]) -> PartitionValues {
    let owned =
        |(name, value): &(&str, Option<&str>)| ((*name).to_owned(), value.map(str::to_owned));
    PartitionValues(pairs.iter().map(owned).collect())
}

#[test]
fn rows_go_to_their_partitions_in_order() {
    let batch = batch(&[
        (Some("KR"), Some(1)),
        (None, Some(1)),
        (Some("KR"), Some(1)),
        (Some("KR"), Some(2)),
        (Some(""), Some(1)),
        (Some("KR"), None),
    ]);
    let routed = country_and_day().route(&batch).expect("routable");
    let found: Vec<_> = routed.iter().map(|part| (&part.values, numbers(&part.rows))).collect();
    assert_eq!(
        found,
        [
            (&values(&[("country", Some("KR")), ("ts_day", Some("1970-01-02"))]), vec![0, 2]),
            (&values(&[("country", None), ("ts_day", Some("1970-01-02"))]), vec![1, 4]),
            (&values(&[("country", Some("KR")), ("ts_day", Some("1970-01-03"))]), vec![3]),
            (&values(&[("country", Some("KR")), ("ts_day", None)]), vec![5]),
        ]
    );
}

#[test]
fn an_identity_column_leaves_the_file_and_a_derived_one_never_enters_it() {
    let router = country_and_day();
    let batch = batch(&[(Some("KR"), Some(1))]);
    let routed = router.route(&batch).expect("routable");
    let names = |schema: &Schema| {
        schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(routed[0].rows.schema_ref()), ["n", "ts"]);
    assert_eq!(
        router.partition_fields(),
        [Field::new("country", DataType::Utf8, true), Field::new("ts_day", DataType::Date32, true)]
    );
}

#[test]
fn a_batch_in_one_partition_is_not_copied() {
    let batch = batch(&[(Some("KR"), Some(1)), (Some("KR"), Some(1))]);
    let routed = country_and_day().route(&batch).expect("routable");
    assert_eq!(routed.len(), 1);
    assert!(routed[0].rows.column(0).as_ref().to_data().ptr_eq(&batch.column(0).to_data()));
}

#[test]
fn without_partition_columns_there_is_one_partition_and_without_rows_none() {
    let router = router(&[]).expect("nothing to check");
    let routed = router.route(&batch(&[(None, None), (None, Some(3))])).expect("routable");
    assert_eq!((routed.len(), numbers(&routed[0].rows)), (1, vec![0, 1]));
    assert_eq!(routed[0].values, PartitionValues::default());
    assert!(router.route(&batch(&[])).expect("routable").is_empty());
}

#[test]
fn rows_without_a_usable_partition_value_are_named_and_never_routed() {
    let router = country_and_day();
    let long = "x".repeat(300);
    let batch = batch(&[
        (Some("KR"), Some(4_000_000)),
        (Some("KR"), Some(1)),
        (Some(&long), Some(4_000_000)),
        (Some(&long), Some(1)),
    ]);
    let named = router.unroutable(&batch).expect("columns exist");
    assert_eq!(named, [(0, "ts"), (2, "country"), (3, "country")]);
    assert!(matches!(router.route(&batch), Err(RouterError::Unroutable { row: 0, .. })));
    assert_eq!(router.unroutable(&batch.slice(1, 1)).expect("columns exist"), []);
    assert!(router.route(&batch.slice(1, 1)).is_ok());
}

#[test]
fn partition_columns_that_do_not_fit_the_schema_are_refused() {
    use PartitionTransform::{Bucket, Day, Identity};
    for (columns, says) in [
        (vec![by("contry", Identity)], "did you mean \"country\"?"),
        (vec![by("country", Day)], "cannot be transformed by Day"),
        (vec![by("n", Bucket(0))], "at least one bucket"),
        (vec![by("n", Bucket(2)), by("n", Bucket(3))], "\"n_bucket\" stands twice"),
    ] {
        let error = router(&columns).expect_err(says).to_string();
        assert!(error.contains(says), "{error}");
    }
    let taken = Schema::new(vec![
        Field::new("d", DataType::Date32, true),
        Field::new("d_day", DataType::Utf8, true),
    ]);
    assert!(PartitionRouter::new(&[by("d", Day)], &taken).is_err());
}

proptest! {
    #[test]
    fn no_row_is_lost_doubled_or_put_out_of_order(
        rows in vec((proptest::option::of("[ab]{0,2}"), proptest::option::of(0_i64..3)), 0..80),
        buckets in 1_u32..5,
    ) {
        let borrowed: Vec<_> = rows.iter().map(|(country, day)| (country.as_deref(), *day)).collect();
        let batch = batch(&borrowed);
        let columns = [
            by("ts", PartitionTransform::Day),
            by("country", PartitionTransform::Identity),
            by("n", PartitionTransform::Bucket(buckets)),
        ];
        let router = router(&columns).expect("columns exist");
        let routed = router.route(&batch).expect("routable");
        let mut seen = vec![false; rows.len()];
        let mut partitions = HashMap::new();
        for part in &routed {
            let numbers = numbers(&part.rows);
            prop_assert!(numbers.is_sorted());
            prop_assert!(partitions.insert(part.values.clone(), numbers.len()).is_none());
            for number in numbers {
                let row = usize::try_from(number).expect("positive");
                prop_assert!(!std::mem::replace(&mut seen[row], true));
                let country = rows[row].0.clone().filter(|country| !country.is_empty());
                prop_assert_eq!(&part.values.0[1].1, &country);
                let day = rows[row].1.map(|day| format!("1970-01-0{}", day + 1));
                prop_assert_eq!(&part.values.0[0].1, &day);
            }
        }
        prop_assert!(seen.into_iter().all(|seen| seen));
    }

    #[test]
    fn any_time_is_routed_or_named(days in vec(any::<i64>(), 1..20)) {
        let rows: Vec<_> = days.iter().map(|day| (None, Some(*day))).collect();
        let (router, batch) = (country_and_day(), batch(&rows));
        let named = router.unroutable(&batch).expect("columns exist").len();
        prop_assert_eq!(router.route(&batch).is_ok(), named == 0);
    }
}
