//! `tidegate worker`: a worker of a pipeline, in a pod.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tidegate_telemetry::{Answer, MetricFamilies, Pages, Registry};
use tidegate_types::Reason;
use tidegate_worker::pod::{AssignmentDesk, PodSetup, PodWorker, Refusal, watch_file};

use crate::commands::pod::{ConfigArgs, Endpoint, ListenArgs, leave_message, shows};
use crate::failure::{Failure, code};
use crate::memory;
use crate::signals::Signals;
use crate::workers::this_program;

/// How often the mounted assignment is looked at; the kubelet takes up to a minute to bring a new one, a
/// POST brings it at once.
const LOOK_EACH: Duration = Duration::from_secs(2);

/// Work on the partitions that an assignment gives to this worker. Started by the operator
///
/// The assignment is taken from its file and from `POST /assignment`; the highest generation wins. A fault
/// does not end the process: `/status` says what is wrong while it tries again. The first SIGTERM drains,
/// the second leaves at once.
#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    listen: ListenArgs,
    /// Who reads which partitions
    #[arg(long, value_name = "FILE")]
    assignment: PathBuf,
    /// This worker's name in it
    #[arg(long)]
    name: String,
    /// Where windows are spilled
    #[arg(long, value_name = "DIR", default_value = "/var/lib/tidegate")]
    data_dir: PathBuf,
}

/// Works until a signal.
pub(crate) async fn worker(args: WorkerArgs) -> Result<u8, Failure> {
    let ended = work(args).await;
    if let Err(failure) = &ended {
        leave_message(failure, Reason::InvalidConfiguration);
    }
    ended
}

async fn work(args: WorkerArgs) -> Result<u8, Failure> {
    let signals = Signals::listen()?;
    let (config, identity) = args.config.load()?;
    let mut registry = Registry::default();
    let metrics = Arc::new(MetricFamilies::new(&mut registry).worker(&config.name, 0));
    let spill = args.data_dir.join("spill").join(config.ledger.as_str());
    let setup = PodSetup {
        config,
        identity,
        name: args.name,
        secrets_dir: args.config.secrets_dir,
        spill_dir: spill,
        memory_budget: memory::process_budget(),
        decoder_probe: this_program(),
    };
    let worker = Arc::new(PodWorker::new(setup, metrics.clone()));
    let endpoint = Endpoint::open(args.listen, registry, metrics, pages(&worker)).await?;
    let watching = {
        let (desk, stop) = (worker.desk().clone(), signals.drain.clone());
        tokio::spawn(async move { watch_file(desk, &args.assignment, LOOK_EACH, stop).await })
    };
    let work = worker.follow(signals.drain.clone());
    let left = signals.leave.run_until_cancelled(work).await;
    watching.abort();
    endpoint.close().await;
    Ok(if left.is_some() { 0 } else { code::INTERRUPTED })
}

fn pages(worker: &Arc<PodWorker>) -> Pages {
    let (told, desk) = (Arc::clone(worker), worker.desk().clone());
    Pages::default()
        .read("/status", move || shows(&told.report()))
        .take("/assignment", move |body| take(&desk, body))
}

/// Takes an assignment, or says which one is followed.
fn take(desk: &AssignmentDesk, body: &[u8]) -> Answer {
    let (status, body) = match desk.offer(body) {
        Ok(generation) => (200, json!({"generation": generation})),
        Err(refusal) => {
            let status = match refusal {
                Refusal::Malformed { .. } => 400,
                Refusal::Superseded { .. } => 409,
            };
            let error = refusal.to_string();
            (status, json!({"generation": desk.generation(), "error": error}))
        }
    };
    Answer { status, body: body.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_taken_superseded_or_not_understood() {
        let desk = AssignmentDesk::new(1);
        let of = |generation: i64| json!({"generation": generation, "workers": []}).to_string();
        let taken = take(&desk, of(7).as_bytes());
        assert_eq!((taken.status, taken.body.as_str()), (200, r#"{"generation":7}"#));
        let older = take(&desk, of(6).as_bytes());
        assert_eq!(older.status, 409);
        assert!(older.body.contains(r#""generation":7"#), "{}", older.body);
        assert_eq!(take(&desk, b"?").status, 400);
    }
}
