//! What an edit of a running pipeline may change.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use tidegate_api::{IngestionPipelineSpec, check};
use tidegate_resolve::check_evolution;

fn spec(fields: &Value, more: &Value) -> IngestionPipelineSpec {
    let mut document = json!({
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": "IngestionPipeline",
        "metadata": {"name": "clicks"},
        "spec": {
            "source": {"type": "JetStream", "jetStream": {"stream": "CLICKS", "subjects": ["c.>"]}},
            "schema": {"fields": fields},
            "sink": {"storage": {"url": "s3://lake/clicks"}},
        },
    });
    for (path, value) in more.as_object().into_iter().flatten() {
        let (parent, name) = path.rsplit_once('/').expect("a pointer");
        document["spec"].pointer_mut(parent).expect("it is there")[name] = value.clone();
    }
    let found = check("f.yaml", vec![document]).unwrap_or_else(|faults| panic!("{faults:#?}"));
    found.pipelines.into_iter().next().expect("one").spec
}

/// What comes of changing these columns, under AddColumns.
fn edit(old: &Value, new: &Value) -> Result<Vec<String>, String> {
    edit_under(&json!({}), old, new)
}

fn edit_under(more: &Value, old: &Value, new: &Value) -> Result<Vec<String>, String> {
    let outcome = check_evolution(&spec(old, more), &spec(new, more));
    outcome.map_err(|faults| {
        assert!(faults.iter().all(|fault| fault.instead.is_some()), "{faults:#?}");
        faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    })
}

fn column(name: &str, data_type: &str) -> Value {
    json!({"name": name, "type": data_type})
}

#[test]
fn new_optional_columns_and_members_are_added_and_named() {
    let old = json!([
        {"name": "id", "type": "string", "required": true},
        {"name": "geo", "type": "struct<lat: double>"},
        {"name": "tags", "type": "list<struct<a: long>>"},
        {"name": "extra", "type": "map<string, struct<a: long>>"},
    ]);
    let new = json!([
        {"name": "page", "type": "string", "from": "$.p"},
        {"name": "geo", "type": "struct<lon: double, lat: double, at: struct<x: long>>"},
        {"name": "id", "type": "string", "required": true},
        {"name": "tags", "type": "list<struct<a: long, b: long>>"},
        {"name": "extra", "type": "map<string, struct<a: long, c: long>>"},
    ]);
    let names = ["page", "geo.lon", "geo.at", "tags.element.b", "extra.value.c"].map(String::from);
    assert_eq!(edit(&old, &new), Ok(names.to_vec()));
    assert_eq!(edit(&old, &old), Ok(vec![]));
}

#[test]
fn reading_an_old_column_otherwise_adds_nothing() {
    let old = json!([{"name": "id", "type": "string", "required": true}]);
    let new = json!([{"name": "id", "type": "string", "from": "$.key"}]);
    assert_eq!(edit(&old, &new), Ok(vec![]), "relaxed, and read elsewhere");
    let spaced = json!([{"name": "g", "type": "struct<a:long>"}]);
    assert_eq!(edit(&json!([column("g", "struct<a: long>")]), &spaced), Ok(vec![]));
}

#[test]
fn what_the_table_cannot_follow_is_refused_by_name() {
    let two = json!([column("id", "string"), column("geo", "struct<lat: double, lon: double>")]);
    let with = |second: Value| json!([column("id", "string"), second]);
    for (new, says) in [
        (json!([column("id", "string")]), "spec.schema.fields: column geo is gone"),
        (
            with(column("Geo", "struct<lat: double, lon: double>")),
            "fields[1].name: Geo differs from",
        ),
        (
            with(column("geo", "string")),
            "fields[1].type: column geo has the type struct<lat: double",
        ),
        (with(column("geo", "struct<lat: double>")), "fields[1].type: geo.lon is gone"),
        (
            with(column("geo", "struct<lat: float, lon: double>")),
            "column geo.lat has the type double in the table, not float",
        ),
        (
            with(column("geo", "struct<Lat: double, lon: double>")),
            "geo.Lat differs from the table's",
        ),
        (
            with(
                json!({"name": "geo", "type": "struct<lat: double, lon: double>", "required": true}),
            ),
            "fields[1].required: column geo was not required",
        ),
    ] {
        let found = edit(&two, &new).expect_err(says);
        assert!(found.contains(says), "{says}\n{found}");
    }
    let mut wider = two.clone();
    let new = json!({"name": "page", "type": "string", "required": true});
    wider.as_array_mut().expect("a list").push(new);
    let found = edit(&two, &wider).expect_err("required and new");
    assert!(found.contains("fields[2].required: column page is new"), "{found}");
}

#[test]
fn all_faults_are_named_at_once() {
    let old = json!([column("a", "long"), column("b", "long"), column("c", "long")]);
    let found =
        edit(&old, &json!([column("a", "string"), column("B", "long")])).expect_err("three");
    assert_eq!(found.lines().count(), 3, "{found}");
}

