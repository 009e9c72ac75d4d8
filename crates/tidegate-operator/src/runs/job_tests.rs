//! The Jobs of bulk pipelines.

use insta::assert_yaml_snapshot;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::*;
use crate::bulk::accepted;
use crate::calendar::{Ask, Purpose, calendar_job};
use crate::objects::fixtures::settings;
use crate::runs::chunk_job::{ChunkWork, chunk_job};
use crate::runs::read::read;

const TOKEN: &str = "00000000000000cd00000000000000ef";

const CHANGES: &str = "
source: {postgres: {tls: {caRef: {kind: ConfigMap, name: db-ca, key: ca.crt}}}}
sink: {storage: {secretRef: {name: lake}}}
bulk: {runTemplate: {activeDeadlineSeconds: 7200}}
";

fn run(trigger: &str, rerun: bool) -> Run {
    let mut object = json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "IngestionRun",
        "metadata": {"name": "orders-20260601t010000z", "namespace": "shop", "uid": "run-uid"},
        "spec": {"pipelineRef": {"name": "orders"}, "trigger": trigger, "interval":
            {"start": "2026-06-01T00:00:00Z", "end": "2026-06-01T01:00:00Z"}},
    });
    if rerun {
        object["metadata"]["annotations"] = json!({"tidegate.dev/rerun": "true"});
    }
    read(&serde_json::from_value(object).unwrap()).unwrap()
}

fn next(run: &Run, number: u32) -> NextAttempt<'_> {
    NextAttempt { run, wish: run.wish.as_ref().unwrap(), number, token: TOKEN }
}

fn attempt(run: &Run, number: u32) -> Job {
    transfer_job(&accepted(CHANGES), &settings(), next(run, number))
}

fn calendar() -> Job {
    let range = "2026-06-01T00:00:00Z/2026-06-02T00:00:00Z".parse().unwrap();
    calendar_job(&accepted(CHANGES), &settings(), &Ask { purpose: Purpose::Schedule, range })
}

/// The names of Secrets and ConfigMaps whose keys a Job's pod gets to see.
fn mounted(job: &Job) -> Vec<String> {
    let pod: Value = serde_json::to_value(&job.spec.as_ref().unwrap().template).unwrap();
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    let sources = volumes.iter().filter_map(|volume| volume["projected"]["sources"].as_array());
    let name = |source: &Value| {
        let named = source.get("secret").or(source.get("configMap")).unwrap();
        named["name"].as_str().unwrap().to_owned()
    };
    sources.flatten().map(name).collect()
}

fn arguments(job: &Job) -> Vec<String> {
    let template = &job.spec.as_ref().unwrap().template;
    template.spec.as_ref().unwrap().containers[0].args.clone().unwrap()
}

#[test]
fn an_attempt_is_a_job_of_its_run_that_kubernetes_does_not_repeat() {
    let job = attempt(&run("Scheduled", false), 2);
    assert_eq!(job.name_any(), "orders-20260601t010000z-g2");
    let owner = &job.owner_references()[0];
    assert_eq!((owner.kind.as_str(), owner.uid.as_str()), ("IngestionRun", "run-uid"));
    assert_eq!(job.labels()["tidegate.dev/attempt"], "2");
    let spec = job.spec.as_ref().unwrap();
    assert_eq!((spec.backoff_limit, spec.active_deadline_seconds), (Some(0), Some(7200)));
    assert_eq!(spec.ttl_seconds_after_finished, None, "its end must be seen");
    let pod = spec.template.spec.as_ref().unwrap();
    assert_eq!(pod.restart_policy.as_deref(), Some("Never"));
    assert_eq!(pod.automount_service_account_token, Some(false));
    let labels = spec.template.metadata.as_ref().unwrap().labels.as_ref().unwrap();
    assert_eq!(labels["tidegate.dev/run"], "orders-20260601t010000z");
    assert_eq!(
        labels["tidegate.dev/pipeline"], "orders",
        "the policy of the network is for it too"
    );
}

#[test]
fn an_attempt_is_told_what_the_run_asks_for() {
    let interval = ["--interval", "2026-06-01T00:00:00Z/2026-06-01T01:00:00Z"];
    for (trigger, rerun) in
        [("Scheduled", false), ("Manual", false), ("Backfill", true), ("Repair", false)]
    {
        let told = arguments(&attempt(&run(trigger, rerun), 1));
        assert_eq!(told[0], "transfer");
        let has = |pair: [&str; 2]| told.windows(2).any(|found| found == pair);
        assert!(has(["--trigger", trigger]) && has(interval), "{told:?}");
        assert!(has(["--run", "orders-20260601t010000z/run-uid"]), "{told:?}");
        assert!(has(["--config", "/etc/tidegate/config/pipeline.json"]), "{told:?}");
        assert!(has(["--address", "$(POD_IP)"]) && has(["--port", "8080"]), "{told:?}");
        assert_eq!(told.iter().any(|argument| argument == "--rerun"), rerun, "{told:?}");
        assert!(!told.contains(&"--data-dir".to_owned()), "it keeps nothing: {told:?}");
    }
}

