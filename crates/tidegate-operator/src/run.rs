//! The operator as a whole: endpoint, watches, Lease, driver.
//!
//! The watches run in every replica, so that a successor has seen everything when it takes over. Only
//! the holder of the Lease reconciles; losing the Lease drops every reconcile where it stands, which is
//! safe because each step can be repeated.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kube::{Api, Client};
use tidegate_telemetry::{Gate, Health, Registry, serve};
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::context::Context;
use crate::controllers::Controllers;
use crate::error::OperatorError;
use crate::key::Key;
use crate::lease;
use crate::metrics::Metrics;
use crate::options::OperatorOptions;
use crate::queue::Again;
use crate::watch::{Watches, watches};

/// The driver goes round at least this often; its silence is what liveness looks at.
const BEAT: Duration = Duration::from_secs(5);
/// A driver silent for longer is stuck.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);
/// How long reconciles may take to end by themselves on the way out.
const LAST_RECONCILES: Duration = Duration::from_secs(3);

/// Runs an operator until `stop`.
///
/// # Errors
///
/// When the endpoint cannot be opened or a part of the operator breaks. An API server out of reach, a
/// definition that is missing and a Lease that somebody else holds are waited for.
pub async fn run(
    options: OperatorOptions,
    client: Client,
    stop: CancellationToken,
) -> Result<(), OperatorError> {
    run_by(Clock::system(), options, client, stop).await
}

/// The same with schedules that follow another clock.
///
/// # Errors
///
/// As [`run`].
pub async fn run_by(
    clock: Clock,
    options: OperatorOptions,
    client: Client,
    stop: CancellationToken,
) -> Result<(), OperatorError> {
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let listen = options.listen;
    let context = Arc::new(Context::new(options, &client, clock, metrics)?);
    let controllers = Controllers::new(&context);
    let operator = Arc::new(Operator { context: Arc::clone(&context), controllers });
    let health = Health::new(LONGEST_SILENCE);
    let driver = Gate::closed("waiting for the driver");
    health.watch(driver.clone());
    let Watches { running, filled } = watches(&context, &health);
    let end = CancellationToken::new();
    // Whoever drops this future ends everything with it.
    let _ends_with_us = end.clone().drop_guard();
    let server = serve(listen, Arc::new(registry), health, end.clone()).await?;
    tracing::info!(address = %server.address(), "the operator has started");
    let mut watches: JoinSet<()> = running.into_iter().collect();
    let (mut lease, leading) = campaign(&context, &end);
    let ended = tokio::select! {
        () = beating(&driver) => Ok(()),
        () = reign(&operator, leading, &filled, &stop) => Ok(()),
        Some(ended) = watches.join_next() => Err(broken("watches", ended)),
        Some(ended) = lease.join_next() => Err(broken("campaign for the Lease", ended)),
    };
    driver.finish();
    watches.shutdown().await;
    end.cancel();
    // The Lease is given back.
    while lease.join_next().await.is_some() {}
    server.stopped().await;
    ended
}

/// What works on pipelines, and what it works with.
struct Operator {
    context: Arc<Context>,
    controllers: Controllers,
}

fn broken(part: &'static str, ended: Result<(), JoinError>) -> OperatorError {
    OperatorError::Ended { part, source: ended.err() }
}

/// Shows that the operator's own task goes round.
async fn beating(driver: &Gate) {
    // A replica that waits for its turn is as ready as one that reconciles.
    driver.open();
    loop {
        driver.beat();
        tokio::time::sleep(BEAT).await;
    }
}

/// Starts the campaign for the Lease; without leader election the Lease counts as held.
fn campaign(
    context: &Arc<Context>,
    end: &CancellationToken,
) -> (JoinSet<()>, watch::Receiver<bool>) {
    let elects = context.options.leader_election;
    let (sender, receiver) = watch::channel(!elects);
    let (context, end) = (Arc::clone(context), end.clone());
    let mut task = JoinSet::new();
    task.spawn(async move {
        if elects {
            let options = &context.options;
            let leases = Api::namespaced(context.client.clone(), &options.own_namespace);
            lease::campaign(leases, &options.identity, &sender, end).await;
        } else {
            end.cancelled().await;
        }
    });
    (task, receiver)
}

/// Reconciles whenever the Lease is held, until `stop`.
async fn reign(
    operator: &Arc<Operator>,
    mut leading: watch::Receiver<bool>,
    filled: &[CancellationToken],
    stop: &CancellationToken,
) {
    let metrics = &operator.context.metrics;
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => break,
            () = until_it_leads(&mut leading, filled) => {}
        }
        metrics.set_leader(true);
        tokio::select! {
            () = drive(operator, stop) => {}
            _ = leading.wait_for(|leads| !*leads) => {
                tracing::warn!("the Lease is lost, reconciling stops");
            }
        }
        metrics.set_leader(false);
        metrics.forget_all();
    }
}

/// Waits until everything has been seen and the Lease is held.
async fn until_it_leads(leading: &mut watch::Receiver<bool>, filled: &[CancellationToken]) {
    for watch in filled {
        watch.cancelled().await;
    }
    if leading.wait_for(|leads| *leads).await.is_err() {
        // The campaign broke, which ends the operator.
        std::future::pending::<()>().await;
    }
}

/// Takes pipelines from the queue until `stop`.
async fn drive(operator: &Arc<Operator>, stop: &CancellationToken) {
    let context = &operator.context;
    operator.controllers.begin_reign(context);
    let mut keys = context.caches.pipelines.owners();
    // Runs of pipelines that do not exist have to be told so.
    keys.extend(context.caches.runs.owners());
    context.queue.restart(keys, Instant::now());
    let most = usize::from(context.options.max_concurrent_reconciles.max(1));
    let mut running = Running::default();
    while !stop.is_cancelled() {
        context.metrics.set_queue_depth(context.queue.depth());
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(BEAT) => {}
            Some(ended) = running.tasks.join_next_with_id() => running.ended(context, ended),
            key = context.queue.next(), if running.tasks.len() < most => {
                running.start(operator, key);
            }
        }
    }
    let last = async { while running.tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(LAST_RECONCILES, last).await.is_err() {
        tracing::warn!("some reconciles did not end in time");
    }
}

/// The reconciles under way. Dropping it ends them.
#[derive(Default)]
struct Running {
    tasks: JoinSet<Again>,
    keys: HashMap<Id, Key>,
}

impl Running {
    fn start(&mut self, operator: &Arc<Operator>, key: Key) {
        let (operator, name) = (Arc::clone(operator), key.clone());
        let task = self
            .tasks
            .spawn(async move { operator.controllers.reconcile(&operator.context, &name).await });
        self.keys.insert(task.id(), key);
    }

    fn ended(&mut self, context: &Context, ended: Result<(Id, Again), JoinError>) {
        let (id, again) = match ended {
            Ok((id, again)) => (id, again),
            Err(error) => {
                tracing::error!(%error, "a reconcile broke off");
                (error.id(), Again::AfterFailure)
            }
        };
        if let Some(key) = self.keys.remove(&id) {
            context.queue.done(&key, again);
        }
    }
}
