//! A worker that keeps running, and what its endpoint says.

use std::net::Ipv4Addr;

use tidegate_testing::{TidegateProcess, ask_http, eventually, free_port};

use super::bench::{Bench, LONG};
use super::pipeline::Pipeline;

/// A running `tidegate run` whose endpoint is known.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) process: TidegateProcess,
    pub(crate) port: u16,
}

impl Bench {
    /// Starts `tidegate run` and waits until its endpoint answers.
    pub(crate) async fn serve(&self, pipeline: &Pipeline, name: &str) -> Serving {
        let port = free_port().unwrap();
        let run =
            self.run_command(pipeline).argument("--listen").argument(format!("127.0.0.1:{port}"));
        let process = run.spawn(name, self.scratch.path()).unwrap();
        let serving = Serving { process, port };
        let answers = async || serving.get("/livez").await.is_some();
        eventually("the endpoint answers", LONG, answers).await.unwrap();
        serving
    }
}

impl Serving {
    /// Status and body; none while nobody listens.
    pub(crate) async fn get(&self, path: &str) -> Option<(u16, String)> {
        let server = (Ipv4Addr::LOCALHOST, self.port).into();
        ask_http(server, ("GET", path), &[], &[]).await.ok()
    }

    /// The sum of a metric over its labels; zero when it is not there.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let Some((_, body)) = self.get("/metrics").await else { return 0.0 };
        let value = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            (series.split('{').next() == Some(name)).then(|| value.parse::<f64>().ok())?
        };
        body.lines().filter_map(value).sum()
    }

    /// Waits until the metric is as it should be.
    pub(crate) async fn wait_for_metric(&self, name: &str, is: impl Fn(f64) -> bool) {
        let reached = async || is(self.metric(name).await);
        if let Err(error) = eventually(name, LONG, reached).await {
            panic!("{error}: {}\n{}", self.metric(name).await, self.process.output());
        }
    }
}
