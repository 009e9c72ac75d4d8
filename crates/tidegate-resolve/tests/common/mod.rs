//! Documents with values set in them.

use serde_json::Value;
use tidegate_api::{IngestionPipeline, check};

/// The pipeline of a document with values set at paths below its `spec`.
pub(crate) fn pipeline(mut document: Value, changes: &[(&str, Value)]) -> IngestionPipeline {
    for (path, value) in changes {
        let mut node = &mut document["spec"];
        for step in path.split('.') {
            node = &mut node[step];
        }
        *node = value.clone();
    }
    let found = check("f.yaml", vec![document]).unwrap_or_else(|faults| panic!("{faults:#?}"));
    found.pipelines.into_iter().next().expect("one")
}
