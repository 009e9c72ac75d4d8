//! Reading pipelines as they came from the API server.

use kube::core::DynamicObject;
use serde_json::Value;
use tidegate_api::{IngestionPipeline, IngestionPipelineStatus, SourceType, read_pipeline};
use tidegate_types::Reason;

use super::rejection::{Rejection, invalid};

/// Reads the resource; what is wrong with it is about this resource alone.
pub(crate) fn read(object: &DynamicObject) -> Result<IngestionPipeline, Rejection> {
    let value = serde_json::to_value(object).map_err(|error| Rejection {
        reason: Reason::InvalidConfiguration,
        message: error.to_string(),
    })?;
    read_pipeline(&value).map_err(|violations| invalid(&violations))
}

/// The status; none when there is none, or none that can be read, which is then written anew.
pub(crate) fn status_of(object: &DynamicObject) -> Option<IngestionPipelineStatus> {
    let status: &Value = object.data.get("status")?;
    serde_json::from_value(status.clone()).ok()
}

/// Whether a pipeline is made of runs.
pub(crate) fn is_bulk(object: &DynamicObject) -> bool {
    let written = object.data.pointer("/spec/source/type").cloned().unwrap_or_default();
    serde_json::from_value::<SourceType>(written).is_ok_and(SourceType::is_bulk)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pipeline_is_told_by_its_source() {
        for (source, bulk) in [
            (json!("Postgres"), true),
            (json!("MySQL"), true),
            (json!("ObjectStore"), true),
            (json!("JetStream"), false),
            (json!("Kafka"), false),
            (json!(7), false),
        ] {
            let object: DynamicObject = serde_json::from_value(json!({
                "apiVersion": "tidegate.dev/v1alpha1", "kind": "IngestionPipeline",
                "metadata": {"name": "p"}, "spec": {"source": {"type": source}},
            }))
            .unwrap();
            assert_eq!(is_bulk(&object), bulk, "{source}");
        }
    }
}
