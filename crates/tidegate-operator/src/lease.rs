//! One operator at a time: the Lease `tidegate-operator`.
//!
//! Whoever holds it renews it; whoever wants it watches for a record that has not changed for as long as
//! the record itself promises. Only the own clock's differences are used, so that clocks that disagree do
//! no harm. A holder that could not renew stops well before anybody may follow it. On the way out the
//! Lease is given back, so that a successor need not wait.
//!
//! `kube-lease-manager` was looked at and turned down: while the API server is out of reach it does not
//! say that the Lease is lost, and it compares its clock with the holder's.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The Lease's name.
pub(crate) const NAME: &str = "tidegate-operator";
/// How long a record is good for after it was last renewed.
const DURATION: Duration = Duration::from_secs(15);
/// How long after the begin of its last renewal a holder works on: less than [`DURATION`], so that it
/// has stopped before anybody else begins.
const HELD: Duration = Duration::from_secs(10);
/// How often a holder renews.
const RENEW: Duration = Duration::from_secs(4);
/// How often the others look.
const LOOK: Duration = Duration::from_secs(2);
/// How long a request may take.
const REQUEST: Duration = Duration::from_secs(3);

/// Campaigns until `stop`, then gives the Lease back. `api` is of its namespace, `leading` says whether it
/// is held.
pub(crate) async fn campaign(
    api: Api<Lease>,
    identity: &str,
    leading: &watch::Sender<bool>,
    stop: CancellationToken,
) {
    let (identity, last_round) = (identity.to_owned(), Instant::now());
    let mut candidate = Candidate { api, identity, seen: None, held: None, last_round };
    loop {
        // A loss is told before the next request, which may hang.
        candidate.tell(leading);
        candidate.round().await;
        candidate.tell(leading);
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep_until(candidate.next_round(Instant::now())) => {}
        }
    }
    leading.send_replace(false);
    candidate.release().await;
}

struct Candidate {
    api: Api<Lease>,
    identity: String,
    seen: Option<Seen>,
    /// The begin of the renewal that last succeeded.
    held: Option<Instant>,
    last_round: Instant,
}

/// The record, and since when it is known in this state.
#[derive(Debug, Clone)]
struct Seen {
    lease: Lease,
    since: Instant,
}

/// What to do about the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// There is none: make it.
    Create,
    /// It is ours, or free, or has run out: write our name.
    Take,
    /// Somebody else holds it.
    Wait,
}

impl Candidate {
    fn leads(&self, now: Instant) -> bool {
        self.held.is_some_and(|since| now.saturating_duration_since(since) < HELD)
    }

    fn tell(&self, leading: &watch::Sender<bool>) {
        let leads = self.leads(Instant::now());
        if leading.send_replace(leads) != leads {
            tracing::info!(identity = self.identity, leads, "leadership changed");
        }
    }

    /// The next renewal or look, but never later than the loss is to be told, and never at once.
    fn next_round(&self, now: Instant) -> Instant {
        match self.held.filter(|_| self.leads(now)) {
            Some(since) if since == self.last_round => (now + RENEW).min(since + HELD),
            Some(since) => (now + LOOK).min(since + HELD),
            None => now + LOOK,
        }
    }

    async fn round(&mut self) {
        let begun = Instant::now();
        self.last_round = begun;
        let loss = self.held.map(|since| since + HELD).filter(|loss| *loss > begun);
        let end = loss.map_or(begun + REQUEST, |loss| loss.min(begun + REQUEST));
        match tokio::time::timeout_at(end, self.step(begun)).await {
            Ok(Ok(true)) => self.held = Some(begun),
            Ok(Ok(false)) => self.held = None,
            Ok(Err(error)) => tracing::warn!(%error, "the Lease cannot be read or written"),
            Err(_) => tracing::warn!("the Lease cannot be read or written in time"),
        }
        if !self.leads(Instant::now()) {
            self.held = None;
        }
    }

    /// Whether we hold it now.
    async fn step(&mut self, now: Instant) -> Result<bool, kube::Error> {
        // A holder writes without looking: a conflict shows that somebody wrote.
        if self.held.is_none() || self.seen.is_none() {
            self.look(now).await?;
        }
        if self.write(now).await? {
            return Ok(true);
        }
        // That somebody may have been us, with an answer that got lost.
        if self.seen.is_none() {
            self.look(now).await?;
        }
        Ok(self.is_named() && self.write(now).await?)
    }

