//! A TCP proxy in front of a broker.
//!
//! A connection that is cut while messages are under way loses its tail without a word; that is what
//! [`Traffic::SwallowAnswers`] followed by [`WireProxy::cut`] makes.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What happens to bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// They pass.
    Pass,
    /// What the server says is read and thrown away; what the client says passes.
    SwallowAnswers,
    /// Nothing is read in either direction.
    Stall,
    /// New connections are closed at once. Those that stand stay.
    Refuse,
}

/// A proxy on a free port of loopback. It ends with the value.
#[derive(Debug)]
pub struct WireProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    traffic: watch::Sender<Traffic>,
    /// Raised to cut every connection that is older.
    cuts: watch::Sender<u64>,
    connections: AtomicU64,
    swallowed: AtomicU64,
    stop: CancellationToken,
}

impl WireProxy {
    /// A proxy in front of `upstream`.
    ///
    /// # Errors
    ///
    /// When no port can be opened.
    pub async fn start(upstream: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("open a port")?;
        let address = listener.local_addr().context("ask for the port")?;
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            upstream,
            traffic: watch::Sender::new(Traffic::Pass),
            cuts: watch::Sender::new(0),
            connections: AtomicU64::new(0),
            swallowed: AtomicU64::new(0),
            stop: stop.clone(),
        });
        tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, _stop: stop.drop_guard() })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address for a NATS client.
    #[must_use]
    pub fn nats_url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// What happens to bytes from now on, on connections that stand too.
    pub fn set(&self, traffic: Traffic) {
        self.shared.traffic.send_replace(traffic);
    }

    /// Closes every connection; new ones are taken.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Connections so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Bytes of the server that were thrown away.
    #[must_use]
    pub fn swallowed(&self) -> u64 {
        self.shared.swallowed.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let serve = async {
        while let Ok((client, _)) = listener.accept().await {
            if *shared.traffic.borrow() == Traffic::Refuse {
                continue;
            }
            shared.connections.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(connect(client, Arc::clone(&shared)));
        }
    };
    shared.stop.run_until_cancelled(serve).await;
}

async fn connect(client: TcpStream, shared: Arc<Shared>) {
    let mut cuts = shared.cuts.subscribe();
    let both_ways = async {
        let server = TcpStream::connect(shared.upstream).await?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        // Either side's end is the end of both: a broker's connection has no half.
        tokio::select! {
            ended = pump(from_client, to_server, &shared, false) => ended,
            ended = pump(from_server, to_client, &shared, true) => ended,
        }
    };
    // However it ends, both sockets are closed; the client is the one to notice.
    tokio::select! {
        _ = shared.stop.run_until_cancelled(both_ways) => {}
        _ = cuts.changed() => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    answers: bool,
) -> io::Result<()> {
    let mut traffic = shared.traffic.subscribe();
    let mut buffer = vec![0; 64 << 10];
    loop {
        // A stalled proxy reads nothing, so that the sender feels it as a full window.
        if traffic.wait_for(|traffic| *traffic != Traffic::Stall).await.is_err() {
            return Ok(());
        }
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        let Ok(now) = traffic.wait_for(|traffic| *traffic != Traffic::Stall).await.map(|now| *now)
        else {
            return Ok(());
        };
        if answers && now == Traffic::SwallowAnswers {
            shared.swallowed.fetch_add(read as u64, Ordering::SeqCst);
        } else {
            to.write_all(&buffer[..read]).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::eventually;

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(100);

    /// Says everything back.
    async fn start_echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = client.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        address
    }

    async fn say(client: &mut TcpStream, text: &str) -> Option<String> {
        client.write_all(text.as_bytes()).await.ok()?;
        let mut answer = vec![0; text.len()];
        let read = tokio::time::timeout(SHORT, client.read_exact(&mut answer)).await;
        read.ok()?.ok()?;
        String::from_utf8(answer).ok()
    }

    #[tokio::test]
    async fn swallowed_answers_never_come_and_later_ones_do() {
        let proxy = WireProxy::start(start_echo().await).await.unwrap();
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(say(&mut client, "one").await.as_deref(), Some("one"));
        proxy.set(Traffic::SwallowAnswers);
        assert_eq!(say(&mut client, "two").await, None);
        eventually("three bytes", LONG, async || proxy.swallowed() == 3).await.unwrap();
        proxy.set(Traffic::Pass);
        assert_eq!(say(&mut client, "six").await.as_deref(), Some("six"));
    }

    #[tokio::test]
    async fn stalled_answers_come_when_traffic_passes_again() {
        let proxy = WireProxy::start(start_echo().await).await.unwrap();
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(say(&mut client, "one").await.as_deref(), Some("one"));
        proxy.set(Traffic::Stall);
        assert_eq!(say(&mut client, "two").await, None);
        proxy.set(Traffic::Pass);
        let mut answer = [0; 3];
        tokio::time::timeout(LONG, client.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"two");
    }

    #[tokio::test]
    async fn a_cut_ends_what_stands_and_takes_what_comes() {
        let proxy = WireProxy::start(start_echo().await).await.unwrap();
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(say(&mut client, "one").await.as_deref(), Some("one"));
        proxy.cut();
        let ended = tokio::time::timeout(LONG, client.read(&mut [0])).await.unwrap();
        assert!(matches!(ended, Ok(0) | Err(_)));
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(say(&mut client, "two").await.as_deref(), Some("two"));
        proxy.set(Traffic::Refuse);
        let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(say(&mut refused, "six").await, None);
        assert_eq!(proxy.connections(), 2);
    }
}
