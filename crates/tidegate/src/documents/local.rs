//! `--profile local`: a pipeline made for a cluster runs on a laptop.

use std::path::Path;

use serde_json::{Map, Value, json};

const SINK_STORAGE: &str = "/spec/sink/storage";
const JET_STREAM: &str = "/spec/source/jetStream";
/// Whose table it is, of a pipeline that repairs another one's.
const REPAIRED: &str = "/spec/bulk/repairs/pipelineRef/name";

/// What of a source points into somebody's cluster.
const REMOTE_SOURCE: [&str; 4] = ["servers", "credentials", "adminCredentials", "tls"];

/// `--profile local`: the table becomes a folder below `data_dir`, named for the pipeline, and the
/// stream comes from the embedded server.
pub(crate) fn apply_local_profile(document: &mut Value, data_dir: &Path) {
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str);
    let name = text(REPAIRED).or_else(|| text("/metadata/name")).unwrap_or("pipeline");
    let table = data_dir.join("tables").join(name);
    if let Some(storage) = document.pointer_mut(SINK_STORAGE) {
        *storage = json!({"url": file_url(&table)});
    }
    if let Some(source) = document.pointer_mut(JET_STREAM).and_then(Value::as_object_mut) {
        remove_all(source, &REMOTE_SOURCE);
        // One server keeps one copy.
        if let Some(retention) = source.get_mut("retention").and_then(Value::as_object_mut) {
            retention.remove("replicas");
        }
    }
}

/// The URL of an absolute path; one that cannot be written as a URL is refused by the check that
/// follows.
fn file_url(path: &Path) -> String {
    match url::Url::from_file_path(path) {
        Ok(url) => url.to_string(),
        Err(()) => format!("file://{}", path.display()),
    }
}

fn remove_all(fields: &mut Map<String, Value>, names: &[&str]) {
    for name in names {
        fields.remove(*name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_profile_points_nowhere_else() {
        let mut document = json!({
            "metadata": {"name": "clicks"},
            "spec": {
                "source": {"jetStream": {
                    "servers": ["nats://nats:4222"], "stream": "S", "credentials": {}, "tls": {},
                    "adminCredentials": {}, "retention": {"replicas": 3, "maxAge": "1h"},
                }},
                "sink": {"storage": {"url": "s3://a/b", "secretRef": {"name": "s"}, "s3": {}}},
            },
        });
        apply_local_profile(&mut document, Path::new("/my data"));
        assert_eq!(
            document["spec"],
            json!({
                "source": {"jetStream": {"stream": "S", "retention": {"maxAge": "1h"}}},
                "sink": {"storage": {"url": "file:///my%20data/tables/clicks"}},
            })
        );
    }
}
