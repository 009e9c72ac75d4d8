use std::time::Duration;

use tidegate_config::NullCursorPolicy;
use tidegate_extract::{ExtractError, ReadRequest, open};
use tidegate_testing::{POSTGRES_DATABASE, PostgresOptions, PostgresServer, Scratch, eventually};
use tidegate_types::{Explained as _, Reason, Span};

use crate::support::{Database, of_interval, refused, request, rows, secret, values, with};

/// An interval that ends in two seconds: what is open now began before its end.
async fn current(database: &Database) -> String {
    database
        .sql(
            "SELECT to_char(now() AT TIME ZONE 'UTC' - interval '1 hour', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') \
             || '/' || to_char(now() AT TIME ZONE 'UTC' + interval '2 seconds', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')",
        )
        .await
}

fn at_once(request: ReadRequest) -> ReadRequest {
    with(request, |incremental| incremental.max_wait = Span::seconds(4))
}

fn assert_open(error: &ExtractError, says: &str) {
    assert_eq!(error.reason(), Reason::SourceTransactionsOpen, "{error}");
    assert!(error.is_transient());
    assert!(error.to_string().contains(says), "{error}");
}

const TABLE: &str = "CREATE TABLE t (a int8, at timestamptz NOT NULL DEFAULT now())";

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn a_transaction_from_before_the_end_is_waited_for_and_its_rows_are_read() {
    let database = Database::with("waits", TABLE).await;
    let mut session = database.session();
    let answer = session.run("BEGIN; SELECT pg_backend_pid(), now()").await.unwrap();
    let interval = current(&database).await;
    let pid = answer[0].split('|').next().unwrap().to_owned();
    let request = of_interval(database.table("t"), "at", &interval);
    assert_open(&refused(at_once(request.clone())).await, &format!("pid {pid} (role tidegate)"));
    // What is wrong with the request is told without waiting.
    let wrong = of_interval(database.table("t"), "ta", &interval);
    assert_eq!(refused(wrong).await.reason(), Reason::InvalidConfiguration);
    let mut reading = tokio::spawn(rows(request));
    // It has not written anything yet, and when it does, its rows belong to the interval.
    let still = tokio::time::timeout(Duration::from_millis(500), &mut reading).await;
    assert!(still.is_err(), "it went on regardless");
    session.run("INSERT INTO t VALUES (7); COMMIT").await.unwrap();
    assert_eq!(values(&reading.await.unwrap().unwrap(), "a"), ["7"]);
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn our_own_and_ignored_and_later_transactions_are_not_waited_for() {
    let database = Database::with("ignored", TABLE).await;
    database.sql("CREATE ROLE reports LOGIN PASSWORD 'pw'").await;
    let other = Database::new("ignored_other").await;
    let mut elsewhere = other.session();
    elsewhere.run("BEGIN; SELECT now()").await.unwrap();
    let mut ours = database.session();
    ours.run("SET application_name = 'tidegate/other'; BEGIN; SELECT now()").await.unwrap();
    let _reports = open_as(&database, "reports").await;
    let interval = current(&database).await;
    let request = at_once(of_interval(database.table("t"), "at", &interval));
    assert_open(&refused(request.clone()).await, "(role reports)");
    let request = with(request, |incremental| incremental.ignore_roles = vec!["reports".into()]);
    rows(request.clone()).await.unwrap();
    // The interval has ended meanwhile.
    let mut late = database.session();
    late.run("BEGIN; SELECT now()").await.unwrap();
    rows(request).await.unwrap();
}

/// A transaction of another role.
async fn open_as(database: &Database, role: &str) -> tokio_postgres::Client {
    let url = database.url_as(role, "pw");
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("BEGIN; SELECT now()").await.unwrap();
    client
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn a_prepared_transaction_is_waited_for() {
    let database = Database::with("prepared", TABLE).await;
    let interval = current(&database).await;
    database.sql("BEGIN; INSERT INTO t VALUES (9); PREPARE TRANSACTION 'half'").await;
    let request = of_interval(database.table("t"), "at", &interval);
    assert_open(&refused(at_once(request.clone())).await, "prepared transaction \"half\"");
    database.sql("COMMIT PREPARED 'half'").await;
    assert_eq!(values(&rows(request).await.unwrap(), "a"), ["9"]);
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn without_the_right_to_see_others_nothing_is_read() {
    let database = Database::with("hidden", TABLE).await;
    database.sql("CREATE ROLE hidden LOGIN PASSWORD 'pw'; GRANT SELECT ON t TO hidden").await;
    database.secret("uri", &database.url_as("hidden", "pw"));
    let interval = "2026-06-01T00:00:00Z/2026-06-01T01:00:00Z";
    let request = of_interval(database.table("t"), "at", interval);
    let error = refused(request.clone()).await;
    assert_eq!(error.reason(), Reason::SourceTransactionsHidden);
    assert!(!error.is_transient());
    assert!(error.to_string().contains("GRANT pg_read_all_stats TO \"hidden\""), "{error}");
    database.sql("GRANT pg_read_all_stats TO hidden").await;
    rows(request).await.unwrap();
    // A whole load needs no such right.
    database.sql("REVOKE pg_read_all_stats FROM hidden").await;
    rows(database.table("t")).await.unwrap();
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn an_interval_is_not_read_before_it_has_ended_and_settled() {
    let database = Database::with("settles", TABLE).await;
    let interval = current(&database).await;
    let request = of_interval(database.table("t"), "at", &interval);
    let impatient = with(request.clone(), |incremental| {
        incremental.settle = Span::seconds(600);
    });
    assert_open(&refused(impatient).await, "settle");
    let settled = with(request, |incremental| incremental.settle = Span::seconds(1));
    rows(settled).await.unwrap();
    let end = interval.split('/').nth(1).unwrap();
    let passed =
        database.sql(&format!("SELECT now() >= '{end}'::timestamptz + interval '1 s'")).await;
    assert_eq!(passed, "t");
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn rows_without_a_cursor_are_counted() {
    let database = Database::with(
        "null_cursors",
        "CREATE TABLE t (a int8, at timestamptz); \
         INSERT INTO t VALUES (1, '2026-06-01Z'), (2, NULL), (3, NULL)",
    )
    .await;
    let interval = "2026-06-01T00:00:00Z/2026-06-01T01:00:00Z";
    let request = of_interval(database.table("t"), "at", interval);
    let error = refused(request.clone()).await;
    assert_eq!(error.reason(), Reason::NullCursor);
    assert!(error.to_string().starts_with("2 rows"), "{error}");
    let request =
        with(request, |incremental| incremental.on_null_cursor = NullCursorPolicy::Ignore);
    let snapshot = open(request.clone()).await.unwrap();
    assert_eq!(snapshot.plan().await.unwrap().null_cursors, 2);
    assert_eq!(values(&rows(request).await.unwrap(), "a"), ["1"]);
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn cursors_that_no_interval_holds_are_counted_whatever_the_table_promises() {
    let database = Database::with(
        "no_interval",
        "CREATE TABLE parent (a int8, at timestamptz NOT NULL); CREATE TABLE child () INHERITS (parent); \
         ALTER TABLE child ALTER at DROP NOT NULL; \
         INSERT INTO parent VALUES (1, '2026-06-01Z'); INSERT INTO child VALUES (2, '2026-06-01Z'), (3, NULL); \
         CREATE TABLE forever (a int8, at timestamptz NOT NULL, day date NOT NULL); \
         INSERT INTO forever VALUES (1, '2026-06-01Z', '2026-06-01'), (2, 'infinity', 'infinity'), \
           (3, '-infinity', '-infinity')",
    )
    .await;
    let day = "2026-06-01T00:00:00Z/2026-06-02T00:00:00Z";
    for (table, cursor, lost, read) in
        [("parent", "at", 1, 2), ("forever", "at", 2, 1), ("forever", "day", 2, 1)]
    {
        let request = with(of_interval(database.table(table), cursor, day), |incremental| {
            incremental.time_zone = Some("UTC".into());
        });
        let error = refused(request.clone()).await;
        assert_eq!(error.reason(), Reason::NullCursor, "{table} {error}");
        assert!(error.to_string().starts_with(&format!("{lost} rows")), "{error}");
        let request =
            with(request, |incremental| incremental.on_null_cursor = NullCursorPolicy::Ignore);
        let snapshot = open(request.clone()).await.unwrap();
        assert_eq!(snapshot.plan().await.unwrap().null_cursors, lost);
        assert_eq!(rows(request).await.unwrap().num_rows(), read, "{table} {cursor}");
    }
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn a_cursor_without_zone_belongs_to_one_interval_also_when_clocks_change() {
    let database = Database::with(
        "clocks",
        "CREATE TABLE t AS SELECT i::int8 AS a, at, at::date AS day FROM ( \
           SELECT i, '2026-10-24'::timestamp + i * interval '10 minutes' AS at FROM generate_series(0, 400) AS i \
           UNION ALL \
           SELECT 1000 + i, '2026-03-28'::timestamp + i * interval '10 minutes' FROM generate_series(0, 400) AS i) AS s",
    )
    .await;
    // Day by day over both changes in Berlin, whose days begin at 22:00 or 23:00 UTC.
    let days = |first: [&str; 4]| {
        first.windows(2).map(|pair| format!("{}/{}", pair[0], pair[1])).collect::<Vec<_>>()
    };
    let autumn = days([
        "2026-10-23T22:00:00Z",
        "2026-10-24T22:00:00Z",
        "2026-10-25T23:00:00Z",
        "2026-10-26T23:00:00Z",
    ]);
    let spring = days([
        "2026-03-27T23:00:00Z",
        "2026-03-28T23:00:00Z",
        "2026-03-29T22:00:00Z",
        "2026-03-30T22:00:00Z",
    ]);
    for (intervals, first) in [(autumn, 0), (spring, 1000)] {
        let mut seen = Vec::new();
        for interval in intervals {
            let request = of_interval(database.table("t"), "at", &interval);
            assert!(refused(request.clone()).await.to_string().contains("timeZone"));
            let berlin = |request| {
                with(request, |incremental| incremental.time_zone = Some("Europe/Berlin".into()))
            };
            let by_time = values(&rows(berlin(request)).await.unwrap(), "a");
            let by_day = of_interval(database.table("t"), "day", &interval);
            assert_eq!(values(&rows(berlin(by_day)).await.unwrap(), "a"), by_time);
            assert!(by_time.len() == 144 || by_time.len() == 113, "{}", by_time.len());
            seen.extend(by_time);
        }
        let expected: Vec<_> = (first..=first + 400).map(|a: i32| a.to_string()).collect();
        assert_eq!(seen, expected);
    }
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn a_session_that_does_not_track_what_it_does_is_not_taken_for_an_idle_one() {
    let database = Database::with("untracked", TABLE).await;
    let mut session = database.session();
    let answer = session.run("SET track_activities = off; SELECT pg_backend_pid()").await.unwrap();
    session.run("BEGIN; INSERT INTO t VALUES (3)").await.unwrap();
    let interval = current(&database).await;
    let request = at_once(of_interval(database.table("t"), "at", &interval));
    let error = refused(request.clone()).await;
    let says = format!("pid {} (role tidegate) has track_activities off", answer[0]);
    assert_eq!((error.reason(), error.is_transient()), (Reason::SourceTransactionsHidden, false));
    assert!(error.to_string().contains(&says), "{error}");
    let ignoring = with(request.clone(), |i| i.ignore_roles = vec!["tidegate".into()]);
    rows(ignoring).await.unwrap();
    session.run("COMMIT").await.unwrap();
    // One that tracks again is seen again.
    session.run("SET track_activities = on").await.unwrap();
    assert_eq!(values(&rows(request).await.unwrap(), "a"), ["3"]);
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn a_database_that_rows_come_to_from_another_one_reads_no_intervals() {
    let interval = "2020-01-01T00:00:00Z/2020-01-01T01:00:00Z";
    let foreign = Database::with(
        "foreign_tables",
        "CREATE TABLE t (a int8, at timestamptz NOT NULL DEFAULT now()); \
         CREATE EXTENSION postgres_fdw; \
         CREATE SERVER there FOREIGN DATA WRAPPER postgres_fdw; \
         CREATE FOREIGN TABLE far (a int8) SERVER there",
    )
    .await;
    let scratch = Scratch::new("subscriber").unwrap();
    let logical = PostgresOptions { configuration: "wal_level = logical".into(), tls: None };
    let publisher = PostgresServer::start_with(scratch.path(), &logical).await.unwrap();
    publisher.sql(&format!("{TABLE}; CREATE PUBLICATION all_of_it FOR TABLE t")).await.unwrap();
    let subscriber = Database::with("subscriber", TABLE).await;
    let url = publisher.url(POSTGRES_DATABASE);
    subscriber
        .sql(&format!("CREATE SUBSCRIPTION follows CONNECTION '{url}' PUBLICATION all_of_it"))
        .await;
    for database in [&foreign, &subscriber] {
        let error = refused(of_interval(database.table("t"), "at", interval)).await;
        assert_eq!(
            (error.reason(), error.is_transient()),
            (Reason::SourceTransactionsHidden, false)
        );
        assert!(error.to_string().contains("from another one"), "{error}");
        // A whole load asks nobody for transactions.
        rows(database.table("t")).await.unwrap();
    }
    foreign.sql("DROP FOREIGN TABLE far").await;
    subscriber.sql("DROP SUBSCRIPTION follows").await;
    for database in [foreign, subscriber] {
        rows(of_interval(database.table("t"), "at", interval)).await.unwrap();
    }
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn at_a_replica_the_primary_is_asked() {
    let scratch = Scratch::new("replica").unwrap();
    let primary = PostgresServer::start(&scratch.join("primary")).await.unwrap();
    let replica = primary.replica(&scratch.join("replica")).await.unwrap();
    primary.sql(TABLE).await.unwrap();
    let follows = async || replica.sql("SELECT count(*) FROM t").await.is_ok();
    eventually("the replica follows", Duration::from_secs(60), follows).await.unwrap();
    let secrets = tempfile::tempdir().unwrap();
    secret(&secrets, "uri", &replica.url(POSTGRES_DATABASE));
    let relation =
        tidegate_config::Relation::Table { schema: Some("public".into()), name: "t".into() };
    let interval = "2020-01-01T00:00:00Z/2020-01-01T01:00:00Z";
    let request = of_interval(request(&secrets, relation), "at", interval);
    let error = refused(request.clone()).await;
    assert_eq!(error.reason(), Reason::SourceTransactionsHidden, "{error}");
    assert!(error.to_string().contains("primary_uri"), "{error}");
    // A server of something else, and another database of the right one, would show other transactions.
    let stranger = Database::new("stranger").await;
    primary.sql("CREATE DATABASE beside").await.unwrap();
    for (wrong, named) in [(stranger.url(), "stranger of"), (primary.url("beside"), "beside of")] {
        secret(&secrets, "primary_uri", &wrong);
        let error = refused(request.clone()).await;
        assert_eq!((error.reason(), error.is_transient()), (Reason::InvalidConfiguration, false));
        assert!(error.to_string().contains(&format!("leads to database {named}")), "{error}");
    }
    secret(&secrets, "primary_uri", &primary.url(POSTGRES_DATABASE));
    replica.sql("SELECT pg_wal_replay_pause()").await.unwrap();
    primary.sql("INSERT INTO t VALUES (5, '2020-01-01T00:30:00Z')").await.unwrap();
    assert_open(&refused(at_once(request.clone())).await, "replayed");
    // Whole loads wait too: an earlier one may have read newer rows from the primary.
    let mut whole = request.clone();
    (whole.incremental, whole.interval) = (None, None);
    let mut reading = tokio::spawn(rows(whole));
    let still = tokio::time::timeout(Duration::from_secs(2), &mut reading).await;
    assert!(still.is_err(), "it did not wait for the replica");
    replica.sql("SELECT pg_wal_replay_resume()").await.unwrap();
    assert_eq!(values(&reading.await.unwrap().unwrap(), "a"), ["5"]);
    assert_eq!(values(&rows(request.clone()).await.unwrap(), "a"), ["5"]);
    // Where nothing is written behind the end of a segment, nothing more is waited for.
    let mut whole = request;
    (whole.incremental, whole.interval) = (None, None);
    for _ in 0..3 {
        primary.sql("SELECT pg_create_restore_point('here')").await.unwrap();
        primary.sql("SELECT pg_switch_wal()").await.unwrap();
        let read = tokio::time::timeout(Duration::from_secs(5), rows(whole.clone())).await;
        assert_eq!(values(&read.expect("it waited").unwrap(), "a"), ["5"]);
    }
}
