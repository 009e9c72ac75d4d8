//! Pipelines that are valid in a cluster, edited.

use serde_json::{Value, json};
use tidegate_api::IngestionPipeline;

use super::circumstances::Circumstances;
use super::outcome::Rules;
use super::read::read;
use super::references::References;
use super::rejection::Rejection;
use crate::cluster::Owner;
use crate::key::Key;

/// A pipeline in the namespace of [`clicks`].
pub(crate) fn analytics(name: &str) -> Owner {
    Owner { key: Key::new("analytics", name), uid: "u".to_owned() }
}

/// A pipeline in the namespace of [`orders`].
pub(crate) fn shop(name: &str) -> Owner {
    Owner { key: Key::new("shop", name), uid: "u".to_owned() }
}

/// Where nothing is allowed that has to be allowed.
pub(crate) fn strict<'a>(owner: &'a Owner, references: &References) -> Circumstances<'a> {
    let rules = Rules { allow_local_tables: false };
    Circumstances { owner, references: references.clone(), rules }
}

/// One over a stream, with `changes` (YAML) merged into its spec.
pub(crate) fn clicks(changes: &str) -> Result<IngestionPipeline, Rejection> {
    edited(
        changes,
        json!({
            "apiVersion": "tidegate.dev/v1alpha1",
            "kind": "IngestionPipeline",
            "metadata": {"name": "clicks", "namespace": "analytics", "uid": "u", "generation": 1},
            "spec": {
                "source": {"type": "JetStream", "jetStream": {
                    "servers": ["nats://nats:4222"], "stream": "CLICKS", "subjects": ["clicks.>"],
                }},
                "schema": {"fields": [{"name": "id", "type": "string"}]},
                "sink": {"type": "Delta", "storage": {"url": "s3://lake/clicks"}},
            },
        }),
    )
}

/// One over a table, with `changes` (YAML) merged into its spec.
pub(crate) fn orders(changes: &str) -> Result<IngestionPipeline, Rejection> {
    edited(
        changes,
        json!({
            "apiVersion": "tidegate.dev/v1alpha1",
            "kind": "IngestionPipeline",
            "metadata": {"name": "orders", "namespace": "shop", "uid": "u", "generation": 1},
            "spec": {
                "source": {"type": "Postgres", "postgres": {
                    "connection": {"secretRef": {"name": "orders-db"}}, "table": "public.orders",
                }},
                "bulk": {
                    "incremental": {"cursorField": "created_at", "mutability": "Immutable"},
                    "schedule": {"cron": "0 * * * *"},
                },
                "sink": {"storage": {"url": "s3://lake/orders"}},
            },
        }),
    )
}

fn edited(changes: &str, mut object: Value) -> Result<IngestionPipeline, Rejection> {
    let changes: Value = serde_yaml::from_str(changes).expect("YAML");
    if !changes.is_null() {
        merge(&mut object["spec"], &changes);
    }
    read(&serde_json::from_value(object).expect("an object"))
}

/// What is null goes.
fn merge(into: &mut Value, changes: &Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (name, change) in changes {
                merge(into.entry(name.as_str()).or_insert(Value::Null), change);
            }
            into.retain(|_, value| !value.is_null());
        }
        (into, change) => *into = change.clone(),
    }
}
