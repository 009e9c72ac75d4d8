//! One change: of a pipeline's document, or of something around it.

use serde_json::{Value, json};
use tidegate_testing::Random;

use super::field::Field;

/// What happens to a pipeline.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Edit {
    /// A field gets a value.
    Set { path: &'static str, value: Value, outcome: Outcome },
    /// So many columns more than two, or a type that no table takes after the first.
    Columns { more: usize, kind: &'static str },
    /// Its service account: its own, one that was made for it, or one that does not exist.
    Account(Account),
    /// The account made for it offers itself, or no more.
    Offer(bool),
    /// A reconcile is asked for.
    Annotate(u64),
    /// It is deleted and made again with the same spec.
    Remake,
    /// Somebody else does something to its objects.
    Stranger(Stranger),
}

impl Edit {
    pub(crate) fn takes_the_owner_away(&self) -> bool {
        let Self::Stranger(Stranger::Change(_, _, change)) = self else { return false };
        change.pointer("/metadata/ownerReferences").is_some()
    }
}

/// What has to come of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Good,
    Refused,
    Rejected,
}

/// Which service account is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Account {
    None,
    Made,
    Missing,
}

/// What others do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Stranger {
    /// The object whose name is the pipeline's with this suffix.
    Delete(&'static str, &'static str),
    Change(&'static str, &'static str, Value),
    Status(Value),
}

/// A change of a pipeline. Columns never become fewer.
pub(crate) fn edit(random: &mut Random, fields: &[Field], columns: usize) -> Edit {
    match random.index(100) {
        0..=1 => Edit::Remake,
        2..=4 => Edit::Annotate(u64::try_from(random.index(1_000_000)).unwrap()),
        5..=9 => {
            let kind = *random.pick(&["long", "long", "string"]);
            Edit::Columns { more: (columns + random.index(2)).min(20), kind }
        }
        10..=14 => Edit::Account(*random.pick(&[Account::None, Account::Made, Account::Missing])),
        15..=17 => Edit::Offer(random.percent(60)),
        _ => loop {
            let field = random.pick(fields);
            let (values, outcome) = match random.index(100) {
                0..=44 => (&field.good, Outcome::Good),
                45..=84 => (&field.refused, Outcome::Refused),
                _ => (&field.rejected, Outcome::Rejected),
            };
            if !values.is_empty() {
                break Edit::Set { path: field.path, value: random.pick(values).clone(), outcome };
            }
        },
    }
}

/// Something that others do. All of it has to be put right.
pub(crate) fn stranger(random: &mut Random) -> Edit {
    let labels = || {
        json!({"metadata": {"labels": {
        "app.kubernetes.io/managed-by": null, "tidegate.dev/pipeline": null}}})
    };
    let hash = || json!({"metadata": {"annotations": {"tidegate.dev/applied-hash": null}}});
    let owners = || json!({"metadata": {"ownerReferences": null}});
    let all = [
        Stranger::Delete("Service", "worker"),
        Stranger::Delete("PodDisruptionBudget", "worker"),
        Stranger::Delete("StatefulSet", "worker"),
        Stranger::Delete("Deployment", "agent"),
        Stranger::Delete("NetworkPolicy", "pipeline"),
        Stranger::Delete("ConfigMap", "assignment"),
        Stranger::Delete("Pod", "worker-0"),
        Stranger::Change("StatefulSet", "worker", json!({"spec": {"replicas": 3}})),
        Stranger::Change(
            "StatefulSet",
            "worker",
            json!({"spec": {"template": {"spec": {
            "terminationGracePeriodSeconds": 1}}}}),
        ),
        Stranger::Change("StatefulSet", "worker", labels()),
        Stranger::Change("StatefulSet", "worker", hash()),
        Stranger::Change("StatefulSet", "worker", owners()),
        Stranger::Change("Deployment", "agent", json!({"spec": {"replicas": 0}})),
        Stranger::Change("Deployment", "agent", labels()),
        Stranger::Change("Deployment", "agent", owners()),
        Stranger::Change("Service", "worker", json!({"spec": {"publishNotReadyAddresses": false}})),
        Stranger::Change("Service", "worker", labels()),
        Stranger::Change("PodDisruptionBudget", "worker", json!({"spec": {"maxUnavailable": 5}})),
        Stranger::Change("NetworkPolicy", "pipeline", json!({"spec": {"egress": [{}]}})),
        Stranger::Change("NetworkPolicy", "pipeline", labels()),
        Stranger::Change("ConfigMap", "assignment", json!({"data": {"assignment.json": "{}"}})),
        Stranger::Change("ConfigMap", "assignment", labels()),
        Stranger::Status(json!({"phase": "Degraded", "observedGeneration": 99_999})),
        Stranger::Status(json!({"conditions": [], "replicas": 77})),
        Stranger::Status(Value::Null),
    ];
    Edit::Stranger(random.pick(&all).clone())
}
