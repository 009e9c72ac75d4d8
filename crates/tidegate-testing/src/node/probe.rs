//! Probes over HTTP.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::time::timeout;

use crate::http::ask_http;

/// How often a container that is not ready yet is asked: a real kubelet is slower, tests are impatient.
pub(crate) const EAGER: Duration = Duration::from_millis(100);
/// How often one that is ready is asked, at most.
const STEADY: Duration = Duration::from_millis(500);

/// Where a probe knocks, and how many refusals in a row it takes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HttpProbe {
    address: SocketAddr,
    path: String,
    limit: Duration,
    /// The pause between two probes.
    pub(crate) period: Duration,
    /// Refusals in a row until it counts.
    pub(crate) threshold: u32,
}

impl HttpProbe {
    /// None when the probe does not ask by HTTP.
    pub(crate) fn new(probe: &Probe, container: &Container, ip: Ipv4Addr) -> Option<Self> {
        let get = probe.http_get.as_ref()?;
        let port = match &get.port {
            IntOrString::Int(port) => u16::try_from(*port).ok()?,
            IntOrString::String(name) => port_named(container, name)?,
        };
        let seconds = |value: Option<i32>, default: i32| {
            let value = u64::try_from(value.unwrap_or(default)).unwrap_or(1);
            Duration::from_secs(value.max(1))
        };
        Some(Self {
            address: (ip, port).into(),
            path: get.path.clone().unwrap_or_else(|| "/".to_owned()),
            limit: seconds(probe.timeout_seconds, 1),
            period: seconds(probe.period_seconds, 10).min(STEADY),
            threshold: u32::try_from(probe.failure_threshold.unwrap_or(3)).unwrap_or(1).max(1),
        })
    }

    /// Whether the answer is a good one.
    pub(crate) async fn passes(&self) -> bool {
        let status = timeout(self.limit, self.status()).await;
        matches!(status, Ok(Ok(200..400)))
    }

    async fn status(&self) -> std::io::Result<u16> {
        Ok(ask_http(self.address, ("GET", &self.path), &[], &[]).await?.0)
    }
}

fn port_named(container: &Container, name: &str) -> Option<u16> {
    let mut ports = container.ports.iter().flatten();
    let port = ports.find(|port| port.name.as_deref() == Some(name))?;
    u16::try_from(port.container_port).ok()
}
