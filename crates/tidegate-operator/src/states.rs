//! What a controller keeps of each of its pipelines between two reconciles. All of it can be found out again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use kube::core::DynamicObject;
use tidegate_api::IngestionPipeline;

use crate::apply::Rewrites;
use crate::key::Key;
use crate::validation::{Rejection, read};

/// Of one pipeline; `M` is what its controller remembers.
#[derive(Debug, Default)]
pub(crate) struct PipelineState<M> {
    /// Another pipeline of the same name has another one.
    uid: String,
    /// What is remembered.
    pub(crate) memory: M,
    /// Objects that do not come out as they are applied.
    pub(crate) rewrites: Rewrites,
    /// The generation that was read last, and what it says: evaluating the rules takes a while.
    read: Option<(i64, Arc<Result<IngestionPipeline, Rejection>>)>,
}

impl<M> PipelineState<M> {
    /// The resource's spec. Its status may be an older one, see [`status_of`](crate::validation::status_of).
    pub(crate) fn read(
        &mut self,
        object: &DynamicObject,
    ) -> Arc<Result<IngestionPipeline, Rejection>> {
        let generation = object.metadata.generation.unwrap_or_default();
        let known = self.read.as_ref().filter(|(known, _)| *known == generation);
        let read = match known {
            Some((_, read)) => Arc::clone(read),
            None => Arc::new(read(object)),
        };
        self.read = Some((generation, Arc::clone(&read)));
        read
    }
}

/// The states of all pipelines of a controller.
#[derive(Debug, Default)]
pub(crate) struct States<M>(Mutex<HashMap<Key, PipelineState<M>>>);

impl<M: Default> States<M> {
    /// Takes a state out for the time of a reconcile. A reconcile that is dropped takes it along.
    pub(crate) fn take(&self, key: &Key, uid: &str) -> PipelineState<M> {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match states.remove(key).filter(|state| state.uid == uid) {
            Some(state) => state,
            None => PipelineState { uid: uid.to_owned(), ..PipelineState::default() },
        }
    }

    pub(crate) fn put_back(&self, key: &Key, state: PipelineState<M>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), state);
    }

    #[cfg(test)]
    pub(crate) fn has(&self, key: &Key) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(key)
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
        let mut state = PipelineState::<()>::default();
        let first = state.read(&object(1, "S"));
        assert!(first.is_ok(), "{first:?}");
        assert!(Arc::ptr_eq(&first, &state.read(&object(1, "S"))));
        assert!(!Arc::ptr_eq(&first, &state.read(&object(2, "T"))));
        let phase = crate::validation::status_of(&object(1, "S")).and_then(|status| status.phase);
        assert_eq!(phase, Some(tidegate_api::Phase::Idle));
    }

    #[test]
    fn a_successor_of_the_same_name_begins_anew() {
        let states = States::<bool>::default();
        let key = Key::new("ns", "p");
        let mut state = states.take(&key, "one");
        state.memory = true;
        states.put_back(&key, state);
        assert!(states.take(&key, "one").memory);
        states.put_back(&key, PipelineState { uid: "one".into(), ..PipelineState::default() });
        assert!(!states.take(&key, "two").memory);
    }
}
