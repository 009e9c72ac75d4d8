//! Secrets of a run that goes through everything are looked for wherever somebody could read.

use std::fs;
use std::path::Path;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use tidegate_api::IngestionPipeline;
use tidegate_testing::{NatsOptions, NatsServer, S3Server, Scratch, TidegateCommand};

use super::super::support::{Document, LONG, Stage};

/// The broker's passwords.
const WORKER: &str = "canaryWorkerPassword4f1d";
const ADMIN: &str = "canaryAdminPassword8a2c";
/// The store's id and secret.
const STORE_KEY: &str = "CANARYSTOREKEY77E0";
const STORE_SECRET: &str = "canaryStoreSecret19bb";
/// What is tried first.
const WRONG: &str = "canaryWrongPassword60cd";
const CANARIES: [&str; 5] = [WORKER, ADMIN, STORE_KEY, STORE_SECRET, WRONG];

/// Everything that kubectl shows to somebody who may not read Secrets.
const SHOWN: &str = "ingestionpipelines,statefulsets,deployments,replicasets,controllerrevisions,jobs,\
     pods,services,endpoints,endpointslices,configmaps,serviceaccounts,poddisruptionbudgets,\
     networkpolicies,leases,events,events.events.k8s.io";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a control plane, nats-server and an S3 server; run by make test"]
async fn secrets_are_nowhere_but_in_their_secrets() {
    let stage = Stage::of_processes("canaries").await;
    let servers = Servers::start(&stage).await;
    let operator = stage.process("operator").await;
    let address = served_at(&operator.output());
    let mut seen = Vec::new();

    // Refused at first: that is when programs like to show what they tried.
    servers.secret(&stage, "nats", &[("username", "worker"), ("password", WRONG)]).await;
    servers.secret(&stage, "admin", &[("username", "admin"), ("password", WRONG)]).await;
    servers.secret(&stage, "store", &servers.keys(WRONG)).await;
    stage.apply(&servers.document).await;
    stage
        .until("the broker refuses", async || {
            stage.condition("clicks", "SourceReachable").await.is_some_and(|c| c.status == "False")
        })
        .await;
    seen.extend(pages(&stage, address.as_deref()).await);
    servers.secret(&stage, "admin", &[("username", "admin"), ("password", ADMIN)]).await;
    servers.secret(&stage, "nats", &[("username", "worker"), ("password", WORKER)]).await;
    stage
        .until("the store refuses", async || {
            stage.condition("clicks", "SinkReachable").await.is_some_and(|c| c.status == "False")
        })
        .await;
    seen.extend(pages(&stage, address.as_deref()).await);
    servers.secret(&stage, "store", &servers.keys(STORE_SECRET)).await;
    stage.until_ready("clicks").await;
    servers.publish().await;
    stage
        .until("rows are committed", async || {
            let status = stage.pipeline("clicks").await.status.unwrap_or_default();
            status.records.is_some_and(|records| records.committed == 200)
        })
        .await;
    seen.extend(pages(&stage, address.as_deref()).await);
    stage.node.kill("clicks-worker-0").await.unwrap();
    stage.until_ready("clicks").await;
    seen.extend(pages(&stage, address.as_deref()).await);
    delete(&stage).await;
    seen.extend(pages(&stage, address.as_deref()).await);

    let found = search(&stage, &seen);
    assert!(found.is_empty(), "{found:#?}");
    assert!(seen.iter().any(|(place, _)| place.contains("/metrics")), "pods have shown metrics");
    assert!(seen.len() > 20, "{} places were looked at", seen.len());
    prove_that_the_search_finds(&stage).await;
}

/// What lies outside of the cluster.
#[derive(Debug)]
struct Servers {
    document: Document,
    scratch: Scratch,
    _nats: NatsServer,
    _store: S3Server,
}

impl Servers {
    async fn start(stage: &Stage) -> Self {
        let scratch = Scratch::new("canaries").unwrap();
        let users = format!(
            "authorization {{ users: [\
             {{user: admin, password: \"{ADMIN}\"}}, {{user: worker, password: \"{WORKER}\"}}] }}"
        );
        let options = NatsOptions { configuration: users, port: None };
        let nats = NatsServer::start_with(&scratch.join("nats"), &options).await.unwrap();
        let keys = (STORE_KEY, STORE_SECRET);
        let store = S3Server::start_for(&scratch.join("store"), "lake", keys).await.unwrap();
        let s3 = json!({"endpoint": store.endpoint(), "region": "us-east-1",
            "addressingStyle": "Path"});
        let secret = |name: &str| json!({"secretRef": {"name": name}});
        let document = Document::new("clicks", &nats.url(), &store.url("clicks"))
            .set("source.jetStream.credentials", secret("nats"))
            .set("source.jetStream.adminCredentials", secret("admin"))
            .set("sink.storage.secretRef", json!({"name": "store"}))
            .set("sink.storage.s3", s3)
            .set("deletionPolicy", json!({"stream": "Delete", "data": "Delete"}))
            .set("ledger", json!(format!("{}.clicks", stage.namespace.name())));
        Self { document, scratch, _nats: nats, _store: store }
    }

