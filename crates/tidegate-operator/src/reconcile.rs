//! What every reconcile has in common: how long it may take, and what its end means.

use std::future::Future;
use std::time::Duration;

use tidegate_types::Reason;

use crate::context::Context;
use crate::failure::Failure;
use crate::key::Key;
use crate::metrics::Outcome;
use crate::queue::Again;
use crate::status::{Outlook, outlook};

/// The longest reconcile: pods are asked for seconds, the API server for less.
const LONGEST: Duration = Duration::from_secs(60);
/// The longest writing of status and Events.
const LONGEST_REPORT: Duration = Duration::from_secs(20);

/// Takes the steps of a reconcile, as far as there is time.
pub(crate) async fn take_steps<T>(
    steps: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    within(LONGEST, steps, "it took too long").await
}

/// Reports what came of them, as far as there is time.
pub(crate) async fn take_report<T>(
    report: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    within(LONGEST_REPORT, report, "the status took too long").await
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Failure>>,
    late: &str,
) -> Result<T, Failure> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(Failure::transient(Reason::ApiUnavailable, late)),
    }
}

/// How a reconcile ended.
#[derive(Debug)]
pub(crate) struct Conclusion {
    /// Why the resource's own spec does not run.
    pub(crate) rejection: Option<Reason>,
    pub(crate) result: Result<Again, Failure>,
    pub(crate) took: Duration,
}

/// Counts how a reconcile ended, and says when to look again.
pub(crate) fn conclude(context: &Context, key: &Key, conclusion: Conclusion) -> Again {
    let Conclusion { rejection, result, took } = conclusion;
    match result {
        Ok(again) => {
            let outcome = match rejection.map(outlook) {
                None => Outcome::Done,
                Some(Outlook::Stalled) => Outcome::Stalled,
                Some(_) => Outcome::Waiting,
            };
            context.metrics.reconciled(outcome, rejection, took);
            again
        }
        Err(failure) => {
            tracing::info!(
                pipeline = %key,
                reason = failure.reason.as_str(),
                message = failure.message,
                "a reconcile did not get through"
            );
            context.metrics.reconciled(failure.outcome(), Some(failure.reason), took);
            failure.again()
        }
    }
}
