//! A proxy in front of the broker that loses deliveries or cuts the line.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What to lose.
#[derive(Default)]
struct Faults {
    /// Deliveries with a consumer sequence in this range are not passed on.
    lose_from: AtomicU64,
    lose_to: AtomicU64,
    lost: AtomicU64,
    /// Everything towards the client is swallowed.
    mute: AtomicBool,
    swallowed: AtomicU64,
}

pub(crate) struct Proxy {
    pub(crate) port: u16,
    faults: Arc<Faults>,
    cut: watch::Sender<u64>,
}

impl Proxy {
    pub(crate) async fn start(broker: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let (cut, watch) = watch::channel(0);
        let faults = Arc::new(Faults::default());
        let shared = Arc::clone(&faults);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (faults, mut cut) = (Arc::clone(&shared), watch.clone());
                cut.mark_unchanged();
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", broker)).await else {
                        return;
                    };
                    tokio::select! {
                        _ = pass(client, server, &faults) => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { port, faults, cut }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Loses deliveries with these consumer sequences, once: a re-created consumer starts at 1 again,
    /// so the range is emptied by `stop_losing` or by what was lost.
    pub(crate) fn lose(&self, from: u64, to: u64) {
        self.faults.lose_to.store(to, Ordering::SeqCst);
        self.faults.lose_from.store(from, Ordering::SeqCst);
    }

    /// Swallows everything towards the client until the line is cut.
    pub(crate) fn mute(&self) {
        self.faults.mute.store(true, Ordering::SeqCst);
    }

    pub(crate) fn lost(&self) -> u64 {
        self.faults.lost.load(Ordering::SeqCst)
    }

    /// How many operations were swallowed so far.
    pub(crate) fn swallowed(&self) -> u64 {
        self.faults.swallowed.load(Ordering::SeqCst)
    }

    /// Waits until more were.
    pub(crate) async fn swallows_more_than(&self, before: u64) {
        while self.swallowed() <= before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Cuts every connection.
    pub(crate) fn cut(&self) {
        self.faults.mute.store(false, Ordering::SeqCst);
        self.cut.send_modify(|times| *times += 1);
    }
}

async fn pass(client: TcpStream, server: TcpStream, faults: &Faults) -> std::io::Result<()> {
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    tokio::select! {
        done = async { tokio::io::copy(&mut from_client, &mut to_server).await.map(drop) } => done,
        done = pass_down(BufReader::new(from_server), to_client, faults) => done,
    }
}

/// The broker's side, operation by operation.
async fn pass_down(
    mut server: BufReader<tokio::net::tcp::OwnedReadHalf>,
    mut client: tokio::net::tcp::OwnedWriteHalf,
    faults: &Faults,
) -> std::io::Result<()> {
    let mut operation = Vec::new();
    loop {
        operation.clear();
        if server.read_until(b'\n', &mut operation).await? == 0 {
            return Ok(());
        }
        let head = String::from_utf8_lossy(&operation).into_owned();
        let words: Vec<_> = head.split_whitespace().collect();
        if matches!(words.first(), Some(&"MSG" | &"HMSG")) {
            let size: usize = words[words.len() - 1].parse().expect("a size");
            let start = operation.len();
            operation.resize(start + size + 2, 0);
            server.read_exact(&mut operation[start..]).await?;
            if is_lost(&words, faults) {
                faults.lost.fetch_add(1, Ordering::SeqCst);
                continue;
            }
        }
        if faults.mute.load(Ordering::SeqCst) {
            faults.swallowed.fetch_add(1, Ordering::SeqCst);
        } else {
            client.write_all(&operation).await?;
        }
    }
}

fn is_lost(words: &[&str], faults: &Faults) -> bool {
    let Some(reply) = words.iter().find(|word| word.starts_with("$JS.ACK.")) else { return false };
    let tokens: Vec<_> = reply.split('.').collect();
    let consumer_sequence: u64 = tokens[tokens.len() - 3].parse().expect("a number");
    let (from, to) =
        (faults.lose_from.load(Ordering::SeqCst), faults.lose_to.load(Ordering::SeqCst));
    let lost = (from..=to).contains(&consumer_sequence) && to > 0;
    if lost && consumer_sequence == to {
        faults.lose_to.store(0, Ordering::SeqCst);
    }
    lost
}