    fn keys(&self, secret: &'static str) -> [(&'static str, &'static str); 2] {
        [("AWS_ACCESS_KEY_ID", STORE_KEY), ("AWS_SECRET_ACCESS_KEY", secret)]
    }

    async fn secret(&self, stage: &Stage, name: &str, keys: &[(&str, &str)]) {
        let data: serde_json::Map<String, Value> =
            keys.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
            "stringData": data});
        stage.namespace.apply(&secret).await.unwrap();
    }

    async fn publish(&self) {
        let lines: String =
            (0..200).map(|n| format!("{{\"id\": \"{n}\", \"n\": {n}}}\n")).collect();
        let (input, file) = (self.scratch.join("lines"), self.scratch.join("clicks.yaml"));
        fs::write(&input, lines).unwrap();
        fs::write(&file, self.document.value().to_string()).unwrap();
        for (secret, user, password) in [("nats", "worker", WORKER), ("admin", "admin", ADMIN)] {
            let folder = self.scratch.join("secrets").join(secret);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("username"), user).unwrap();
            fs::write(folder.join("password"), password).unwrap();
        }
        let mut process = TidegateCommand::new("publish")
            .unwrap()
            .argument("-f")
            .argument(&file)
            .argument("--secrets-dir")
            .argument(self.scratch.join("secrets"))
            .argument("--subject=clicks.{id}")
            .argument("--id-field=id")
            .argument("--input")
            .argument(&input)
            .spawn("publish", &self.scratch.join("publish"))
            .unwrap();
        assert!(process.wait(LONG).await.unwrap().success(), "{}", process.output());
    }
}

async fn delete(stage: &Stage) {
    let pipelines = stage.namespace.api::<IngestionPipeline>();
    pipelines.delete("clicks", &DeleteParams::default()).await.unwrap();
    let gone = async || pipelines.get_opt("clicks").await.unwrap().is_none();
    stage.until("it is gone", gone).await;
}

/// Everything that the cluster and the pods show now, by its place.
async fn pages(stage: &Stage, operator: Option<&str>) -> Vec<(String, String)> {
    let shown = stage.namespace.kubectl(&["get", SHOWN, "--output=yaml"]).await.unwrap();
    let mut pages = vec![("kubectl get".to_owned(), shown)];
    let pods = stage.namespace.api::<Pod>().list(&ListParams::default()).await.unwrap();
    let addresses = pods.items.iter().filter_map(|pod| pod.status.as_ref()?.pod_ip.clone());
    let addresses = addresses.map(|ip| format!("{ip}:8080")).chain(operator.map(str::to_owned));
    for address in addresses {
        for page in ["/metrics", "/status", "/readyz", "/livez"] {
            let url = format!("http://{address}{page}");
            // One that ends just now says nothing.
            let Ok(answer) = reqwest::get(&url).await else { continue };
            pages.push((url, answer.text().await.unwrap_or_default()));
        }
    }
    pages
}

/// Where a canary is, in what was seen and in every file of the node but the mounted Secrets themselves.
fn search(stage: &Stage, pages: &[(String, String)]) -> Vec<String> {
    let mut found: Vec<_> =
        pages.iter().filter(|(_, text)| sings(text)).map(|(place, _)| place.clone()).collect();
    search_files(&stage.node.folder(), &mut found);
    found
}

fn search_files(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            if !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("secrets")) {
                search_files(&path, found);
            }
        } else if sings(&String::from_utf8_lossy(&fs::read(&path).unwrap_or_default())) {
            found.push(path.display().to_string());
        }
    }
}

/// Whether a canary is in it, as it is or as Kubernetes writes Secrets.
fn sings(text: &str) -> bool {
    CANARIES.iter().any(|canary| text.contains(canary) || text.contains(&base64(canary)))
}

/// Without the last letters, which depend on what follows.
fn base64(text: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let groups = text.as_bytes().chunks_exact(3);
    let letters = groups.flat_map(|group| {
        let bits = group.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| char::from(LETTERS[bits >> shift & 63]))
    });
    letters.collect()
}

/// The address in the operator's log.
fn served_at(log: &str) -> Option<String> {
    let (_, rest) = log.split_once("127.0.0.1:")?;
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some(format!("127.0.0.1:{port}"))
}

async fn prove_that_the_search_finds(stage: &Stage) {
    let planted = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "planted"},
        "data": {"key": format!("nats://worker:{WORKER}@nats")}});
    stage.namespace.apply(&planted).await.unwrap();
    let file = stage.node.folder().join("planted.out");
    fs::write(&file, format!("error: {}", base64(STORE_SECRET))).unwrap();
    let found = search(stage, &pages(stage, None).await);
    assert_eq!(found, ["kubectl get".to_owned(), file.display().to_string()]);
}
