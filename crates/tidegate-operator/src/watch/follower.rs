//! Following one watch: its cache, its gate, and its failures.

use std::fmt::Debug;
use std::sync::Arc;

use futures::StreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tidegate_telemetry::Gate;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::trouble::{Fault, Trouble};
use crate::cluster::{Cache, Caches, Change};
use crate::context::Context;

/// What the API server says of a resource that it does not know.
const NOT_FOUND: u16 = 404;

/// What a watch is about.
pub(super) struct Followed<K: Resource> {
    pub(super) kind: &'static str,
    /// What it fills.
    pub(super) cache: fn(&Caches) -> &Cache<K>,
    /// Whom a change concerns.
    pub(super) wake: fn(&Context, &Change<K>),
}

/// One watch.
pub(super) struct Follower<K: Resource> {
    pub(super) context: Arc<Context>,
    pub(super) scope: Option<String>,
    pub(super) followed: Followed<K>,
    pub(super) gate: Arc<Gate>,
    pub(super) filled: CancellationToken,
    pub(super) trouble: Trouble,
    /// The list that is being read.
    pub(super) listed: Vec<K>,
}

impl<K> Follower<K>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    /// Follows what the API server tells.
    pub(super) async fn run(mut self, api: Api<K>, config: watcher::Config) {
        let mut events = std::pin::pin!(watcher(api, config));
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = self.trouble.passes() => {
                    self.well();
                    continue;
                }
            };
            match event {
                Some(Ok(event)) => {
                    // That a list is asked for says nothing about the answer.
                    if !matches!(event, Event::Init) {
                        self.well();
                    }
                    self.take(event);
                }
                Some(Err(error)) => {
                    let fault = self.trouble.failed(Instant::now());
                    self.failed(&error, fault);
                    tokio::time::sleep(fault.pause).await;
                }
                None => return,
            }
        }
    }

    fn well(&mut self) {
        if self.trouble.ended() && self.filled.is_cancelled() && !self.gate.is_open() {
            tracing::info!(kind = self.followed.kind, "the watch goes on");
            self.gate.open();
        }
    }

    fn take(&mut self, event: Event<K>) {
        let cache = (self.followed.cache)(&self.context.caches);
        let changes = match event {
            Event::Apply(object) => cache.put(object),
            Event::Delete(object) => cache.remove(&object).into_iter().collect(),
            Event::Init => {
                self.listed.clear();
                return;
            }
            Event::InitApply(object) => {
                self.listed.push(object);
                return;
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                let changes = cache.replace(self.scope.as_deref(), listed);
                self.gate.open();
                self.filled.cancel();
                changes
            }
        };
        for change in &changes {
            (self.followed.wake)(&self.context, change);
        }
    }

    /// A watch that was filled once goes on with what it has seen, and the API server is asked again;
    /// when that helps nothing for too long the replica is not ready.
    fn failed(&self, error: &watcher::Error, fault: Fault) {
        self.context.metrics.watch_failed(self.followed.kind);
        let kind = self.followed.kind;
        let waits_for = if self.filled.is_cancelled() {
            format!("the watch of {kind} fails, what is known of it is out of date")
        } else if is_missing(error) {
            format!("waiting for the definition of {kind}")
        } else {
            format!("waiting for the first list of {kind}")
        };
        let told = if self.filled.is_cancelled() { fault.lasts } else { fault.first };
        if told {
            tracing::warn!(kind, %error, "{waits_for}");
        } else {
            tracing::debug!(kind, %error, "a watch broke and is begun again");
        }
        if !self.filled.is_cancelled() || fault.lasts {
            self.gate.close(waits_for);
        }
    }
}

fn is_missing(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code == NOT_FOUND,
        _ => false,
    }
}
