//! What goes with a pipeline: its stream, its table, as the deletion policy says.
//!
//! Nothing is deleted that somebody else uses: such a thing is left as it is, and told. Faults that pass
//! are met with patience until the deadline.

mod stream;
mod table;

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use tidegate_config::PipelineConfig;
use tidegate_runtime::secrets::Secrets;
use tidegate_runtime::{RunError, in_words};
use tidegate_types::Reason;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::decide::Restarts;

/// What to delete.
#[derive(Debug, Clone)]
pub struct CleanupOptions {
    /// The resolved pipeline.
    pub config: PipelineConfig,
    /// Where secrets are mounted; the stream needs the administrator's.
    pub secrets_dir: Option<PathBuf>,
    /// The stream, with every message.
    pub delete_stream: bool,
    /// The table, with its dead letters and window snapshots.
    pub delete_data: bool,
    /// When to give up what does not work.
    pub deadline: Duration,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanupReport {
    /// `Ok` when nothing is left, else why.
    pub reason: Reason,
    /// What is left, and why.
    pub left: Vec<String>,
    /// Whether another try may do.
    pub retry: bool,
}

/// What became of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ended {
    /// It is gone.
    Gone,
    /// It stays, because somebody else uses it.
    Left(String),
}

/// Why one part is left.
struct Left {
    text: String,
    retry: bool,
}

/// Deletes what was asked for.
pub async fn cleanup(options: &CleanupOptions) -> CleanupReport {
    let end = Instant::now() + options.deadline;
    let secrets = Secrets::new(options.secrets_dir.clone());
    let config = &options.config;
    let stream = async {
        let part = format!("stream {}", config.source.stream);
        let asked = options.delete_stream || options.delete_data;
        let work = || stream::leave(config, &secrets, options.delete_stream);
        if asked { patiently(&part, end, work).await } else { None }
    };
    let table = async {
        let part = format!("table {}", config.sink.url);
        let work = || table::remove(config, &secrets);
        if options.delete_data { patiently(&part, end, work).await } else { None }
    };
    let (stream, table) = tokio::join!(stream, table);
    summary([stream, table].into_iter().flatten().collect())
}

fn summary(left: Vec<Left>) -> CleanupReport {
    let reason = if left.is_empty() { Reason::Ok } else { Reason::DeletionIncomplete };
    let retry = left.iter().any(|left| left.retry);
    CleanupReport { reason, retry, left: left.into_iter().map(|left| left.text).collect() }
}

/// Does one part until it is done, is refused for good, or the time is over.
async fn patiently<F: Future<Output = Result<Ended, RunError>>>(
    part: &str,
    end: Instant,
    work: impl Fn() -> F,
) -> Option<Left> {
    let mut restarts = Restarts::default();
    let mut last = "it was not done in time".to_owned();
    let left = |why: &str, retry| Some(Left { text: format!("{part}: {why}"), retry });
    loop {
        let pause = match tokio::time::timeout_at(end, work()).await {
            Err(_) => return left(&last, true),
            Ok(Ok(Ended::Gone)) => {
                info!(part, "cleaned up");
                return None;
            }
            Ok(Ok(Ended::Left(why))) => {
                warn!(part, why, "left as it is");
                return left(&why, false);
            }
            Ok(Err(error)) if error.is_transient() => {
                last = in_words(&error);
                warn!(part, reason = %error.reason(), error = last, "will retry");
                restarts.pause(Duration::ZERO, true)
            }
            Ok(Err(error)) => return left(&in_words(&error), false),
        };
        if Instant::now() + pause >= end {
            return left(&last, true);
        }
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    async fn ended(outcomes: Vec<Result<Ended, RunError>>) -> (Option<Left>, Duration) {
        let outcomes = Cell::new(outcomes);
        let began = Instant::now();
        let left = patiently("stream S", began + Duration::from_secs(20), || {
            let mut rest = outcomes.take();
            let next = if rest.is_empty() { None } else { Some(rest.remove(0)) };
            outcomes.set(rest);
            async { next.unwrap_or_else(|| Err(transient())) }
        });
        (left.await, began.elapsed())
    }

    fn transient() -> RunError {
        RunError::transient(Reason::SourceUnreachable, "no answer")
    }

    #[tokio::test(start_paused = true)]
    async fn faults_that_pass_are_waited_for_and_others_are_told_at_once() {
        let (left, _) = ended(vec![Err(transient()), Err(transient()), Ok(Ended::Gone)]).await;
        assert!(left.is_none());
        let (left, lasted) = ended(vec![Ok(Ended::Left("ledger b reads it".into()))]).await;
        let left = left.expect("left");
        assert_eq!((left.text.as_str(), left.retry), ("stream S: ledger b reads it", false));
        assert_eq!(lasted, Duration::ZERO);
        let refused = RunError::permanent(Reason::InvalidConfiguration, "refused");
        let left = ended(vec![Err(refused)]).await.0.expect("left");
        assert_eq!((left.text.as_str(), left.retry), ("stream S: refused", false));
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_is_kept_and_the_last_fault_told() {
        let (left, lasted) = ended(Vec::new()).await;
        let left = left.expect("left");
        assert_eq!((left.text.as_str(), left.retry), ("stream S: no answer", true));
        assert!(lasted <= Duration::from_secs(20), "{lasted:?}");
        let never = patiently("t", Instant::now() + Duration::from_secs(1), std::future::pending);
        assert_eq!(never.await.expect("left").text, "t: it was not done in time");
    }

    #[test]
    fn what_is_left_decides_whether_to_try_again() {
        assert_eq!(summary(vec![]).reason, Reason::Ok);
        let one = |retry| Left { text: "x".into(), retry };
        let report = summary(vec![one(false), one(true)]);
        assert_eq!((report.reason, report.retry), (Reason::DeletionIncomplete, true));
        assert!(!summary(vec![one(false)]).retry);
    }
}
