//! What a container is started with: the way from a pod's spec to arguments and environment.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use k8s_openapi::api::core::v1::{Container, EnvVar, Pod};

use super::objects::Objects;

/// A pod and what surrounds it.
#[derive(Clone, Copy)]
pub(crate) struct PodPlace<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) address: Ipv4Addr,
    pub(crate) objects: &'a Objects,
}

/// The environment of a container, in the order of the spec: later ones may use earlier ones.
pub(crate) fn environment(container: &Container, pod: PodPlace<'_>) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    for variable in container.env.iter().flatten() {
        let value = match &variable.value {
            Some(value) => expand(value, &environment),
            None => value_from(variable, container, pod).unwrap_or_default(),
        };
        environment.insert(variable.name.clone(), value);
    }
    environment
}

/// `$(NAME)` becomes the variable, `$$` a dollar; unknown names stay, as Kubernetes has it.
pub(crate) fn expand(text: &str, environment: &BTreeMap<String, String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let name = rest.strip_prefix('(').and_then(|name| name.split_once(')'));
        match name {
            Some((name, behind)) => {
                let unknown = || format!("$({name})");
                expanded.push_str(&environment.get(name).cloned().unwrap_or_else(unknown));
                rest = behind;
            }
            None => {
                expanded.push('$');
                rest = rest.strip_prefix('$').unwrap_or(rest);
            }
        }
    }
    expanded + rest
}

/// Paths at which something is mounted, below it or above it lie below `root` on this machine. An
/// argument may carry its path behind `=`.
pub(crate) fn relocate(text: &str, mounts: &[String], root: &Path) -> String {
    let (before, path) = match text.split_once('=') {
        Some((flag, path)) if path.starts_with('/') => (format!("{flag}="), path),
        _ => (String::new(), text),
    };
    let inside = |inner: &str, outer: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let concerned = path.len() > 1
        && path.starts_with('/')
        && mounts.iter().any(|mount| inside(path, mount) || inside(mount, path));
    if concerned { format!("{before}{}{path}", root.display()) } else { text.to_owned() }
}

fn value_from(
    variable: &EnvVar,
    container: &Container,
    PodPlace { pod, address, objects }: PodPlace<'_>,
) -> Option<String> {
    let source = variable.value_from.as_ref()?;
    if let Some(field) = &source.field_ref {
        return pod_field(&field.field_path, pod, address);
    }
    if let Some(reference) = &source.config_map_key_ref {
        let value = objects.config_map(&reference.name)?.remove(&reference.key)?;
        return String::from_utf8(value).ok();
    }
    if let Some(reference) = &source.secret_key_ref {
        let value = objects.secret(&reference.name)?.remove(&reference.key)?;
        return String::from_utf8(value).ok();
    }
    let resource = &source.resource_field_ref.as_ref()?.resource;
    let (group, name) = resource.split_once('.')?;
    let resources = container.resources.as_ref()?;
    let group = if group == "limits" { &resources.limits } else { &resources.requests };
    whole_number(&group.as_ref()?.get(name)?.0)
}

/// The fields that the downward API knows and we use.
pub(crate) fn pod_field(path: &str, pod: &Pod, address: Ipv4Addr) -> Option<String> {
    let (metadata, spec) = (&pod.metadata, pod.spec.as_ref());
    match path {
        "metadata.name" => metadata.name.clone(),
        "metadata.namespace" => metadata.namespace.clone(),
        "metadata.uid" => metadata.uid.clone(),
        "spec.nodeName" => spec?.node_name.clone(),
        "spec.serviceAccountName" => spec?.service_account_name.clone(),
        "status.podIP" | "status.podIPs" | "status.hostIP" => Some(address.to_string()),
        _ => {
            let (map, key) = path.strip_suffix("']")?.split_once("['")?;
            let map = match map {
                "metadata.labels" => metadata.labels.as_ref()?,
                "metadata.annotations" => metadata.annotations.as_ref()?,
                _ => return None,
            };
            map.get(key).cloned()
        }
    }
}

/// A quantity as a whole number: bytes, or cores rounded up.
fn whole_number(quantity: &str) -> Option<String> {
    let digits = quantity.find(|c: char| !c.is_ascii_digit()).unwrap_or(quantity.len());
    let (number, unit) = quantity.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let whole = match unit {
        "" => number,
        "m" => number.div_ceil(1000),
        "k" => number * 1_000,
        "M" => number * 1_000_000,
        "G" => number * 1_000_000_000,
        "Ki" => number << 10,
        "Mi" => number << 20,
        "Gi" => number << 30,
        _ => return None,
    };
    Some(whole.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_expanded_as_kubernetes_does() {
        let environment = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        for (text, wanted) in [
            ("$(A)", "1"),
            ("x$(A)y$(A)", "x1y1"),
            ("$$(A)", "$(A)"),
            ("$(B)", "$(B)"),
            ("$A $", "$A $"),
            ("$(A", "$(A"),
        ] {
            assert_eq!(expand(text, &environment), wanted, "{text}");
        }
    }

    #[test]
    fn paths_around_a_mount_move_and_others_stay() {
        let mounts = ["/etc/tidegate/config".to_owned(), "/etc/tidegate/secrets/a".to_owned()];
        for (text, wanted) in [
            ("/etc/tidegate/config/pipeline.json", "/node/etc/tidegate/config/pipeline.json"),
            ("--config=/etc/tidegate/config", "--config=/node/etc/tidegate/config"),
            ("/etc/tidegate/secrets", "/node/etc/tidegate/secrets"),
            ("/etc/tidegate/configuration", "/etc/tidegate/configuration"),
            ("nats://host", "nats://host"),
            ("", ""),
        ] {
            assert_eq!(relocate(text, &mounts, Path::new("/node")), wanted, "{text}");
        }
    }

    #[test]
    fn quantities_become_whole_numbers() {
        for (quantity, wanted) in
            [("512Mi", "536870912"), ("250m", "1"), ("2", "2"), ("1G", "1000000000")]
        {
            assert_eq!(whole_number(quantity).as_deref(), Some(wanted));
        }
        assert_eq!(whole_number("1.5Gi"), None);
    }
}
