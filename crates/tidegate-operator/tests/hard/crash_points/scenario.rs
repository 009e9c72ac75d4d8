//! What the operator is doing while it dies.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use tidegate_api::IngestionPipeline;

use super::super::support::{Document, Stage, is_settled};

/// The pipeline of every scenario.
pub(crate) const PIPELINE: &str = "clicks";

/// A chain of steps that ends where it began.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Whether it is played without being asked for.
    pub(crate) always: bool,
    /// Whether there is a pipeline at the beginning.
    pub(crate) from_a_pipeline: bool,
    /// Namespaces in which it is played side by side: more where there is more to wait for.
    pub(crate) lanes: usize,
    pub(crate) steps: &'static [Step],
}

/// What is done before an operator starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A pipeline is applied, with something to delete outside the cluster.
    Create,
    /// It is deleted.
    Delete,
    /// Files become smaller or larger, for which pods roll.
    FileSize(&'static str),
    /// So many workers.
    Workers(u32),
    /// The pipeline stops or goes on.
    Suspend(bool),
    /// A column gets another type, which no table takes.
    ColumnType(&'static str),
    /// Somebody deletes and changes our objects.
    Drift,
    /// Another service account, so that the own one is not needed, or none.
    Account(Option<&'static str>),
}

/// All scenarios.
pub(crate) const SCENARIOS: [Scenario; 7] = [
    Scenario {
        name: "create-delete",
        always: true,
        from_a_pipeline: false,
        lanes: 6,
        steps: &[Step::Create, Step::Delete],
    },
    Scenario {
        name: "edit",
        always: true,
        from_a_pipeline: true,
        lanes: 3,
        steps: &[Step::FileSize("64Mi"), Step::FileSize("128Mi")],
    },
    Scenario {
        name: "scale",
        always: true,
        from_a_pipeline: true,
        lanes: 3,
        steps: &[Step::Workers(3), Step::Workers(1)],
    },
    Scenario {
        name: "suspend",
        always: false,
        from_a_pipeline: true,
        lanes: 3,
        steps: &[Step::Suspend(true), Step::Suspend(false)],
    },
    Scenario {
        name: "rejected",
        always: false,
        from_a_pipeline: true,
        lanes: 3,
        steps: &[Step::ColumnType("string"), Step::ColumnType("long")],
    },
    Scenario {
        name: "drift",
        always: false,
        from_a_pipeline: true,
        lanes: 3,
        steps: &[Step::Drift],
    },
    Scenario {
        name: "orphan",
        always: false,
        from_a_pipeline: true,
        lanes: 3,
        steps: &[Step::Account(Some("lake-writer")), Step::Account(None)],
    },
];

/// The pipeline that scenarios begin with. The edits are taken back to what it says.
pub(crate) fn document() -> Document {
    Document::of_stand_ins(PIPELINE)
        .set("ledger", json!("test.clicks"))
        .set("sink.file.targetSize", json!("128Mi"))
}

impl Step {
    pub(crate) async fn begin(self, stage: &Stage) {
        match self {
            Self::Create => {
                let both = json!({"stream": "Delete", "data": "Delete"});
                stage.apply(&document().set("deletionPolicy", both)).await;
            }
            Self::Delete => {
                let pipelines = stage.namespace.api::<IngestionPipeline>();
                pipelines.delete(PIPELINE, &DeleteParams::default()).await.unwrap();
            }
            Self::FileSize(size) => {
                edit(stage, json!({"sink": {"file": {"targetSize": size}}})).await
            }
            Self::Workers(count) => edit(stage, json!({"scaling": {"minReplicas": count}})).await,
            Self::Suspend(suspend) => edit(stage, json!({"suspend": suspend})).await,
            Self::ColumnType(kind) => {
                let id = json!({"name": "id", "type": "string", "required": true});
                let fields = json!([id, {"name": "n", "type": kind}]);
                edit(stage, json!({"schema": {"fields": fields}})).await;
            }
            Self::Drift => drift(stage).await,
            Self::Account(name) => {
                offer(stage).await;
                edit(stage, json!({"serviceAccountName": name})).await;
            }
        }
    }

    /// Whether the pipeline says that this step is done; null when it is gone.
    pub(crate) fn is_over(self, pipeline: Option<&IngestionPipeline>) -> bool {
        let Some(pipeline) = pipeline else { return self == Self::Delete };
        let status = pipeline.status.as_ref();
        let seen =
            status.is_some_and(|status| status.observed_generation == pipeline.metadata.generation);
        let says = |kind: &str, reason: &str| {
            let conditions = status.map_or(&[][..], |status| &status.conditions);
            conditions.iter().any(|found| found.type_ == kind && found.reason == reason)
        };
        match self {
            Self::Delete => false,
            Self::Suspend(true) => seen && says("Ready", "Suspended"),
            Self::ColumnType("string") => seen && says("SpecAccepted", "SchemaChangeRefused"),
            _ => is_settled(pipeline),
        }
    }
}

async fn edit(stage: &Stage, spec: Value) {
    stage.edit(PIPELINE, &spec).await.unwrap();
}

async fn drift(stage: &Stage) {
    let (namespace, delete) = (&stage.namespace, DeleteParams::default());
    namespace.api::<Service>().delete("clicks-worker", &delete).await.unwrap();
    namespace.api::<PodDisruptionBudget>().delete("clicks-worker", &delete).await.unwrap();
    let more = json!({"metadata": {"labels": {"tidegate.dev/pipeline": null}},
        "spec": {"replicas": 3}});
    let _: StatefulSet = namespace.merge("clicks-worker", &more).await.unwrap();
}

async fn offer(stage: &Stage) {
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {
        "name": "lake-writer", "labels": {"tidegate.dev/pipeline-use": "true"}}});
    stage.namespace.apply(&account).await.unwrap();
}
