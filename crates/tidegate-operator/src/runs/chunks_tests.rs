use serde_json::{Value, json};
use tidegate_config::DeskReport;

use super::*;
use crate::pods::PodFacts;
use crate::runs::read::read;
use crate::runs::read::tests::object;

fn run() -> Run {
    read(&object("r", &json!({"trigger": "Manual"}), &json!({"attempt": 2}))).unwrap()
}

fn attempt(report: Option<RunReport>) -> Attempt {
    let pod =
        PodFacts { ready: true, not_ready_since: None, leaving: false, trouble: None, report };
    let address = Some("10.0.0.7".to_owned());
    Attempt { number: 2, ended: None, pod: Some(pod), address, readers_wait: None }
}

fn desk() -> DeskReport {
    DeskReport { nonce: "ab".to_owned(), parallelism: 4 }
}

fn planned() -> Attempt {
    attempt(Some(RunReport { chunks: 16, desk: Some(desk()), ..RunReport::default() }))
}

fn job(name: &str, component: &str, owner: &str, attempt: u32, status: Value) -> Arc<Job> {
    let job = json!({
        "metadata": {
            "name": name, "uid": name,
            "labels": {
                "app.kubernetes.io/component": component,
                "tidegate.dev/attempt": attempt.to_string(),
            },
            "ownerReferences": [{
                "apiVersion": "tidegate.dev/v1alpha1", "kind": "IngestionRun", "name": "r",
                "uid": owner, "controller": true,
            }],
        },
        "status": status,
        "spec": {"template": {"spec": {"containers": [{
            "name": "tidegate",
            "args": ["transfer-chunk", "--nonce", "ab", "--port", "8080"],
            "env": [{"name": "TIDEGATE_DESK_TOKEN", "value": "-secret"}],
        }]}}},
    });
    Arc::new(serde_json::from_value(job).unwrap())
}

fn readers(attempt: u32, status: Value) -> Arc<Job> {
    job(&format!("r-g{attempt}-chunks"), "transfer-chunk", "uid-r", attempt, status)
}

fn failed() -> Value {
    let condition = json!({
        "type": "Failed", "status": "True", "reason": "FailedIndexes", "message": "Job has failed indexes",
    });
    json!({"conditions": [condition], "failedIndexes": "3,5-7"})
}

fn pod(index: u32, code: i32, said: &str, second: u32) -> Arc<Pod> {
    let at = format!("2026-06-01T00:00:{second:02}Z");
    let over = json!({"terminated": {"exitCode": code, "message": said, "finishedAt": at}});
    let pod = json!({
        "metadata": {
            "name": format!("p-{index}-{second}"), "labels": {INDEX: index.to_string()},
            "ownerReferences": [{
                "apiVersion": "batch/v1", "kind": "Job", "name": "r-g2-chunks", "uid": "r-g2-chunks",
                "controller": true,
            }],
        },
        "status": {"containerStatuses": [{
            "name": "tidegate", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
            "state": over,
        }]},
    });
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn decided(
    step: &Step,
    attempt: &Attempt,
    jobs: &[Arc<Job>],
    pods: &[Arc<Pod>],
) -> Option<ChunkStep> {
    chunk_step(ChunkFacts { run: &run(), step, attempt: Some(attempt), jobs, pods })
}

#[test]
fn an_attempt_has_readers_once_its_chunks_wait_and_never_twice() {
    let coordinator = job("r-g2", "transfer", "uid-r", 2, Value::Null);
    let of = |step: &Step, attempt: &Attempt, jobs: &[Arc<Job>]| decided(step, attempt, jobs, &[]);
    let alone = [coordinator.clone()];
    let made = of(&Step::Follow, &planned(), &alone);
    let work = ChunkWork {
        run: "r".to_owned(),
        attempt: 2,
        address: "10.0.0.7".to_owned(),
        chunks: 16,
        desk: desk(),
    };
    assert_eq!(made, Some(ChunkStep::Make(work)));
    for (what, step, attempt, jobs) in [
        (
            "they are there",
            Step::Follow,
            planned(),
            vec![coordinator.clone(), readers(2, Value::Null)],
        ),
        ("it plans", Step::Follow, attempt(Some(RunReport::default())), alone.to_vec()),
        (
            "there is nothing to read",
            Step::Follow,
            attempt(Some(RunReport { desk: Some(desk()), ..RunReport::default() })),
            alone.to_vec(),
        ),
        ("it does not answer", Step::Follow, attempt(None), alone.to_vec()),
        ("the next attempt is made", Step::Start(3), planned(), alone.to_vec()),
        (
            "its pod has no address yet",
            Step::Follow,
            Attempt { address: None, ..planned() },
            alone.to_vec(),
        ),
    ] {
        assert_eq!(of(&step, &attempt, &jobs), None, "{what}");
    }
    for (what, other) in [
        ("an older attempt's", readers(1, Value::Null)),
        ("another run's", job("q", "transfer-chunk", "uid-q", 2, Value::Null)),
    ] {
        let step = of(&Step::Follow, &planned(), &[coordinator.clone(), other]);
        assert!(matches!(step, Some(ChunkStep::Make(_))), "{what} are not its own");
    }
}

#[test]
fn a_coordinator_is_told_which_chunk_was_given_up_and_why() {
    let said = r#"{"phase": "Failed", "reason": "SourceUnreachable", "message": "no answer",
        "generation": 2, "chunksDone": 0, "chunks": 1, "rowsRead": 0, "rowsCommitted": 0,
        "deadLetters": 0, "rowsReplaced": 0}"#;
    let of = |status: Value, pods: &[Arc<Pod>]| {
        let jobs = [readers(2, status)];
        match decided(&Step::Follow, &planned(), &jobs, pods) {
            Some(ChunkStep::GiveUp { told, .. }) => {
                assert_eq!((told.nonce.as_str(), told.permanent), ("ab-secret", None));
                Some((told.chunk, told.message))
            }
            other => {
                assert_eq!(other, None);
                None
            }
        }
    };
    let pods = [pod(3, 75, said, 1), pod(4, 75, "{}", 9), pod(3, 137, "", 5), pod(3, 75, said, 7)];
    let told = |words: &str| Some((Some(3), format!("its reader was given up: {words}")));
    assert_eq!(of(failed(), &pods), told("SourceUnreachable: no answer"));
    assert_eq!(of(failed(), &pods[1..3]), told("its pod ended with exit code 137"));
    assert_eq!(of(failed(), &[]), told("Job has failed indexes"));
    let late = json!({"type": "Failed", "status": "True", "reason": "DeadlineExceeded"});
    let late = of(json!({"conditions": [late]}), &[]);
    assert_eq!(late, Some((None, "its reader was given up: DeadlineExceeded".to_owned())));
    let complete = json!({"conditions": [{"type": "Complete", "status": "True"}]});
    assert_eq!(of(complete, &pods), None);
}