    /// Whether the record, as it is known, names us.
    fn is_named(&self) -> bool {
        let spec = self.seen.as_ref().and_then(|seen| seen.lease.spec.as_ref());
        spec.and_then(|spec| spec.holder_identity.as_deref()) == Some(&self.identity)
    }

    /// Writes our name when it may stand there. After a conflict nothing is known of the record.
    async fn write(&mut self, now: Instant) -> Result<bool, kube::Error> {
        let written = match decide(&self.identity, self.seen.as_ref(), now) {
            Step::Wait => return Ok(false),
            Step::Create => self.api.create(&PostParams::default(), &self.record(None)).await,
            Step::Take => {
                let record = self.record(self.seen.as_ref().map(|seen| &seen.lease));
                self.api.replace(NAME, &PostParams::default(), &record).await
            }
        };
        match written {
            Ok(lease) => {
                self.seen = Some(Seen { lease, since: now });
                Ok(true)
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                self.seen = None;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    async fn look(&mut self, now: Instant) -> Result<(), kube::Error> {
        let found = self.api.get_opt(NAME).await?;
        self.seen = found.map(|lease| match self.seen.take() {
            Some(seen) if same_version(&seen.lease, &lease) => seen,
            _ => Seen { lease, since: now },
        });
        Ok(())
    }

    fn record(&self, before: Option<&Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let spec = before.and_then(|lease| lease.spec.as_ref());
        let ours = spec.and_then(|spec| spec.holder_identity.as_deref()) == Some(&self.identity);
        let transitions = spec.and_then(|spec| spec.lease_transitions).unwrap_or(0);
        let acquired = spec.and_then(|spec| spec.acquire_time.clone()).filter(|_| ours);
        Lease {
            metadata: before.map_or_else(
                || ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
                |lease| lease.metadata.clone(),
            ),
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                acquire_time: acquired.or_else(|| Some(now.clone())),
                renew_time: Some(now),
                lease_transitions: Some(transitions + i32::from(before.is_some() && !ours)),
                ..LeaseSpec::default()
            }),
        }
    }

    /// Gives the Lease back when it is ours.
    async fn release(&mut self) {
        let Some(seen) = self.seen.take().filter(|_| self.held.is_some()) else { return };
        let mut lease = seen.lease;
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
            spec.lease_duration_seconds = Some(1);
        }
        let plainly = PostParams::default();
        let given = self.api.replace(NAME, &plainly, &lease);
        match tokio::time::timeout(REQUEST, given).await {
            Ok(Ok(_)) => tracing::info!("the Lease is given back"),
            Ok(Err(error)) => tracing::warn!(%error, "the Lease could not be given back"),
            Err(_) => tracing::warn!("the Lease could not be given back in time"),
        }
    }
}

fn same_version(one: &Lease, other: &Lease) -> bool {
    one.metadata.uid == other.metadata.uid
        && one.metadata.resource_version == other.metadata.resource_version
}

