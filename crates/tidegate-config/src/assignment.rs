//! Who reads which partitions: the second document that reaches the workers.
//!
//! It only says who *should* work; who *may* is decided by the epochs in the table's log. So a worker
//! that follows an old one does no harm, and the newest generation wins.

use serde::{Deserialize, Serialize};
use tidegate_types::PartitionId;

/// The partitions of every worker of a pipeline, `assignment.json` in the pods.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Assignment {
    /// Grows with every change.
    pub generation: i64,
    /// In the order of their names; empty when nobody should work.
    pub workers: Vec<WorkerAssignment>,
}

/// The partitions of one worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerAssignment {
    /// The worker's name: its pod's.
    pub name: String,
    /// In ascending order.
    pub partitions: Vec<PartitionId>,
}

impl Assignment {
    /// The partitions of one worker; none for a name that does not occur.
    #[must_use]
    pub fn partitions_of(&self, worker: &str) -> &[PartitionId] {
        let found = self.workers.iter().find(|assigned| assigned.name == worker);
        found.map_or(&[], |assigned| &assigned.partitions)
    }
}