#[test]
fn readers_of_a_coordinator_that_a_restored_cluster_forgot_are_replaced() {
    for status in [Value::Null, failed()] {
        let old = readers(2, status);
        let other = DeskReport { nonce: "cd".to_owned(), parallelism: 4 };
        let present =
            attempt(Some(RunReport { chunks: 16, desk: Some(other), ..RunReport::default() }));
        let jobs = [Arc::clone(&old)];
        let step = decided(&Step::Follow, &present, &jobs, &[]);
        assert_eq!(step, Some(ChunkStep::Remove(old)), "the present one is not told");
    }
}

#[test]
fn a_reader_that_ended_for_good_ends_the_attempt_for_good() {
    let said = |reason: &str| {
        format!(
            r#"{{"phase": "Failed", "reason": "{reason}", "message": "m", "generation": 2,
            "chunksDone": 0, "chunks": 1, "rowsRead": 0, "rowsCommitted": 0, "deadLetters": 0,
            "rowsReplaced": 0}}"#
        )
    };
    let of = |status: Value, pods: &[Arc<Pod>]| {
        let jobs = [readers(2, status)];
        match decided(&Step::Follow, &planned(), &jobs, pods) {
            Some(ChunkStep::GiveUp { told, .. }) => told.permanent,
            other => panic!("{other:?}"),
        }
    };
    let (refused, gone) = (said("SourceRefused"), said("GenerationLost"));
    let late = json!({"conditions": [{"type": "Failed", "status": "True", "reason": "Late"}]});
    for (what, status, pod, permanent) in [
        ("for good", failed(), pod(3, 65, &refused, 1), Some("SourceRefused")),
        ("without a word", failed(), pod(3, 65, "", 1), Some("RunFailed")),
        ("for now", failed(), pod(3, 75, &refused, 1), None),
        ("turned away", failed(), pod(3, 65, &gone, 1), None),
        ("no chunk is to blame", late, pod(3, 65, &refused, 1), None),
    ] {
        assert_eq!(of(status, &[pod]).as_deref(), permanent, "{what}");
    }
}

#[test]
fn readers_go_with_their_attempt() {
    let leaving = {
        let mut job = Job::clone(&readers(1, Value::Null));
        job.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-06-01T00:00:00Z")).unwrap());
        Arc::new(job)
    };
    let jobs = [
        job("r-g2", "transfer", "uid-r", 2, Value::Null),
        readers(1, Value::Null),
        readers(2, Value::Null),
        leaving,
        job("q-g2-chunks", "transfer-chunk", "uid-q", 2, Value::Null),
    ];
    let names = |under_way: &[(&'static str, u32)]| {
        let under_way = under_way.iter().copied().collect();
        left_over(&jobs, &under_way).iter().map(|job| job.name_any()).collect::<Vec<_>>()
    };
    assert_eq!(names(&[("uid-r", 2)]), ["r-g1-chunks", "q-g2-chunks"]);
    assert_eq!(names(&[("uid-r", 3), ("uid-q", 2)]), ["r-g1-chunks", "r-g2-chunks"]);
}
