//! An HTTP proxy in front of an object store that misbehaves by rule.
//!
//! It is what an unlucky network does: a write is stored and its answer lost, an answer comes for a write
//! that was never stored, a write that the client gave up lands half a minute later.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::fault::{Fault, Late, Rule};
use crate::http::{Request, error_answer, own_answer};
use crate::random::Random;

/// Events kept for a look; older ones are forgotten, counters are not.
const MAX_EVENTS: usize = 4_096;

/// A proxy on a free port of loopback. It ends with the value, late requests included.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

/// A rule of one proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RuleId(u64);

/// One request and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The request's method.
    pub method: String,
    /// Its path and query.
    pub target: String,
    /// The rule that was applied.
    pub rule: Option<RuleId>,
    /// What the store answered; none when it did not hear of the request, or not yet.
    pub store_status: Option<u16>,
    /// What the client got.
    pub answered: Answered,
}

/// What the client got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered {
    /// The store's answer.
    Store,
    /// A status of the proxy's own.
    Status(u16),
    /// A cut connection.
    Cut,
    /// Nothing.
    Nothing,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    state: Mutex<State>,
    requests: AtomicU64,
    released: watch::Sender<u64>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct State {
    rules: Vec<ActiveRule>,
    /// Hits of every rule there ever was; removing a rule does not forget them.
    hits: Vec<u64>,
    random: Random,
    events: VecDeque<Event>,
    late_statuses: VecDeque<u16>,
}

#[derive(Debug)]
struct ActiveRule {
    id: RuleId,
    rule: Rule,
    seen: u64,
}

/// What a connection does next.
enum Next {
    Read,
    Close,
}

impl FaultProxy {
    /// A proxy in front of `upstream`; `seed` decides what happens to rules with a percentage.
    ///
    /// # Errors
    ///
    /// When no port can be opened.
    pub async fn start(upstream: SocketAddr, seed: u64) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("open a port")?;
        let address = listener.local_addr().context("ask for the port")?;
        let stop = CancellationToken::new();
        let state = State {
            rules: Vec::new(),
            hits: Vec::new(),
            random: Random::seeded(seed),
            events: VecDeque::new(),
            late_statuses: VecDeque::new(),
        };
        let shared = Arc::new(Shared {
            upstream,
            state: Mutex::new(state),
            requests: AtomicU64::new(0),
            released: watch::Sender::new(0),
            stop: stop.clone(),
        });
        tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, _stop: stop.drop_guard() })
    }

    /// The endpoint to give to a client.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a rule. The first rule that applies to a request decides.
    pub fn add(&self, rule: Rule) -> RuleId {
        let mut state = self.shared.state();
        let id = RuleId(state.hits.len() as u64);
        state.hits.push(0);
        state.rules.push(ActiveRule { id, rule, seen: 0 });
        id
    }

    /// Removes every rule: the network is well again. Late requests stay late.
    pub fn clear(&self) {
        self.shared.state().rules.clear();
    }

    /// Lets the requests that wait for it reach the store.
    pub fn release(&self) {
        self.shared.released.send_modify(|times| *times += 1);
    }

    /// How often a rule was applied.
    #[must_use]
    pub fn hits(&self, rule: RuleId) -> u64 {
        let index = usize::try_from(rule.0).unwrap_or(usize::MAX);
        self.shared.state().hits.get(index).copied().unwrap_or(0)
    }

    /// Requests so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// What the store answered to late requests by now, in the order of its answers.
    #[must_use]
    pub fn late_statuses(&self) -> Vec<u16> {
        self.shared.state().late_statuses.iter().copied().collect()
    }

    /// The last requests, oldest first.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.shared.state().events.iter().cloned().collect()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, request: &Request, rule: Option<RuleId>, outcome: (Option<u16>, Answered)) {
        let event = Event {
            method: request.head.method().to_owned(),
            target: request.head.target().to_owned(),
            rule,
            store_status: outcome.0,
            answered: outcome.1,
        };
        push_bounded(&mut self.state().events, event);
    }
}

fn push_bounded<T>(queue: &mut VecDeque<T>, item: T) {
    if queue.len() == MAX_EVENTS {
        queue.pop_front();
    }
    queue.push_back(item);
}