#[test]
fn a_frozen_schema_takes_no_change_of_its_fields() {
    let frozen = json!({"/schema/evolution": "Frozen"});
    let old = json!([column("id", "string"), column("geo", "struct<lat: double>")]);
    assert_eq!(edit_under(&frozen, &old, &old), Ok(vec![]));
    let turned = json!([old[1], old[0]]);
    assert_eq!(edit_under(&frozen, &old, &turned), Ok(vec![]), "the order says nothing");
    for new in [
        json!([old[0], old[1], column("page", "string")]),
        json!([old[0], column("geo", "struct<lat: double, lon: double>")]),
        json!([{"name": "id", "type": "string", "required": true}, old[1]]),
        json!([{"name": "id", "type": "string", "from": "$.key"}, old[1]]),
    ] {
        let found = edit_under(&frozen, &old, &new).expect_err("frozen");
        assert!(
            found.contains("schema.evolution is Frozen; write evolution: AddColumns"),
            "{found}"
        );
        assert_eq!(found.lines().count(), 1, "{found}");
    }
    // Thawed in the same edit.
    let new = json!([old[0], old[1], column("page", "string")]);
    let outcome = check_evolution(&spec(&old, &frozen), &spec(&new, &json!({})));
    assert_eq!(outcome, Ok(vec!["page".to_owned()]));
}

#[test]
fn what_positions_and_files_mean_cannot_be_changed() {
    let fields = json!([column("id", "string")]);
    let stream = "/source/jetStream";
    for (path, value) in [
        ("/ledger".to_owned(), json!("other")),
        (format!("{stream}/stream"), json!("OTHER")),
        (format!("{stream}/partitioning"), json!({"type": "Subject", "partitions": 2})),
        ("/sink/storage/url".to_owned(), json!("s3://lake/other")),
        ("/sink/partitionBy".to_owned(), json!([{"field": "id", "transform": "Identity"}])),
    ] {
        let new = spec(&fields, &json!({path.as_str(): value}));
        let found = check_evolution(&spec(&fields, &json!({})), &new).expect_err(&path);
        let says = format!("spec{}", path.replace('/', "."));
        assert_eq!(found.iter().map(|fault| fault.field.clone()).collect::<Vec<_>>(), [says]);
    }
}

#[test]
fn a_new_deduplication_key_or_window_is_taken() {
    let fields = json!([column("id", "string")]);
    let old = spec(&fields, &json!({}));
    for dedup in [json!({"window": "10m"}), json!({"key": {"type": "Field", "field": "id"}})] {
        assert_eq!(check_evolution(&old, &spec(&fields, &json!({"/dedup": dedup}))), Ok(vec![]));
    }
    let subjects = spec(
        &fields,
        &json!({"/source/jetStream/partitioning":
            {"type": "Subject", "partitions": 2, "idSubjectStable": true}}),
    );
    let without = spec(
        &fields,
        &json!({"/source/jetStream/partitioning": {"type": "Subject", "partitions": 2}}),
    );
    assert_eq!(check_evolution(&subjects, &without), Ok(vec![]), "a promise, no partition");
}

fn types() -> impl Strategy<Value = String> {
    let plain = prop::sample::select(vec!["long", "string", "double"]).prop_map(String::from);
    plain.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|element| format!("list<{element}>")),
            inner.clone().prop_map(|value| format!("map<string, {value}>")),
            prop::collection::btree_map("[a-d]", inner, 1..4).prop_map(|members| {
                let members: Vec<_> = members.iter().map(|(n, t)| format!("{n}: {t}")).collect();
                format!("struct<{}>", members.join(", "))
            }),
        ]
    })
}

fn columns() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map("[a-f]", types(), 1..5)
}

fn of_columns(columns: &BTreeMap<String, String>) -> IngestionPipelineSpec {
    spec(&columns.iter().map(|(name, of)| column(name, of)).collect(), &json!({}))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Nothing that the table has can ever be missing from what was accepted last.
    #[test]
    fn accepted_edits_only_grow(first in columns(), more in columns(), any in columns()) {
        let mut wider = more.clone();
        wider.extend(first.clone());
        let gained: Vec<&String> = wider.keys().filter(|name| !first.contains_key(*name)).collect();
        let (narrow, wide, any) = (of_columns(&first), of_columns(&wider), of_columns(&any));
        let added = check_evolution(&narrow, &wide).expect("more columns");
        prop_assert_eq!(added.iter().collect::<Vec<_>>(), gained);
        prop_assert_eq!(check_evolution(&wide, &narrow).is_ok(), added.is_empty());
        if check_evolution(&wide, &any).is_ok() {
            prop_assert!(check_evolution(&narrow, &any).is_ok());
        }
    }
}
