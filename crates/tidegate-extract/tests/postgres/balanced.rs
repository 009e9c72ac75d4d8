//! One address with several servers behind it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidegate_config::Relation;
use tidegate_extract::open;
use tidegate_testing::{POSTGRES_DATABASE, PostgresServer, Scratch, SqlSession};
use tidegate_types::{Explained as _, Reason};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::support::{read, request, secret};

/// Leads new connections to the second server once the flag is set; its port.
async fn balance(ports: [u16; 2], second: Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let port = ports[usize::from(second.load(Ordering::Acquire))];
            let upstream = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            tokio::spawn(async move {
                let mut server = TcpStream::connect(upstream).await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    port
}

/// A server in which nobody has a place but its clients. Its own processes would take theirs at the same
/// time as the first client, now a lower and now a higher one, and keep them.
async fn alone(folder: &Path) -> PostgresServer {
    let mut server = PostgresServer::start(folder).await.unwrap();
    for setting in ["autovacuum = off", "max_logical_replication_workers = 0"] {
        server.sql(&format!("ALTER SYSTEM SET {setting}")).await.unwrap();
    }
    server.restart().await.unwrap();
    server
}

/// Makes the server export a snapshot of that name, which the session then holds. Names count the
/// transactions of a place in the server.
async fn export_the_same(server: &PostgresServer, name: &str) -> Vec<SqlSession> {
    const EXPORT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_export_snapshot()";
    let place = name.split('-').next().unwrap();
    let mut sessions = Vec::new();
    for _ in 0..10 {
        let mut session = server.session(POSTGRES_DATABASE).unwrap();
        for _ in 0..1000 {
            let exported = session.run(EXPORT).await.unwrap().remove(0);
            if exported == name {
                sessions.push(session);
                return sessions;
            }
            session.run("COMMIT").await.unwrap();
            if !exported.starts_with(place) || exported.as_str() > name {
                break;
            }
        }
        sessions.push(session);
    }
    panic!("no snapshot {name}");
}

#[tokio::test]
#[ignore = "needs postgres; run by make test"]
async fn a_snapshot_of_the_same_name_at_another_server_is_another_one() {
    let scratch = Scratch::new("balanced").unwrap();
    let one = alone(&scratch.join("one")).await;
    let other = alone(&scratch.join("other")).await;
    for (server, rows) in [(&one, 100), (&other, 90)] {
        let table =
            format!("CREATE TABLE t AS SELECT i::int8 AS a FROM generate_series(1, {rows}) AS i");
        server.sql(&table).await.unwrap();
    }
    // So that the other one, which has less behind it, can catch up.
    one.sql(&"SELECT 1; ".repeat(300)).await.unwrap();
    let second = Arc::new(AtomicBool::new(false));
    let port = balance([one.port(), other.port()], second.clone()).await;
    let secrets = tempfile::tempdir().unwrap();
    let uri =
        one.url(POSTGRES_DATABASE).replace(&format!(":{}/", one.port()), &format!(":{port}/"));
    secret(&secrets, "uri", &uri);
    let relation = Relation::Table { schema: None, name: "t".into() };
    let snapshot = open(request(&secrets, relation)).await.unwrap();
    let plan = snapshot.plan().await.unwrap();
    assert_eq!(plan.rows, Some(100));
    second.store(true, Ordering::Release);
    let refused = async || {
        let error = read(&*snapshot, &plan, 0).await.expect_err("another server");
        assert_eq!((error.reason(), error.is_transient()), (Reason::SourceUnreachable, true));
        assert!(error.to_string().contains("let the secret name one server"), "{error}");
    };
    refused().await;
    let held = export_the_same(&other, snapshot.id()).await;
    refused().await;
    drop(held);
    second.store(false, Ordering::Release);
    let rows: usize =
        read(&*snapshot, &plan, 0).await.unwrap().iter().map(|batch| batch.num_rows()).sum();
    assert_eq!(rows, 100);
}