fn decide(identity: &str, seen: Option<&Seen>, now: Instant) -> Step {
    let Some(seen) = seen else { return Step::Create };
    let spec = seen.lease.spec.as_ref();
    let holder = spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
    if holder.is_empty() || holder == identity {
        return Step::Take;
    }
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
    let promised = u64::try_from(seconds).map_or(DURATION, Duration::from_secs);
    if now.saturating_duration_since(seen.since) >= promised { Step::Take } else { Step::Wait }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Method, Request, Response};
    use kube::Client;
    use kube::client::Body;
    use serde_json::{Value, json};
    use tower::service_fn;

    use super::*;

    fn held_by(holder: &str, seconds: i32, since: Instant) -> Seen {
        let spec = LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(seconds),
            ..LeaseSpec::default()
        };
        Seen { lease: Lease { spec: Some(spec), ..Lease::default() }, since }
    }

    #[test]
    fn a_lease_is_taken_only_when_it_is_free_ours_or_silent_for_as_long_as_it_promised() {
        let now = Instant::now();
        let later = |seconds| now + Duration::from_secs(seconds);
        for (seen, at, wanted) in [
            (None, now, Step::Create),
            (Some(held_by("", 1, now)), now, Step::Take),
            (Some(held_by("me", 15, now)), now, Step::Take),
            (Some(held_by("other", 15, now)), later(14), Step::Wait),
            (Some(held_by("other", 15, now)), later(15), Step::Take),
            (Some(held_by("other", 60, now)), later(59), Step::Wait),
        ] {
            assert_eq!(decide("me", seen.as_ref(), at), wanted, "{seen:?}");
        }
    }

    fn candidate(client: Client, held: Option<Instant>, last_round: Instant) -> Candidate {
        let (api, identity) = (Api::namespaced(client, "ns"), "me".to_owned());
        Candidate { api, identity, seen: None, held, last_round }
    }

    /// An API server with one Lease. `answers` says which of the writes that land are answered.
    fn server(lease: Value, answers: fn(usize) -> bool) -> (Client, Arc<Mutex<(Value, usize)>>) {
        let state = Arc::new(Mutex::new((lease, 0)));
        let shared = Arc::clone(&state);
        let service = service_fn(move |request: Request<Body>| {
            let shared = Arc::clone(&shared);
            async move {
                let writes = request.method() == Method::PUT;
                let body = request.into_body().collect_bytes().await.expect("a body");
                let (code, answer, silent) = {
                    let mut state = shared.lock().expect("the state");
                    let (lease, written) = &mut *state;
                    if writes {
                        replace(lease, written, &body, answers)
                    } else {
                        (200, lease.clone(), false)
                    }
                };
                if silent {
                    std::future::pending::<()>().await;
                }
                let answer = Body::from(answer.to_string().into_bytes());
                Ok::<_, std::convert::Infallible>(
                    Response::builder().status(code).body(answer).expect("an answer"),
                )
            }
        });
        (Client::new(service, "ns"), state)
    }

    fn replace(
        lease: &mut Value,
        written: &mut usize,
        body: &[u8],
        answers: fn(usize) -> bool,
    ) -> (u16, Value, bool) {
        let mut new: Value = serde_json::from_slice(body).expect("a Lease");
        let version = |lease: &Value| lease["metadata"]["resourceVersion"].to_string();
        if version(&new) != version(lease) {
            let conflict = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                "code": 409, "reason": "Conflict", "message": "changed"});
            return (409, conflict, false);
        }
        *written += 1;
        new["metadata"]["resourceVersion"] = (100 + *written).to_string().into();
        *lease = new.clone();
        (200, new, !answers(*written))
    }

    fn record(holder: &str) -> Value {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {"name": NAME, "namespace": "ns", "uid": "u", "resourceVersion": "100"},
            "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15},
        })
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_got_lost_does_not_end_a_reign() {
        let (client, state) = server(record(""), |written| written != 2);
        let mut me = candidate(client, None, Instant::now());
        me.round().await;
        assert!(me.leads(Instant::now()), "it was free");
        me.round().await;
        assert_eq!(state.lock().expect("the state").1, 2, "the second write landed");
        assert!(me.leads(Instant::now()), "a renewal may fail");
        let begun = Instant::now();
        me.round().await;
        assert_eq!(me.held, Some(begun), "the record names us, so it is renewed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_conflict_with_somebody_else_ends_a_reign() {
        let (client, state) = server(record("me"), |_| true);
        let mut me = candidate(client, None, Instant::now());
        me.round().await;
        let mut theirs = record("other");
        theirs["metadata"]["resourceVersion"] = "200".into();
        state.lock().expect("the state").0 = theirs;
        me.round().await;
        assert!(me.held.is_none() && !me.leads(Instant::now()));
        assert_eq!(state.lock().expect("the state").0["spec"]["holderIdentity"], "other");
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_loss_it_looks_again_after_a_pause_whatever_happens() {
        let refused = service_fn(|_: Request<Body>| async {
            Err::<Response<Body>, _>(std::io::Error::other("refused"))
        });
        let begun = Instant::now();
        let mut me = candidate(Client::new(refused, "ns"), Some(begun), begun);
        for _ in 0..20 {
            let now = Instant::now();
            let next = me.next_round(now);
            assert!(next > now, "{:?} after the last renewal", now - begun);
            tokio::time::sleep_until(next).await;
            me.round().await;
        }
        assert!(me.held.is_none(), "it was lost {:?} ago", begun.elapsed());
    }

    #[test]
    fn a_holder_has_stopped_before_anybody_may_follow() {
        // The record is written after the renewal began, and is good for DURATION from then on.
        assert!(HELD + Duration::from_secs(1) < DURATION);
        // One renewal may fail or hang without the Lease being lost.
        assert!(RENEW + REQUEST < HELD);
    }
}
