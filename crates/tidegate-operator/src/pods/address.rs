//! Where pods listen.

use k8s_openapi::api::core::v1::Pod;

/// The port where pods say how they are.
pub(crate) const PORT: i32 = 8080;
/// Its name.
pub(crate) const PORT_NAME: &str = "http";

/// The address of a pod that runs.
pub(crate) fn address(pod: &Pod) -> Option<&str> {
    let status = pod.status.as_ref()?;
    let running = status.phase.as_deref() == Some("Running");
    status.pod_ip.as_deref().filter(|address| running && !address.is_empty())
}

/// Where the pod at `address` listens: `http://<address>:<port>`.
pub(crate) fn base_url(address: &str) -> String {
    match address.contains(':') {
        true => format!("http://[{address}]:{PORT}"),
        false => format!("http://{address}:{PORT}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_addresses_are_written_right() {
        assert_eq!(base_url("10.0.0.7"), "http://10.0.0.7:8080");
        assert_eq!(base_url("fd00::7"), "http://[fd00::7]:8080");
    }
}
