//! Every type, with nulls and at its ends.

use tidegate_extract::open;
use tidegate_types::{Explained, Reason};

use crate::ground::{Ground, declared};

/// Column, its least value, its greatest, both as SQL; the type it becomes, and both as they arrive.
type TypeRow = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

const TYPES: [TypeRow; 37] = [
    ("tinyint", "-128", "127", "Int8", "-128", "127"),
    ("tinyint unsigned", "0", "255", "Int16", "0", "255"),
    ("smallint", "-32768", "32767", "Int16", "-32768", "32767"),
    ("smallint unsigned", "0", "65535", "Int32", "0", "65535"),
    ("mediumint", "-8388608", "8388607", "Int32", "-8388608", "8388607"),
    ("mediumint unsigned", "0", "16777215", "Int32", "0", "16777215"),
    ("int", "-2147483648", "2147483647", "Int32", "-2147483648", "2147483647"),
    ("int unsigned", "0", "4294967295", "Int64", "0", "4294967295"),
    (
        "bigint",
        "-9223372036854775808",
        "9223372036854775807",
        "Int64",
        "-9223372036854775808",
        "9223372036854775807",
    ),
    (
        "bigint unsigned",
        "0",
        "18446744073709551615",
        "Decimal128(20, 0)",
        "0",
        "18446744073709551615",
    ),
    ("decimal(5,2)", "-999.99", "999.99", "Decimal128(5, 2)", "-999.99", "999.99"),
    ("decimal(4,2) unsigned", "0", "99.99", "Decimal128(4, 2)", "0.00", "99.99"),
    (
        "decimal(38,0)",
        "-99999999999999999999999999999999999999",
        "99999999999999999999999999999999999999",
        "Decimal128(38, 0)",
        "-99999999999999999999999999999999999999",
        "99999999999999999999999999999999999999",
    ),
    (
        "decimal(38,30)",
        "-99999999.999999999999999999999999999999",
        "0.000000000000000000000000000001",
        "Decimal128(38, 30)",
        "-99999999.999999999999999999999999999999",
        "0.000000000000000000000000000001",
    ),
    ("float", "-1.5", "0.1", "Float32", "-1.5", "0.1"),
    ("double", "-1.7976931348623157e308", "0.1", "Float64", "-1.7976931348623157e308", "0.1"),
    ("bit(1)", "b'0'", "b'1'", "Boolean", "false", "true"),
    ("bit(9)", "b'0'", "b'100000001'", "Int64", "0", "257"),
    ("bit(64)", "b'0'", "18446744073709551615", "Decimal128(20, 0)", "0", "18446744073709551615"),
    ("char(3)", "''", "'añ🦀'", "Utf8", "", "añ🦀"),
    ("varchar(20)", "''", "'🦀 and 漢字'", "Utf8", "", "🦀 and 漢字"),
    ("text character set latin1", "'é'", "'ÿ'", "Utf8", "é", "ÿ"),
    ("longtext", "''", "'x\\n|\\\\'", "Utf8", "", "x\n|\\"),
    ("binary(2)", "x'0000'", "x'ff00'", "Binary", "0000", "ff00"),
    ("varbinary(9)", "x''", "x'00ff'", "Binary", "", "00ff"),
    ("longblob", "x''", "x'c328'", "Binary", "", "c328"),
    ("json", "'{}'", "'{\"a\": [1, \"🦀\"]}'", "Utf8", "{}", "{\"a\": [1, \"🦀\"]}"),
    ("enum('a','ü')", "'a'", "'ü'", "Utf8", "a", "ü"),
    ("set('a','b')", "''", "'a,b'", "Utf8", "", "a,b"),
    ("date", "'0001-01-01'", "'9999-12-31'", "Date32", "0001-01-01", "9999-12-31"),
    (
        "datetime",
        "'0001-01-01'",
        "'9999-12-31 23:59:59'",
        "Timestamp(µs)",
        "0001-01-01T00:00:00",
        "9999-12-31T23:59:59",
    ),
    (
        "datetime(6)",
        "'1969-12-31 23:59:59.999999'",
        "'2024-02-29 12:00:00.000001'",
        "Timestamp(µs)",
        "1969-12-31T23:59:59.999999",
        "2024-02-29T12:00:00.000001",
    ),
    (
        "timestamp",
        "'1970-01-01 00:00:01'",
        "'2038-01-19 03:14:07'",
        "Timestamp(µs, \"UTC\")",
        "1970-01-01T00:00:01Z",
        "2038-01-19T03:14:07Z",
    ),
    (
        "timestamp(6)",
        "'1970-01-01 00:00:01.000001'",
        "'2038-01-19 03:14:07.999999'",
        "Timestamp(µs, \"UTC\")",
        "1970-01-01T00:00:01.000001Z",
        "2038-01-19T03:14:07.999999Z",
    ),
    ("time", "'-838:59:59'", "'838:59:59'", "Utf8", "-838:59:59", "838:59:59"),
    (
        "time(6)",
        "'-00:00:00.000001'",
        "'23:59:59.999999'",
        "Utf8",
        "-00:00:00.000001",
        "23:59:59.999999",
    ),
    ("year", "1901", "2155", "Int16", "1901", "2155"),
];

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn every_type_arrives_as_it_is_with_its_ends_and_nulls() {
    let ground = Ground::shared().await;
    let columns: Vec<_> =
        TYPES.iter().enumerate().map(|(n, row)| format!("c{n} {} NULL", row.0)).collect();
    let values =
        |of: fn(&TypeRow) -> &'static str| TYPES.iter().map(of).collect::<Vec<_>>().join(", ");
    let nulls = vec!["NULL"; TYPES.len()].join(", ");
    ground
        .sql(&format!(
            "CREATE TABLE types (id INT PRIMARY KEY, {}); \
             INSERT INTO types VALUES (1, {}), (2, {}), (3, {nulls});",
            columns.join(", "),
            values(|row| row.1),
            values(|row| row.2),
        ))
        .await;
    let snapshot = open(ground.table("types")).await.unwrap();
    for (n, row) in TYPES.iter().enumerate() {
        let schema = snapshot.columns();
        let field = schema.field_with_name(&format!("c{n}")).unwrap();
        assert_eq!(
            (field.data_type().to_string().as_str(), field.is_nullable()),
            (row.3, true),
            "{}",
            row.0
        );
    }
    snapshot.close().await;
    // A column at a time, so that a failure says which.
    for (n, row) in TYPES.iter().enumerate() {
        let query = format!("SELECT id, c{n} FROM types");
        let rows = ground.rows(ground.query(&query)).await;
        let expected = [format!("1|{}", row.4), format!("2|{}", row.5), "3|NULL".to_owned()];
        assert_eq!(rows, expected, "{}", row.0);
    }
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn a_date_that_is_no_day_is_named_with_its_row_unless_it_is_wanted_as_text() {
    let ground = Ground::shared().await;
    ground
        .sql(
            "SET sql_mode = ''; CREATE TABLE zeros (id INT PRIMARY KEY, d DATE, t DATETIME(3), s TIMESTAMP NULL); \
             INSERT INTO zeros VALUES (1, '2026-01-01', '2026-01-01', '2026-01-01'), \
             (7, '0000-00-00', '0000-00-00', 0);",
        )
        .await;
    for column in ["d", "t", "s"] {
        let error = ground.refusal(ground.query(&format!("SELECT {column} FROM zeros"))).await;
        assert_eq!((error.reason(), error.is_transient()), (Reason::OutOfRange, false));
        let text = error.to_string();
        assert!(
            text.contains(&format!("column {column:?}")) && text.contains("0000-00-00"),
            "{text}"
        );
    }
    let whole = ground.refusal(ground.table("zeros")).await.to_string();
    assert!(whole.contains("id 7"), "{whole}");
    let text = declared(ground.table("zeros"), &["d string", "t string", "s string"]);
    assert_eq!(
        ground.rows(text).await,
        [
            "0000-00-00|0000-00-00 00:00:00.000|0000-00-00 00:00:00",
            "2026-01-01|2026-01-01 00:00:00.000|2026-01-01 00:00:00",
        ]
    );
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn what_has_no_counterpart_is_named_and_may_be_left_out() {
    let ground = Ground::shared().await;
    ground
        .sql(
            "CREATE TABLE odd (id BIGINT PRIMARY KEY, place POINT, wide DECIMAL(65,30)); \
             INSERT INTO odd VALUES (1, POINT(1, 2), 12345678901234567890123456789012345.000000000000000000000000000001);",
        )
        .await;
    for (columns, says) in [("id, place", "\"place\" is a geometry"), ("wide", "decimal(65,30)")] {
        let error = ground.refusal(ground.query(&format!("SELECT {columns} FROM odd"))).await;
        assert_eq!(error.reason(), Reason::UnsupportedType);
        assert!(error.to_string().contains(says), "{error}");
    }
    let some = declared(ground.table("odd"), &["wide string", "id decimal(38,2)"]);
    let expected = "12345678901234567890123456789012345.000000000000000000000000000001|1.00";
    assert_eq!(ground.rows(some).await, [expected]);
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn declared_columns_are_widened_and_hold_what_they_promise() {
    let ground = Ground::shared().await;
    ground
        .sql(
            "CREATE TABLE wider (id INT PRIMARY KEY, flag TINYINT(1), price DECIMAL(8,2), f FLOAT, d DATE, u INT UNSIGNED); \
             INSERT INTO wider VALUES (1, 1, 1.50, 0.5, '2026-06-01', 4294967295), (2, 0, NULL, NULL, NULL, NULL);",
        )
        .await;
    let fields = [
        "u decimal(12,2)",
        "ID string",
        "flag boolean",
        "price decimal(20,4)",
        "f double",
        "d timestamp_ntz",
    ];
    assert_eq!(
        ground.rows(declared(ground.table("wider"), &fields)).await,
        ["4294967295.00|1|true|1.5000|0.5|2026-06-01T00:00:00", "NULL|2|false|NULL|NULL|NULL"]
    );
    ground.sql("UPDATE wider SET flag = 2 WHERE id = 2").await;
    let error = ground.refusal(declared(ground.table("wider"), &["flag boolean", "id long"])).await;
    assert_eq!(error.reason(), Reason::OutOfRange);
    assert!(error.to_string().contains("id 2"), "{error}");
    let mut required = declared(ground.table("wider"), &["id long", "price decimal(8,2)"]);
    required.fields.as_mut().unwrap()[1].required = true;
    let error = ground.refusal(required).await;
    assert_eq!(error.reason(), Reason::MissingField);
    assert!(error.to_string().contains("id 2"), "{error}");
    let lossy = ground.refusal(declared(ground.table("wider"), &["price double"])).await;
    assert!(lossy.to_string().contains("does not fit into double"), "{lossy}");
}
