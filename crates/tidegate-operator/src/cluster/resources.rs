//! The two resources, for objects that are read without their types.

use kube::core::ApiResource;
use tidegate_api::{IngestionPipeline, IngestionRun};

/// The resource of pipelines.
pub(crate) fn pipeline_resource() -> ApiResource {
    ApiResource::erase::<IngestionPipeline>(&())
}

/// The resource of runs.
pub(crate) fn run_resource() -> ApiResource {
    ApiResource::erase::<IngestionRun>(&())
}
