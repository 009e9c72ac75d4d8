//! What the operator keeps of each pipeline between two reconciles.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kube::core::DynamicObject;
use serde_json::Value;
use tidegate_api::{IngestionPipeline, IngestionPipelineStatus};

use super::facts::Rejection;
use super::memory::Memory;
use super::validate;
use crate::bulk::BulkMemory;
use crate::key::Key;

/// Of one pipeline. All of it can be found out again.
#[derive(Debug, Default)]
pub(crate) struct PipelineState {
    /// Another pipeline of the same name has another one.
    uid: String,
    /// What the decisions remember.
    pub(crate) memory: Memory,
    /// What is remembered of a bulk pipeline.
    pub(crate) bulk: BulkMemory,
    /// The generation that was read last, and what it says: evaluating the rules takes a while.
    read: Option<(i64, Arc<Result<IngestionPipeline, Rejection>>)>,
}

impl PipelineState {
    /// The resource's spec. Its status may be an older one, see [`status_of`].
    pub(crate) fn read(
        &mut self,
        object: &DynamicObject,
    ) -> Arc<Result<IngestionPipeline, Rejection>> {
        let generation = object.metadata.generation.unwrap_or_default();
        let known = self.read.as_ref().filter(|(known, _)| *known == generation);
        let read = match known {
            Some((_, read)) => Arc::clone(read),
            None => Arc::new(validate::read(object)),
        };
        self.read = Some((generation, Arc::clone(&read)));
        read
    }
}

/// The status; none when there is none, or none that can be read, which is then written anew.
pub(crate) fn status_of(object: &DynamicObject) -> Option<IngestionPipelineStatus> {
    let status: &Value = object.data.get("status")?;
    serde_json::from_value(status.clone()).ok()
}

/// The states of all pipelines.
#[derive(Debug, Default)]
pub(crate) struct States(Mutex<HashMap<Key, PipelineState>>);

impl States {
    /// Takes a state out for the time of a reconcile. A reconcile that is dropped takes it along.
    pub(crate) fn take(&self, key: &Key, uid: &str) -> PipelineState {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match states.remove(key).filter(|state| state.uid == uid) {
            Some(state) => state,
            None => PipelineState { uid: uid.to_owned(), ..PipelineState::default() },
        }
    }

    pub(crate) fn put_back(&self, key: &Key, state: PipelineState) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), state);
    }

    pub(crate) fn forget(&self, key: &Key) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    pub(crate) fn forget_all(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pipeline_is_read_once_a_generation() {
        let object = |generation: i64, stream: &str| -> DynamicObject {
            serde_json::from_value(json!({
                "apiVersion": "tidegate.dev/v1alpha1",
                "kind": "IngestionPipeline",
                "metadata": {"name": "p", "namespace": "ns", "uid": "u", "generation": generation},
                "spec": {
                    "source": {"type": "JetStream", "jetStream": {"stream": stream}},
                    "schema": {"fields": [{"name": "id", "type": "string"}]},
                    "sink": {"type": "Delta", "storage": {"url": "s3://lake/t"}},
                },
                "status": {"phase": "Idle"},
            }))
            .expect("an object")
        };
        let mut state = PipelineState::default();
        let first = state.read(&object(1, "S"));
        assert!(first.is_ok(), "{first:?}");
        assert!(Arc::ptr_eq(&first, &state.read(&object(1, "S"))));
        assert!(!Arc::ptr_eq(&first, &state.read(&object(2, "T"))));
        let phase = status_of(&object(1, "S")).and_then(|status| status.phase);
        assert_eq!(phase, Some(tidegate_api::Phase::Idle));
    }

    #[test]
    fn a_successor_of_the_same_name_begins_anew() {
        let states = States::default();
        let key = Key::new("ns", "p");
        let mut state = states.take(&key, "one");
        state.memory.rolling = true;
        states.put_back(&key, state);
        assert!(states.take(&key, "one").memory.rolling);
        states.put_back(&key, PipelineState { uid: "one".into(), ..PipelineState::default() });
        assert!(!states.take(&key, "two").memory.rolling);
    }
}
