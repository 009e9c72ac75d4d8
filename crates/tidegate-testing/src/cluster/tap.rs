//! A layer around a Kubernetes client that counts what is asked, and can let the asker die.
//!
//! A crash is played by silence: at the chosen request nothing goes out any more (before) or nothing
//! comes back any more (after), for that request and for all later ones. The test, told by
//! [`Tap::reached`], then drops the asker and starts another with a fresh tap. That is what the API
//! server sees of a process that is killed there.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use anyhow::Result;
use http::{Method, Request, Response};
use kube::Client;
use kube::client::{Body, ClientBuilder};
use tokio::sync::watch;
use tower::{Layer, Service};

use super::access::Access;

/// How often it is looked whether anything was asked.
const LOOK: Duration = Duration::from_millis(50);

/// One request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// `list`, `watch`, `get`, `create`, `update`, `patch`, `delete`.
    pub verb: &'static str,
    /// Path and query.
    pub uri: String,
}

/// On which side of a request somebody dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The request is never sent.
    Before,
    /// The answer never arrives.
    After,
}

/// What is known about a client.
#[derive(Debug, Clone)]
pub struct Tap {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    asked: Mutex<Vec<Asked>>,
    /// The number of the request, counted from 1 without watches, and the side of it.
    crash: Option<(usize, Moment)>,
    dead: watch::Sender<bool>,
}

/// Puts a [`Tap`] around a client's service.
#[derive(Debug, Clone)]
pub struct TapLayer(Tap);

/// A tapped service.
#[derive(Debug, Clone)]
pub struct Tapped<S> {
    inner: S,
    tap: Tap,
}

impl Default for Tap {
    fn default() -> Self {
        Self::new()
    }
}

impl Tap {
    /// Counts only.
    #[must_use]
    pub fn new() -> Self {
        Self::with(None)
    }

    /// Falls silent at the `number`-th request; requests are counted from 1, watches are not.
    #[must_use]
    pub fn silent_at(number: usize, moment: Moment) -> Self {
        Self::with(Some((number, moment)))
    }

    fn with(crash: Option<(usize, Moment)>) -> Self {
        let state = State { asked: Mutex::default(), crash, dead: watch::Sender::new(false) };
        Self { state: Arc::new(state) }
    }

    /// A client through this tap.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub async fn client(&self, access: &Access) -> Result<Client> {
        let builder = ClientBuilder::try_from(access.config().await?)?;
        Ok(builder.with_layer(&TapLayer(self.clone())).build())
    }

    /// Every request so far, watches too.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Every request so far that is no watch: those that count.
    #[must_use]
    pub fn counted(&self) -> Vec<Asked> {
        self.asked().into_iter().filter(|asked| asked.verb != "watch").collect()
    }

    /// Waits until nothing that counts was asked for this long.
    pub async fn quiet(&self, long: Duration) {
        let (mut before, mut since) = (self.counted().len(), Instant::now());
        while since.elapsed() < long {
            tokio::time::sleep(LOOK).await;
            let now = self.counted().len();
            if now != before {
                (before, since) = (now, Instant::now());
            }
        }
    }

    /// Returns once the chosen request was reached.
    pub async fn reached(&self) {
        let mut dead = self.state.dead.subscribe();
        // The sender lives in this very value.
        let _ = dead.wait_for(|dead| *dead).await;
    }

    /// Whether it has fallen silent.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        *self.state.dead.borrow()
    }

    /// Writes a request down; the side on which its sender dies, if it does.
    fn note(&self, asked: Asked) -> Option<Moment> {
        let mut all = self.state.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = asked.verb != "watch";
        all.push(asked);
        let number = all.iter().filter(|asked| asked.verb != "watch").count();
        let (chosen, moment) = self.state.crash?;
        (counts && number == chosen).then_some(moment)
    }

    async fn fall_silent<T>(&self) -> T {
        self.state.dead.send_replace(true);
        std::future::pending().await
    }
}

impl<S> Layer<S> for TapLayer {
    type Service = Tapped<S>;

    fn layer(&self, inner: S) -> Tapped<S> {
        Tapped { inner, tap: self.0.clone() }
    }
}

impl<S, B> Service<Request<Body>> for Tapped<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let tap = self.tap.clone();
        if tap.is_silent() {
            return Box::pin(std::future::pending());
        }
        let verb = verb(request.method(), request.uri().path(), request.uri().query());
        let dies = tap.note(Asked { verb, uri: request.uri().to_string() });
        if dies == Some(Moment::Before) {
            return Box::pin(async move { tap.fall_silent().await });
        }
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            if dies == Some(Moment::After) || tap.is_silent() {
                return tap.fall_silent().await;
            }
            answer
        })
    }
}

/// The verb as Kubernetes' rules of access name it.
fn verb(method: &Method, path: &str, query: Option<&str>) -> &'static str {
    let watches = query
        .is_some_and(|query| query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1")));
    match *method {
        Method::GET if watches => "watch",
        Method::GET if names_an_object(path) => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    }
}

/// `/api/v1/…` or `/apis/<group>/<version>/…`, then perhaps `namespaces/<name>`, a plural and a name.
fn names_an_object(path: &str) -> bool {
    let mut steps: Vec<_> = path.trim_matches('/').split('/').collect();
    let head = if steps.first() == Some(&"apis") { 3 } else { 2 };
    steps.drain(..head.min(steps.len()));
    if steps.first() == Some(&"namespaces") && steps.len() > 2 {
        steps.drain(..2);
    }
    steps.len() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_are_those_of_the_rules_of_access() {
        for (method, uri, wanted) in [
            (Method::GET, "/apis/apps/v1/namespaces/t/deployments?limit=500", "list"),
            (Method::GET, "/apis/apps/v1/namespaces/t/deployments?watch=true&x=1", "watch"),
            (Method::GET, "/apis/apps/v1/deployments", "list"),
            (Method::GET, "/api/v1/namespaces/t/pods/p", "get"),
            (Method::GET, "/api/v1/namespaces/t/pods/p/log", "get"),
            (Method::GET, "/api/v1/namespaces", "list"),
            (Method::GET, "/api/v1/namespaces/t", "get"),
            (Method::PATCH, "/api/v1/namespaces/t/pods/p/status", "patch"),
            (Method::POST, "/api/v1/namespaces/t/pods", "create"),
        ] {
            let (path, query) = uri.split_once('?').map_or((uri, None), |(p, q)| (p, Some(q)));
            assert_eq!(verb(&method, path, query), wanted, "{uri}");
        }
    }

    #[tokio::test]
    async fn after_the_chosen_request_nothing_goes_out_or_comes_back() {
        let sent = Arc::new(Mutex::new(0));
        for (moment, wanted) in [(Moment::Before, 1), (Moment::After, 2)] {
            *sent.lock().unwrap() = 0;
            let counter = Arc::clone(&sent);
            let tap = Tap::silent_at(2, moment);
            let mut service = TapLayer(tap.clone()).layer(tower::service_fn(move |_| {
                *counter.lock().unwrap() += 1;
                std::future::ready(Ok::<_, std::io::Error>(Response::new(())))
            }));
            let mut ask = || {
                let request = Request::get("/api/v1/namespaces/t/pods").body(Body::empty());
                service.call(request.unwrap())
            };
            ask().await.unwrap();
            let second = tokio::spawn(ask());
            tap.reached().await;
            let third = tokio::spawn(ask());
            tokio::task::yield_now().await;
            assert!(!second.is_finished() && !third.is_finished());
            assert_eq!((*sent.lock().unwrap(), tap.counted().len()), (wanted, 2));
        }
    }
}
