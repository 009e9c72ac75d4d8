//! Schema changes and tables that must not be used.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema};
use object_store::memory::InMemory;
use tidegate_types::Evolution;

use super::fixture::{commit, created, file, log, request, setting, settle, spec};
use crate::log::{CommitKind, LogError, Outcome, TableSpec};
use crate::schema::{check_partitioning, plan_evolution};

fn structure(members: &[(&str, DataType)]) -> DataType {
    let fields = members.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), true));
    DataType::Struct(fields.collect::<Fields>())
}

#[tokio::test(flavor = "multi_thread")]
async fn planned_columns_are_added_by_one_commit_and_txns_stay() {
    let log = log(Arc::new(InMemory::new()));
    let base = created(&log).await;
    let base = commit(&log, &base, &setting(&[("floor", 3)])).await;
    let point = structure(&[("lat", DataType::Float64)]);
    let declare = |extra: Vec<Field>| {
        let plain = spec().schema;
        let fields = plain.fields().iter().map(|field| field.as_ref().clone());
        Schema::new(fields.chain(extra).collect::<Vec<_>>())
    };
    let list = DataType::List(Arc::new(Field::new("element", point.clone(), true)));
    let first = declare(vec![Field::new("geo", point, false), Field::new("path", list, true)]);
    let wider = structure(&[("lat", DataType::Float64), ("lon", DataType::Float64)]);
    let list = DataType::List(Arc::new(Field::new("element", wider.clone(), true)));
    let second = declare(vec![Field::new("geo", wider, true), Field::new("path", list, true)]);
    let mut table = base;
    for declared in [&first, &second] {
        let mut change = request(CommitKind::Schema);
        change.add_columns =
            plan_evolution(table.schema(), declared, Evolution::AddColumns).expect("fits");
        assert_eq!(change.add_columns.len(), 2);
        table = commit(&log, &table, &change).await;
        let left = plan_evolution(table.schema(), declared, Evolution::Frozen);
        assert_eq!(left, Ok(vec![]), "the table has what was declared");
    }
    let fresh = log.load().await.expect("readable").expect("exists");
    assert_eq!(fresh.txns().get("floor"), Some(3));
    assert_eq!(fresh.schema(), table.schema());
    assert_eq!(check_partitioning(fresh.partition_columns(), &["day".to_owned()]), Ok(()));
    // Rows still go in.
    let mut data = setting(&[("floor", 4)]);
    data.adds = vec![file("day=2026-06-01/a.parquet", Some("2026-06-01"), 1)];
    commit(&log, &fresh, &data).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_declared_type_can_be_created_and_is_read_back_alike() {
    let log = log(Arc::new(InMemory::new()));
    let types =
        ["string", "long", "integer", "short", "byte", "float", "double", "boolean", "binary"];
    let arrow_types = [
        DataType::Utf8,
        DataType::Int64,
        DataType::Int32,
        DataType::Int16,
        DataType::Int8,
        DataType::Float32,
        DataType::Float64,
        DataType::Boolean,
        DataType::Binary,
    ];
    let mut fields: Vec<Field> = types
        .iter()
        .zip(&arrow_types)
        .map(|(name, data_type)| Field::new(*name, data_type.clone(), true))
        .collect();
    let micros = arrow::datatypes::TimeUnit::Microsecond;
    fields.extend([
        Field::new("decimal", DataType::Decimal128(18, 2), true),
        Field::new("date", DataType::Date32, true),
        Field::new("timestamp", DataType::Timestamp(micros, Some("UTC".into())), true),
        Field::new("timestamp_ntz", DataType::Timestamp(micros, None), true),
        Field::new("geo", structure(&[("lat", DataType::Float64)]), true),
        Field::new_list("tags", Field::new("element", DataType::Utf8, true), true),
        Field::new_map(
            "extra",
            "key_value",
            Field::new("key", DataType::Utf8, false),
            Field::new("value", DataType::Int64, true),
            false,
            true,
        ),
    ]);
    let spec = TableSpec::new(Arc::new(Schema::new(fields)), Vec::new());
    let prepared = log
        .prepare_create(&spec, &request(CommitKind::Create))
        .await
        .expect("every type has a Delta type");
    assert!(matches!(settle(&log, &prepared).await, Outcome::Won));
    let table = log.load().await.expect("readable").expect("created");
    assert_eq!(plan_evolution(table.schema(), &spec.schema, Evolution::Frozen), Ok(vec![]));
    assert_eq!(table.schema().fields().len(), spec.schema.fields().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_table_that_forgets_positions_is_refused() {
    let log = log(Arc::new(InMemory::new()));
    let mut forgetful = spec();
    let (key, value) = ("delta.setTransactionRetentionDuration", "interval 1 hour");
    forgetful.properties.insert(key.to_owned(), value.to_owned());
    let prepared = log.prepare_create(&forgetful, &request(CommitKind::Create)).await;
    settle(&log, &prepared.expect("prepared")).await;
    let table = log.load().await.expect("readable").expect("created");
    let error = log.prepare(&table, &setting(&[("floor", 1)])).await.expect_err("refused");
    assert!(
        matches!(&error, LogError::Mismatch { problem, .. } if problem.contains(key)),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_column_mapping_is_refused() {
    let log = log(Arc::new(InMemory::new()));
    let mut mapped = spec();
    mapped.properties.insert("delta.columnMapping.mode".to_owned(), "name".to_owned());
    let prepared = log.prepare_create(&mapped, &request(CommitKind::Create)).await;
    settle(&log, &prepared.expect("prepared")).await;
    let table = log.load().await.expect("readable").expect("created");
    let error = table.check_usable("t").expect_err("refused");
    assert!(error.to_string().contains("column mapping"), "{error}");
}