#[test]
fn an_attempt_gets_the_secrets_of_source_and_table_and_the_question_those_of_the_table() {
    assert_eq!(mounted(&attempt(&run("Manual", false), 1)), ["db-ca", "lake", "orders-db"]);
    assert_eq!(mounted(&calendar()), ["lake"]);
}

#[test]
fn neither_asks_the_machine_for_keys() {
    for job in [attempt(&run("Manual", false), 1), calendar()] {
        let template = &job.spec.as_ref().unwrap().template;
        let env = template.spec.as_ref().unwrap().containers[0].env.clone().unwrap();
        let found = env.iter().find(|variable| variable.name == "AWS_EC2_METADATA_DISABLED");
        assert_eq!(found.and_then(|it| it.value.as_deref()), Some("true"), "{}", job.name_any());
    }
}

#[test]
fn a_question_is_a_job_of_the_pipeline_that_ends_soon() {
    let job = calendar();
    assert_eq!(job.owner_references()[0].kind, "IngestionPipeline");
    let told = arguments(&job);
    assert_eq!(told[0], "calendar");
    assert!(told.contains(&"2026-06-01T00:00:00Z/2026-06-02T00:00:00Z".to_owned()), "{told:?}");
    let spec = job.spec.as_ref().unwrap();
    assert_eq!((spec.backoff_limit, spec.active_deadline_seconds), (Some(0), Some(300)));
}

fn readers(coordinator: &Job, address: &str) -> Job {
    let work = ChunkWork {
        run: "orders-20260601t010000z".to_owned(),
        attempt: 2,
        address: address.to_owned(),
        chunks: 16,
        desk: DeskReport { nonce: "00000000000000ab".to_owned(), parallelism: 4 },
    };
    chunk_job(coordinator, &work)
}

/// The coordinator's Job as the API server gives it back.
fn live_attempt() -> Job {
    let mut job = attempt(&run("Scheduled", false), 2);
    let controllers = [
        ("batch.kubernetes.io/controller-uid", "job"),
        ("batch.kubernetes.io/job-name", "orders-20260601t010000z-g2"),
        ("controller-uid", "job"),
        ("job-name", "orders-20260601t010000z-g2"),
    ];
    let spec = job.spec.as_mut().unwrap();
    let labels = spec.template.metadata.as_mut().unwrap().labels.as_mut().unwrap();
    labels.extend(controllers.map(|(key, value)| (key.to_owned(), value.to_owned())));
    job
}

#[test]
fn the_readers_of_an_attempt_are_an_indexed_job_made_from_its_coordinator() {
    assert_yaml_snapshot!("chunks_job", readers(&live_attempt(), "10.0.0.7"));
}

#[test]
fn readers_see_the_secrets_of_their_coordinator_and_differ_by_their_command_alone() {
    let coordinator = live_attempt();
    let job = readers(&coordinator, "fd00::7");
    assert_eq!(mounted(&job), mounted(&coordinator));
    let told = arguments(&job);
    assert_eq!(told[0], "transfer-chunk");
    let has = |pair: [&str; 2]| told.windows(2).any(|found| found == pair);
    assert!(has(["--coordinator", "http://[fd00::7]:8080"]), "{told:?}");
    assert!(!told.iter().any(|argument| argument == "--run"), "{told:?}");
    let pods = |job: &Job| {
        let mut pod = job.spec.as_ref().unwrap().template.spec.clone().unwrap();
        pod.containers[0].args = None;
        pod
    };
    assert_eq!(pods(&job), pods(&coordinator));
}

#[test]
fn coordinator_and_readers_share_a_secret_where_chunks_have_pods_of_their_own() {
    let token = |job: &Job| {
        let template = &job.spec.as_ref().unwrap().template;
        let env = template.spec.as_ref().unwrap().containers[0].env.clone().unwrap();
        let found = env.into_iter().find(|variable| variable.name == DeskReport::TOKEN_VARIABLE);
        found.and_then(|variable| variable.value)
    };
    assert_eq!(token(&attempt(&run("Manual", false), 1)), None, "there is no desk");
    let run = run("Manual", false);
    let pods = accepted("bulk: {chunking: {placement: Pods}}");
    let coordinator = transfer_job(&pods, &settings(), next(&run, 1));
    for job in [&coordinator, &readers(&coordinator, "10.0.0.7")] {
        assert_eq!(token(job).as_deref(), Some(TOKEN));
        assert!(!arguments(job).iter().any(|argument| argument.contains(TOKEN)));
    }
}

#[test]
fn a_question_for_the_calendar_is_told_by_its_label_however_runs_are_called() {
    assert!(labels::is_of(&calendar(), Component::Calendar));
    let called = Run { name: "orders-calendar-june".to_owned(), ..run("Manual", false) };
    assert!(!labels::is_of(&attempt(&called, 1), Component::Calendar));
}
