//! Pods as processes, and questions to them.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_testing::{TidegateCommand, ask_http, eventually, free_port};

use crate::support::{Bench, LONG, Outgoing, Pipeline, Serving};

/// A running pod.
pub(crate) struct Pod {
    pub(crate) serving: Serving,
    pub(crate) name: String,
}

/// A pipeline with four partitions.
pub(crate) fn partitioned(pipeline: Pipeline) -> Pipeline {
    let partitioning = json!({"type": "Subject", "partitions": 4, "idSubjectStable": true});
    pipeline.set("source.jetStream.partitioning", partitioning)
}

/// Messages `from` to `to` (exclusive), their subjects spread over the partitions.
pub(crate) fn numbered(pipeline: &Pipeline, from: u64, to: u64) -> Vec<Outgoing> {
    let message = |n: u64| {
        let id = format!("id-{n:06}");
        let subject = pipeline.subject(&format!("s{}", n % 16));
        Outgoing::new(&subject, json!({"id": id, "n": n}).to_string()).header("Event-Id", &id)
    };
    (from..to).map(message).collect()
}

/// Who reads which partitions.
pub(crate) fn assignment(generation: i64, workers: &[(&str, &[u32])]) -> Value {
    let workers: Vec<_> = workers
        .iter()
        .map(|(name, partitions)| json!({"name": name, "partitions": partitions}))
        .collect();
    json!({"generation": generation, "workers": workers})
}

impl Bench {
    fn pod_folder(&self, pipeline: &Pipeline) -> PathBuf {
        self.scratch.join(&format!("{}-pods", pipeline.name))
    }

    /// Where secrets are mounted.
    pub(crate) fn secrets(&self, pipeline: &Pipeline) -> PathBuf {
        self.pod_folder(pipeline).join("secrets")
    }

    /// Lays out the resolved configuration as the operator does.
    fn configure(&self, pipeline: &Pipeline) -> PathBuf {
        let document = std::fs::read(pipeline.write()).unwrap();
        let resource = serde_json::from_slice(&document).unwrap();
        let config = tidegate_resolve::resolve(&resource).unwrap().into_stream().unwrap();
        std::fs::create_dir_all(self.secrets(pipeline)).unwrap();
        let file = self.pod_folder(pipeline).join("pipeline.json");
        std::fs::write(&file, serde_json::to_vec(&config).unwrap()).unwrap();
        file
    }

    /// Mounts an assignment.
    pub(crate) fn mount(&self, pipeline: &Pipeline, assignment: &Value) {
        let folder = self.pod_folder(pipeline);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("new.json"), assignment.to_string()).unwrap();
        std::fs::rename(folder.join("new.json"), folder.join("assignment.json")).unwrap();
    }

    fn command(&self, subcommand: &str, pipeline: &Pipeline) -> TidegateCommand {
        TidegateCommand::new(subcommand)
            .unwrap()
            .argument("--config")
            .argument(self.configure(pipeline))
            .argument("--secrets-dir")
            .argument(self.secrets(pipeline))
            .environment("TIDEGATE_KEEPER_HASTE", "20")
    }

    /// Starts a worker and waits until it answers.
    pub(crate) async fn worker(&self, pipeline: &Pipeline, name: &str) -> Pod {
        let folder = self.pod_folder(pipeline);
        let command = self
            .command("worker", pipeline)
            .argument("--assignment")
            .argument(folder.join("assignment.json"))
            .argument("--name")
            .argument(name)
            .argument("--data-dir")
            .argument(folder.join(format!("data-{name}")));
        self.start_pod(command, name).await
    }

    /// Starts the agent and waits until it answers.
    pub(crate) async fn agent(&self, pipeline: &Pipeline) -> Pod {
        self.start_pod(self.command("agent", pipeline), &format!("{}-agent", pipeline.name)).await
    }

    async fn start_pod(&self, command: TidegateCommand, name: &str) -> Pod {
        let port = free_port().unwrap();
        let command = command.argument("--port").argument(port.to_string());
        let process = command.spawn(name, self.scratch.path()).unwrap();
        let pod = Pod { serving: Serving { process, port }, name: name.to_owned() };
        let answers = async || pod.serving.get("/status").await.is_some();
        eventually("the pod answers", LONG, answers).await.unwrap();
        pod
    }

    /// `tidegate cleanup` to its end: exit code and termination message.
    pub(crate) async fn cleanup(&self, pipeline: &Pipeline, what: &[&str]) -> (Option<i32>, Value) {
        let message = self.scratch.join("termination-log");
        let mut command = self
            .command("cleanup", pipeline)
            .environment("TIDEGATE_TERMINATION_LOG", message.to_str().unwrap());
        for argument in what {
            command = command.argument(argument);
        }
        let ended = self.end(command, "cleanup").await;
        let message = std::fs::read(&message).unwrap_or_else(|e| panic!("{e}\n{}", ended.output));
        (ended.code, serde_json::from_slice(&message).unwrap())
    }

    /// Gives an assignment to every worker.
    pub(crate) async fn assign(&self, workers: &[&Pod], assignment: &Value) {
        for worker in workers {
            let (status, body) = worker.post("/assignment", &assignment.to_string()).await;
            assert_eq!(status, 200, "{body}");
        }
    }
}

impl Pod {
    /// What it says of itself.
    pub(crate) async fn status(&self) -> Value {
        let (_, body) = self.serving.get("/status").await.unwrap_or_else(|| {
            panic!("{} does not answer\n{}", self.name, self.serving.process.output())
        });
        serde_json::from_str(&body).unwrap()
    }

    /// Waits until what it says is as it should be.
    pub(crate) async fn says(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let said = async || is(&self.status().await);
        if let Err(error) = eventually(what, LONG, said).await {
            let output = self.serving.process.output();
            panic!("{error}: {:#}\n{output}", self.status().await);
        }
        self.status().await
    }

    /// Waits until it holds these partitions and reads them all.
    pub(crate) async fn holds(&self, partitions: &[u32]) {
        let is = |status: &Value| {
            status["partitions"] == json!(partitions)
                && status["ready"] == json!(true)
                && status["draining"] == json!(false)
        };
        self.says(&format!("{} holds {partitions:?}", self.name), is).await;
    }

    /// Status and body.
    pub(crate) async fn post(&self, path: &str, body: &str) -> (u16, String) {
        let server = (Ipv4Addr::LOCALHOST, self.serving.port).into();
        ask_http(server, ("POST", path), &[], body.as_bytes()).await.unwrap()
    }

    /// SIGTERM, and the exit code.
    pub(crate) async fn terminate(&mut self) -> Option<i32> {
        self.serving.process.signal("TERM").await.unwrap();
        self.serving.process.wait(Duration::from_secs(30)).await.unwrap().code()
    }
}