impl State {
    fn decide(&mut self, request: &Request) -> Option<(RuleId, Fault)> {
        let Self { rules, hits, random, .. } = self;
        rules.iter_mut().filter(|active| active.rule.matcher.matches(&request.head)).find_map(
            |active| {
                let hits = hits.get_mut(usize::try_from(active.id.0).ok()?)?;
                let applies = active.rule.applies(active.seen, *hits, random.below(100));
                active.seen += 1;
                *hits += u64::from(applies);
                applies.then_some((active.id, active.rule.fault))
            },
        )
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let serve = async {
        while let Ok((client, _)) = listener.accept().await {
            let shared = Arc::clone(&shared);
            tokio::spawn(async move {
                let stop = shared.stop.clone();
                // A broken connection is the client's to notice, and often the very purpose.
                let _ = stop.run_until_cancelled(serve_connection(client, &shared)).await;
            });
        }
    };
    shared.stop.run_until_cancelled(serve).await;
}

async fn serve_connection(client: TcpStream, shared: &Arc<Shared>) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut client = BufReader::new(client);
    while let Some(request) = Request::read(&mut client).await? {
        shared.requests.fetch_add(1, Ordering::SeqCst);
        let (rule, fault) = shared.state().decide(&request).unzip();
        let exchange = Exchange { shared, request, rule };
        match exchange.serve(&mut client, fault).await? {
            Next::Read => {}
            Next::Close => break,
        }
    }
    Ok(())
}

/// One request under the rule that was applied to it.
struct Exchange<'a> {
    shared: &'a Arc<Shared>,
    request: Request,
    rule: Option<RuleId>,
}

impl Exchange<'_> {
    async fn serve(
        self,
        client: &mut BufReader<TcpStream>,
        fault: Option<Fault>,
    ) -> io::Result<Next> {
        match fault {
            None => self.pass(client, None).await,
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(time).await;
                self.pass(client, None).await
            }
            Some(Fault::TruncateAnswer(bytes)) => self.pass(client, Some(bytes)).await,
            Some(Fault::StoreThenStatus(status)) => {
                let stored = store_only(self.shared, &self.request).await?;
                self.end(client, Some(stored), Answered::Status(status)).await
            }
            Some(Fault::StoreThenCut) => {
                let stored = store_only(self.shared, &self.request).await?;
                self.end(client, Some(stored), Answered::Cut).await
            }
            Some(Fault::StoreThenHang) => {
                let stored = store_only(self.shared, &self.request).await?;
                self.end(client, Some(stored), Answered::Nothing).await
            }
            Some(Fault::Answer(body)) => {
                self.record(None, Answered::Status(200));
                client.write_all(&own_answer(200, "OK", body)).await?;
                Ok(Next::Read)
            }
            Some(Fault::Status(status)) => self.end(client, None, Answered::Status(status)).await,
            Some(Fault::Cut) => self.end(client, None, Answered::Cut).await,
            Some(Fault::Hang) => self.end(client, None, Answered::Nothing).await,
            Some(Fault::StoreLate(late)) => Ok(self.store_later(late)),
        }
    }

    fn record(&self, store_status: Option<u16>, answered: Answered) {
        self.shared.record(&self.request, self.rule, (store_status, answered));
    }

    /// Passes the store's answer on, or so much of it.
    async fn pass(
        &self,
        client: &mut BufReader<TcpStream>,
        body_limit: Option<u64>,
    ) -> io::Result<Next> {
        let answer = match self.request.send(self.shared.upstream).await {
            Ok(answer) => answer,
            Err(error) => {
                self.record(None, Answered::Cut);
                return Err(error);
            }
        };
        let answered = if body_limit.is_some() { Answered::Cut } else { Answered::Store };
        self.record(Some(answer.head.status()), answered);
        let goes_on = answer.relay(client, body_limit).await?;
        Ok(if goes_on { Next::Read } else { Next::Close })
    }

    /// Ends it without the store's answer.
    async fn end(
        &self,
        client: &mut BufReader<TcpStream>,
        store_status: Option<u16>,
        answered: Answered,
    ) -> io::Result<Next> {
        self.record(store_status, answered);
        match answered {
            Answered::Status(status) => {
                client.write_all(&error_answer(status)).await?;
                return Ok(Next::Read);
            }
            // Until the client has had enough.
            Answered::Nothing => drop(client.read_to_end(&mut Vec::new()).await?),
            Answered::Cut | Answered::Store => {}
        }
        Ok(Next::Close)
    }

    /// Cuts the connection; the store hears of it some day.
    fn store_later(self, late: Late) -> Next {
        self.record(None, Answered::Cut);
        // Listening begins before the client learns anything, so that no release is missed.
        let released = self.shared.released.subscribe();
        tokio::spawn(store_late(Arc::clone(self.shared), self.request, late, released));
        Next::Close
    }
}

/// Has the store do it and keeps the answer back; the status that the client never sees.
async fn store_only(shared: &Shared, request: &Request) -> io::Result<u16> {
    let answer = request.send(shared.upstream).await?;
    let status = answer.head.status();
    answer.discard().await?;
    Ok(status)
}

async fn store_late(
    shared: Arc<Shared>,
    request: Request,
    late: Late,
    mut released: watch::Receiver<u64>,
) {
    let wait = async {
        match late {
            Late::After(time) => tokio::time::sleep(time).await,
            Late::OnRelease => drop(released.changed().await),
        }
        if let Ok(status) = store_only(&shared, &request).await {
            push_bounded(&mut shared.state().late_statuses, status);
        }
    };
    shared.stop.run_until_cancelled(wait).await;
}

#[cfg(test)]
mod tests;
