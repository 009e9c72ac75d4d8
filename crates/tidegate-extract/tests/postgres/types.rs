use tidegate_types::{Explained as _, Reason};

use crate::support::{Database, fields, refused, rows, value, values};

/// Name, type, expression, what becomes of it, and as text.
const TYPES: &[(&str, &str, &str, &str)] = &[
    ("bool", "true", "Boolean", "true"),
    ("int2", "-32768", "Int16", "-32768"),
    ("int4", "2147483647", "Int32", "2147483647"),
    ("int8", "-9223372036854775808", "Int64", "-9223372036854775808"),
    ("oid", "4294967295", "Int64", "4294967295"),
    ("float4", "'1.5'", "Float32", "1.5"),
    ("float4", "'NaN'", "Float32", "NaN"),
    ("float8", "'-Infinity'", "Float64", "-inf"),
    ("float8", "5e-324", "Float64", "5e-324"),
    ("numeric(18,2)", "-12345678901234.56", "Decimal128(18, 2)", "-12345678901234.56"),
    (
        "numeric(38,0)",
        "99999999999999999999999999999999999999",
        "Decimal128(38, 0)",
        "99999999999999999999999999999999999999",
    ),
    (
        "numeric(38,38)",
        "0.00000000000000000000000000000000000001",
        "Decimal128(38, 38)",
        "0.00000000000000000000000000000000000001",
    ),
    ("numeric(5,-2)", "-1234567", "Decimal128(7, 0)", "-1234600"),
    ("numeric(2,5)", "0.00099", "Decimal128(5, 5)", "0.00099"),
    ("text", "'zß水𝄞'", "Utf8", "zß水𝄞"),
    ("text", "''", "Utf8", ""),
    ("varchar(9)", "'it''s'", "Utf8", "it's"),
    ("char(4)", "'ab'", "Utf8", "ab  "),
    ("name", "'n'", "Utf8", "n"),
    ("\"char\"", "'x'", "Utf8", "x"),
    ("citext", "'CaSe'", "Utf8", "CaSe"),
    ("bytea", r"'\x00ff'", "Binary", "00ff"),
    (
        "uuid",
        "'A0EEBC99-9c0b-4ef8-bb6d-6bb9bd380a11'",
        "Utf8",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    ),
    ("json", r#"'{"a" : 1}'"#, "Utf8", r#"{"a" : 1}"#),
    ("jsonb", r#"'{"a" : [1, null]}'"#, "Utf8", r#"{"a": [1, null]}"#),
    ("xml", "'<a/>'", "Utf8", "<a/>"),
    ("date", "'0001-01-01'", "Date32", "0001-01-01"),
    ("date", "'9999-12-31'", "Date32", "9999-12-31"),
    ("time", "'23:59:59.999999'", "Utf8", "23:59:59.999999"),
    ("timetz", "'23:59:59+05:30'", "Utf8", "23:59:59+05:30"),
    ("timestamp", "'1969-12-31 23:59:59.999999'", "Timestamp(µs)", "1969-12-31T23:59:59.999999"),
    ("timestamptz", "'2026-06-01 00:00:00+09'", "Timestamp(µs, \"UTC\")", "2026-05-31T15:00:00Z"),
    ("interval", "'1 year 2 days 3.5 seconds'", "Utf8", "P1Y2DT3.5S"),
    ("inet", "'10.0.0.1/8'", "Utf8", "10.0.0.1/8"),
    ("cidr", "'10.0.0.0/8'", "Utf8", "10.0.0.0/8"),
    ("macaddr", "'08:00:2b:01:02:03'", "Utf8", "08:00:2b:01:02:03"),
    ("bit(3)", "B'101'", "Utf8", "101"),
    ("mood", "'sad'", "Utf8", "sad"),
    ("cents", "12.34", "Decimal128(10, 2)", "12.34"),
    ("int4[]", "'{1,NULL,3}'", "List(Int32, field: 'element')", "[1, NULL, 3]"),
    ("int4[]", "'{}'", "List(Int32, field: 'element')", "[]"),
    ("text[]", r#"'{"a,b",""}'"#, "List(Utf8, field: 'element')", "[a,b, ]"),
    ("numeric(9,3)[]", "'{1.5,-2}'", "List(Decimal128(9, 3), field: 'element')", "[1.500, -2.000]"),
    (
        "uuid[]",
        "'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'",
        "List(Utf8, field: 'element')",
        "[a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11]",
    ),
    ("inet[]", "'{10.0.0.1}'", "List(Utf8, field: 'element')", "[10.0.0.1/32]"),
    ("mood[]", "'{sad,happy}'", "List(Utf8, field: 'element')", "[sad, happy]"),
    (
        "timestamptz[]",
        "'{2026-06-01T00:00:00Z}'",
        "List(Timestamp(µs, \"UTC\"), field: 'element')",
        "[2026-06-01T00:00:00Z]",
    ),
];

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn every_type_comes_over_with_extremes_and_nulls() {
    let columns: Vec<_> = (0..).zip(TYPES).map(|(n, (of, ..))| format!("c{n} {of}")).collect();
    let inputs: Vec<_> = TYPES.iter().map(|(_, input, ..)| *input).collect();
    let nulls = vec!["NULL"; TYPES.len()].join(", ");
    let inputs = inputs.join(", ");
    let database = Database::with(
        "every_type",
        &format!(
            "CREATE EXTENSION citext; CREATE TYPE mood AS ENUM ('sad', 'happy'); \
             CREATE DOMAIN cents AS numeric(10,2) CHECK (value > 0); \
             CREATE TABLE t ({}); INSERT INTO t VALUES ({inputs}), ({nulls}), ({inputs});",
            columns.join(", ")
        ),
    )
    .await;
    for request in [database.table("t"), database.query("SELECT * FROM t")] {
        let all = rows(request).await.unwrap();
        for (number, (type_, input, becomes, expected)) in TYPES.iter().enumerate() {
            let name = format!("c{number}");
            assert_eq!(values(&all, &name), [expected, "NULL", expected], "{type_} {input}");
            let data_type = all.column(number).data_type().to_string();
            assert_eq!(data_type, *becomes, "{type_}");
        }
    }
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn what_has_no_counterpart_is_named_and_comes_as_declared_text() {
    let database = Database::with(
        "no_counterpart",
        "CREATE TYPE pair AS (a int, b text); \
         CREATE TABLE t (id int, cash money, at point, span int4range, two pair, any_size numeric); \
         INSERT INTO t VALUES (1, '12.5', '(1,2)', '[1,5)', '(1,x)', 1e40);",
    )
    .await;
    for (column, says) in [
        ("cash", "money"),
        ("at", "point"),
        ("span", "int4range"),
        ("two", "pair"),
        ("any_size", "numeric without precision"),
    ] {
        let request = database.query(&format!("SELECT id, {column} FROM t"));
        let error = refused(request.clone()).await;
        assert_eq!(error.reason(), Reason::UnsupportedType);
        let text = error.to_string();
        assert!(text.contains(&format!("{column:?}")) && text.contains(says), "{text}");
        let declared = fields(&[(column, "string")]);
        assert!(rows(tidegate_extract::ReadRequest { fields: declared, ..request }).await.is_ok());
    }
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn declared_fields_are_wider_and_in_their_order() {
    let database = Database::with(
        "declared",
        "CREATE TABLE t (a int2, b int4, c int8, d numeric, e numeric(10,2), f date, g int4[], h float4); \
         INSERT INTO t VALUES (1, 2, 3, 4.5, 5.25, '2026-06-01', '{7}', 8.5);",
    )
    .await;
    let declared = [
        ("h", "double"),
        ("g", "list<long>"),
        ("f", "timestamp_ntz"),
        ("e", "decimal(12,4)"),
        ("d", "decimal(38,9)"),
        ("c", "decimal(20,1)"),
        ("b", "double"),
        ("a", "long"),
    ];
    let mut request = database.table("t");
    request.fields = fields(&declared);
    let all = rows(request.clone()).await.unwrap();
    let row: Vec<_> = declared.iter().map(|(name, _)| value(&all, name, 0)).collect();
    assert_eq!(
        row,
        ["8.5", "[7]", "2026-06-01T00:00:00", "5.2500", "4.500000000", "3.0", "2.0", "1"]
    );
    request.fields = fields(&[("d", "decimal(3,0)")]);
    let error = refused(request).await;
    assert_eq!(error.reason(), Reason::OutOfRange);
    assert!(error.to_string().contains("row 0, column \"d\""), "{error}");
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn values_that_a_table_cannot_hold_name_their_place_and_a_way_out() {
    let database = Database::with(
        "cannot_hold",
        "CREATE TABLE t (id int, n numeric(5,2), d date, s timestamp, z timestamptz, a int4[], r text); \
         INSERT INTO t VALUES (1, 1, '2026-06-01', now(), now(), '{1}', 'x'); \
         INSERT INTO t VALUES (2, 'NaN', 'infinity', '-infinity', 'infinity', '{{1},{2}}', NULL);",
    )
    .await;
    for (column, reason) in [
        ("n", Reason::OutOfRange),
        ("d", Reason::OutOfRange),
        ("s", Reason::OutOfRange),
        ("z", Reason::OutOfRange),
        ("a", Reason::UnsupportedType),
    ] {
        let mut request = database.query(&format!("SELECT {column} FROM t ORDER BY id"));
        let error = refused(request.clone()).await;
        assert_eq!(error.reason(), reason);
        assert!(!error.is_transient());
        let place = format!("row 1, column {column:?}");
        assert!(error.to_string().contains(&place), "{error}");
        request.fields = fields(&[(column, "string")]);
        let all = rows(request).await.unwrap();
        let expected = match column {
            "n" => "NaN",
            "s" => "-infinity",
            "a" => "{{1},{2}}",
            _ => "infinity",
        };
        assert_eq!(value(&all, column, 1), expected);
    }
    let mut request = database.query("SELECT n FROM t ORDER BY id");
    request.fields = fields(&[("n", "double")]);
    assert_eq!(values(&rows(request).await.unwrap(), "n"), ["1.0", "NaN"]);
    let mut request = database.query("SELECT r FROM t ORDER BY id");
    request.fields = fields(&[("r", "string")]);
    request.fields.as_mut().unwrap()[0].required = true;
    let error = refused(request).await;
    assert_eq!(error.reason(), Reason::MissingField);
    assert!(error.to_string().contains("row 1, column \"r\""), "{error}");
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn names_that_try_to_break_out_are_names() {
    let names =
        ["select", "Mixed", "ü水", "quo\"te", "a'b", r"back\slash", "x\"|DROP-TABLE-victim|--"];
    let quoted: Vec<_> =
        names.iter().map(|name| format!("\"{}\" int", name.replace('"', "\"\""))).collect();
    let table = "t\" AS x; DROP TABLE victim; --";
    let schema = "s'\"c";
    let database = Database::with(
        "break_out",
        &format!(
            "CREATE TABLE victim (a int); CREATE SCHEMA \"{0}\"; \
             CREATE TABLE \"{0}\".\"{1}\" ({2}); INSERT INTO \"{0}\".\"{1}\" VALUES (1,2,3,4,5,6,7), (8,9,10,11,12,13,14);",
            schema.replace('"', "\"\""),
            table.replace('"', "\"\""),
            quoted.join(", ")
        ),
    )
    .await;
    let mut request = database.table(table);
    if let tidegate_config::BulkSource::Postgres(source) = &mut request.source {
        source.relation = tidegate_config::Relation::Table {
            schema: Some(schema.to_owned()),
            name: table.to_owned(),
        };
    }
    for name in names {
        let request = crate::support::chunked(request.clone(), 1, Some(name));
        let all = rows(request).await.unwrap();
        assert_eq!(all.num_rows(), 2, "{name}");
        assert_eq!(all.schema().field(3).name(), names[3]);
    }
    for query in [
        "SELECT 1; DROP TABLE victim",
        "SELECT 1) AS a; DROP TABLE victim; SELECT * FROM (SELECT 1",
    ] {
        let error = refused(database.query(query)).await;
        assert_eq!(error.reason(), Reason::SourceRefused, "{error}");
    }
    assert_eq!(database.sql("SELECT count(*) FROM victim").await, "0");
}
