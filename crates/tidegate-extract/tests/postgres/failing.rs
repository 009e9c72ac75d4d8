use tidegate_config::Relation;
use tidegate_extract::{ExtractError, Piece, open};
use tidegate_testing::{POSTGRES_DATABASE, PostgresOptions, PostgresServer, Scratch, workspace};
use tidegate_types::{Explained as _, Reason};
use tokio::sync::mpsc;

use crate::support::{Database, over_tls, read, refused, request, rows, secret, values};

fn assert_lasting(error: &ExtractError, says: &str) {
    assert!(!error.is_transient(), "{error}");
    assert_eq!(error.reason(), Reason::SourceRefused, "{error}");
    assert!(error.to_string().contains(says), "{error}");
    assert!(!format!("{error:?}").contains("wrong-canary"), "{error:?}");
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn what_a_person_must_mend_says_what_it_is() {
    let database = Database::with(
        "refuses",
        "CREATE TABLE orders (a int8); CREATE FUNCTION write() RETURNS int8 LANGUAGE sql \
         AS 'INSERT INTO orders VALUES (1) RETURNING a'",
    )
    .await;
    assert_lasting(&refused(database.table("ordres")).await, "did you mean \"orders\"?");
    assert_lasting(&refused(database.query("SELECT b FROM orders")).await, "\"b\" does not exist");
    assert_lasting(&refused(database.query("SELEC 1")).await, "syntax error");
    let error = refused(database.query("SELECT a FROM orders WHERE a = $1")).await;
    assert_eq!((error.reason(), error.is_transient()), (Reason::InvalidConfiguration, false));
    assert!(error.to_string().contains("the parameter $1"), "{error}");
    let writes = database.query("SELECT write() AS a");
    assert_lasting(&refused(writes).await, "read-only");
    assert_lasting(&refused(database.query("SELECT 1 / (random() * 0)::int AS a")).await, "zero");
    let request = crate::support::chunked(database.table("orders"), 10, Some("b"));
    let error = refused(request).await;
    assert_eq!((error.reason(), error.is_transient()), (Reason::InvalidConfiguration, false));
    database.secret("uri", &database.url_as("tidegate", "wrong-canary"));
    assert_lasting(&refused(database.table("orders")).await, "password authentication failed");
    database.secret("uri", &database.url_as("tidegate", "pg-canary").replace("refuses", "nowhere"));
    assert_lasting(&refused(database.table("orders")).await, "\"nowhere\" does not exist");
    database.secret("uri", "postgresql://u:wrong-canary@127.0.0.1:port/x");
    let error = refused(database.table("orders")).await;
    assert_eq!(error.reason(), Reason::InvalidConfiguration);
    assert!(!format!("{error:?}").contains("wrong-canary"), "{error:?}");
    database.forget("uri");
    let error = refused(database.table("orders")).await;
    assert_eq!((error.reason(), error.is_transient()), (Reason::SecretMissing, true));
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn a_secret_in_parts_and_a_socket_lead_there_too() {
    let database =
        Database::with("parts", "CREATE TABLE t (a int8); INSERT INTO t VALUES (4)").await;
    database.forget("uri");
    for (key, value) in [
        ("host", "127.0.0.1"),
        ("user", "tidegate"),
        ("password", "pg-canary"),
        ("database", "parts"),
    ] {
        database.secret(key, value);
    }
    database.secret("port", &database.port().to_string());
    assert_eq!(values(&rows(database.table("t")).await.unwrap(), "a"), ["4"]);
    database.secret("host", &database.socket_folder());
    // There is no TLS on a socket, and none is needed.
    assert_eq!(values(&rows(over_tls(database.table("t"), None)).await.unwrap(), "a"), ["4"]);
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn a_server_that_dies_in_the_middle_is_worth_another_attempt() {
    let scratch = Scratch::new("dies").unwrap();
    let mut server = PostgresServer::start(scratch.path()).await.unwrap();
    server
        .sql("CREATE TABLE t AS SELECT i::int8 AS a, repeat('x', 200) AS b FROM generate_series(1, 500000) AS i")
        .await
        .unwrap();
    let secrets = tempfile::tempdir().unwrap();
    secret(&secrets, "uri", &server.url(POSTGRES_DATABASE));
    let relation = Relation::Table { schema: None, name: "t".into() };
    let snapshot = open(request(&secrets, relation.clone())).await.unwrap();
    let plan = snapshot.plan().await.unwrap();
    let (sender, mut receiver) = mpsc::channel(1);
    let kill = async {
        receiver.recv().await.unwrap();
        server.kill().await.unwrap();
        let mut rows = 0;
        while let Some(Piece::Rows(batch)) = receiver.recv().await {
            rows += batch.num_rows();
        }
        rows
    };
    let (read, rows) = tokio::join!(snapshot.read(&plan.chunks[0], sender), kill);
    let error = read.expect_err("the server is dead");
    assert!(error.is_transient() && rows < 500_000, "{error}");
    let error = snapshot.check().await.expect_err("nobody holds it");
    assert_eq!((error.reason(), error.is_transient()), (Reason::SnapshotLost, true));
    let error = open(request(&secrets, relation)).await.map(|_| ()).expect_err("nobody answers");
    assert_eq!((error.reason(), error.is_transient()), (Reason::SourceUnreachable, true));
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn a_snapshot_whose_holder_was_ended_is_lost() {
    let database =
        Database::with("holder", "CREATE TABLE t (a int8); INSERT INTO t VALUES (1)").await;
    let snapshot = open(database.table("t")).await.unwrap();
    let plan = snapshot.plan().await.unwrap();
    read(&*snapshot, &plan, 0).await.unwrap();
    database
        .sql("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name LIKE 'tidegate/%' AND datname = 'holder'")
        .await;
    for error in [
        snapshot.check().await.expect_err("lost"),
        read(&*snapshot, &plan, 0).await.expect_err("lost"),
    ] {
        assert_eq!((error.reason(), error.is_transient()), (Reason::SnapshotLost, true), "{error}");
    }
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn a_chunk_of_something_else_is_refused() {
    let database =
        Database::with("chunk_of_another", "CREATE TABLE t (a int8); INSERT INTO t VALUES (1)")
            .await;
    let snapshot = open(database.table("t")).await.unwrap();
    let mut plan = snapshot.plan().await.unwrap();
    plan.chunks[0].bounds = serde_json::json!({"by": "file", "path": "x"});
    let error = read(&*snapshot, &plan, 0).await.expect_err("none of ours");
    assert_eq!(error.reason(), Reason::InvalidConfiguration);
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn tls_trusts_whom_it_is_told_to_trust() {
    let files = workspace().join("crates/tidegate-source/tests/data/tls");
    let scratch = Scratch::new("tls").unwrap();
    let options = PostgresOptions {
        tls: Some((files.join("server.crt"), files.join("server.key"))),
        ..PostgresOptions::default()
    };
    let server = PostgresServer::start_with(scratch.path(), &options).await.unwrap();
    let secrets = tempfile::tempdir().unwrap();
    secret(&secrets, "uri", &server.url(POSTGRES_DATABASE));
    let authority = std::fs::read_to_string(files.join("ca.crt")).unwrap();
    secret(&secrets, "ca.crt", &authority);
    let asked = request(
        &secrets,
        Relation::Query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()".into()),
    );
    let all = rows(over_tls(asked.clone(), Some("ca.crt"))).await.unwrap();
    assert_eq!(values(&all, "ssl"), ["true"]);
    assert_lasting(&refused(over_tls(asked.clone(), None)).await, "certificate is not good");
    assert_eq!(values(&rows(asked.clone()).await.unwrap(), "ssl"), ["false"]);
    secret(&secrets, "ca.crt", "nothing");
    let error = refused(over_tls(asked, Some("ca.crt"))).await;
    assert_eq!(error.reason(), Reason::InvalidConfiguration);
    let database = Database::with("no_tls", "CREATE TABLE t (a int8)").await;
    let error = refused(over_tls(database.table("t"), None)).await;
    assert_lasting(&error, "does not offer TLS");
}
