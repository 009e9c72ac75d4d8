//! One address with several servers behind it (B5, B7).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidegate_extract::{ReadRequest, open};
use tidegate_runtime::secrets::Secrets;
use tidegate_types::{Explained as _, Reason};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::ground::{CONNECTION, Ground, divided, of_interval, read};

/// Leads the first few connections to one server and all others to the next.
#[derive(Clone, Default)]
struct Balancer {
    connections: Arc<AtomicUsize>,
    to_the_first: Arc<AtomicUsize>,
}

impl Balancer {
    /// Its port.
    async fn start(&self, ports: [u16; 2]) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let balancer = self.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let number = balancer.connections.fetch_add(1, Ordering::AcqRel);
                let first = balancer.to_the_first.load(Ordering::Acquire);
                let upstream = ports[usize::from(number >= first)];
                tokio::spawn(async move {
                    let upstream = SocketAddr::from((Ipv4Addr::LOCALHOST, upstream));
                    let mut server = TcpStream::connect(upstream).await.unwrap();
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        port
    }

    fn turn_after(&self, connections: usize) {
        self.connections.store(0, Ordering::Release);
        self.to_the_first.store(connections, Ordering::Release);
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }
}

#[tokio::test]
#[ignore = "needs MariaDB; run by make test"]
async fn all_connections_of_a_run_reach_one_server() {
    let (one, other) = (Ground::own().await, Ground::own().await);
    // The second one lags.
    for (ground, rows) in [(&one, 100), (&other, 90)] {
        ground
            .sql(&format!(
                "CREATE TABLE t (id BIGINT PRIMARY KEY, made TIMESTAMP NOT NULL DEFAULT '2026-06-01 00:30:00'); \
                 INSERT INTO t (id) SELECT seq FROM seq_1_to_{rows}"
            ))
            .await;
    }
    let balancer = Balancer::default();
    let port = balancer.start([one.server.port(), other.server.port()]).await;
    let folder = one.scratch.join("balanced");
    one.server.write_secret(&folder, CONNECTION).unwrap();
    std::fs::write(folder.join(CONNECTION).join("port"), port.to_string()).unwrap();
    let secrets = Secrets::new(Some(folder));
    let hour = "2026-06-01T00:00:00Z/2026-06-01T01:00:00Z";
    for request in
        [divided(one.table("t"), 10, 4), of_interval(one.query("SELECT * FROM t"), "made", hour)]
    {
        let request = || ReadRequest { secrets: secrets.clone(), ..request.clone() };
        balancer.turn_after(usize::MAX);
        let snapshot = open(request()).await.unwrap();
        assert_eq!(read(snapshot.as_ref()).await.unwrap().plan.rows, Some(100));
        snapshot.close().await;
        let all = balancer.connections();
        assert!(all > 4, "{all}");
        for first in 1..all {
            balancer.turn_after(first);
            let error = one.refusal(request()).await;
            assert_eq!((error.reason(), error.is_transient()), (Reason::SourceUnreachable, true));
            assert!(error.to_string().contains("let the secret name one server"), "{error}");
        }
    }
}
