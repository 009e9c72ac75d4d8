//! What has to be true of a pipeline once it has settled.

use kube::ResourceExt as _;
use serde_json::{Value, json};
use tidegate_api::{IngestionPipeline, IngestionPipelineSpec};
use tidegate_config::content_hash;
use tidegate_resolve::resolve_in;

use super::super::snapshot::Inventory;
use super::super::support::is_settled;
use super::flow::{Broken, Flow};

/// The rules that do not hold.
pub(crate) fn judge(flow: &Flow, inventory: &Inventory) -> Vec<Broken> {
    let object = inventory.object("IngestionPipeline", &flow.name);
    let Ok(pipeline) = serde_json::from_value::<IngestionPipeline>(object.clone()) else {
        return vec![format!("{} cannot be read", flow.name)];
    };
    let mut broken = Vec::new();
    let mut rule = |holds: bool, what: &str| {
        if !holds {
            broken.push(format!("{}: {what}", flow.name));
        }
    };
    let status = pipeline.status.clone().unwrap_or_default();
    rule(status.observed_generation == pipeline.metadata.generation, "the newest spec is seen");
    let accepted = condition(object, "SpecAccepted");
    if flow.is_good() {
        rule(accepted["status"] == "True", "a good spec is accepted");
        rule(is_as_said(&pipeline, object), "what is accepted becomes ready");
        let remembered = remembered(flow, inventory);
        rule(remembered.as_ref() == Some(&pipeline.spec), "the accepted spec is remembered");
        let wants = json!(pipeline.spec.deletion_policy).to_string().contains("Delete");
        let finalizers = pipeline.finalizers();
        rule(wants != finalizers.is_empty(), "whoever has something to delete is waited for");
        template_follows(&pipeline, inventory, &mut rule);
        runs(flow, &pipeline, inventory, &mut rule);
    } else {
        rule(accepted["status"] == "False", "a bad spec is not accepted");
        let message = accepted["message"].as_str().unwrap_or_default();
        let named = flow.words().iter().any(|word| message.contains(word));
        rule(named, &format!("the fault is named, {:?}: {message}", flow.words()));
        if flow.has_accepted {
            runs_on(flow, &pipeline, inventory, &mut rule);
        }
    }
    broken
}

fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    static NOTHING: Value = Value::Null;
    let conditions = object["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.find(|condition| condition["type"] == kind).unwrap_or(&NOTHING)
}

fn is_as_said(pipeline: &IngestionPipeline, object: &Value) -> bool {
    if pipeline.spec.suspend {
        let ready = condition(object, "Ready");
        return ready["reason"] == "Suspended" && condition(object, "Stalled").is_null();
    }
    is_settled(pipeline)
}

fn remembered(flow: &Flow, inventory: &Inventory) -> Option<IngestionPipelineSpec> {
    let map = inventory.object("ConfigMap", &format!("{}-accepted", flow.name));
    serde_json::from_str(map["data"]["spec.json"].as_str()?).ok()
}

/// Pods are made of this spec, and nothing of an older one is left.
fn runs(
    flow: &Flow,
    pipeline: &IngestionPipeline,
    inventory: &Inventory,
    rule: &mut impl FnMut(bool, &str),
) {
    let Some((name, json)) = config_of(pipeline, &pipeline.spec) else {
        return rule(false, "a good spec can be resolved");
    };
    let map = inventory.object("ConfigMap", &name);
    rule(map["data"]["pipeline.json"] == json, "the configuration is that of the spec");
    let prefix = format!("{}-config-", flow.name);
    let configs = inventory.raw(&flow.name).filter(|(kind, object)| {
        let named = object["metadata"]["name"].as_str().unwrap_or_default();
        *kind == "ConfigMap" && named.starts_with(&prefix)
    });
    rule(configs.count() == 1, "older configurations are removed");
    let workers = inventory.object("StatefulSet", &format!("{}-worker", flow.name));
    let agent = inventory.object("Deployment", &format!("{}-agent", flow.name));
    for workload in [workers, agent] {
        rule(mounts(&workload["spec"]["template"]["spec"], &name), "pods are given it");
    }
    let replicas = workers["spec"]["replicas"].as_u64().unwrap_or(999);
    rule(replicas == wanted_replicas(pipeline), "there are as many workers as the spec says");
    let pods: Vec<_> = inventory.raw(&flow.name).filter(|(kind, _)| *kind == "Pod").collect();
    let agents = u64::from(!pipeline.spec.suspend);
    let count = u64::try_from(pods.len()).unwrap();
    rule(count == replicas + agents, "and no other pods");
    rule(pods.iter().all(|(_, pod)| mounts(&pod["spec"], &name)), "all pods have it");
}

/// What was accepted before goes on, whatever the resource says now.
fn runs_on(
    flow: &Flow,
    pipeline: &IngestionPipeline,
    inventory: &Inventory,
    rule: &mut impl FnMut(bool, &str),
) {
    let Some(accepted) = remembered(flow, inventory) else {
        return rule(false, "the accepted spec is kept");
    };
    let known = flow.acceptable.iter().any(|spec| followed(spec) == followed(&accepted));
    rule(known, "only what was good was ever accepted");
    let Some((name, _)) = config_of(pipeline, &accepted) else {
        return rule(false, "the accepted spec can be resolved");
    };
    let workers = inventory.object("StatefulSet", &format!("{}-worker", flow.name));
    rule(mounts(&workers["spec"]["template"]["spec"], &name), "the accepted spec runs on");
    // Without its service account nothing is changed any more, not even by a wish to stop.
    if !flow.lacks_account() {
        let replicas = workers["spec"]["replicas"].as_u64().unwrap_or(0);
        rule((replicas == 0) == pipeline.spec.suspend, "it works unless it is told to stop");
        let pods = inventory.raw(&flow.name).filter(|(kind, _)| *kind == "Pod");
        let agents = u64::from(!pipeline.spec.suspend);
        rule(u64::try_from(pods.count()).unwrap() == replicas + agents, "with all its pods");
    }
}

/// Without what is taken from the resource even when that is not accepted.
fn followed(spec: &IngestionPipelineSpec) -> Value {
    let mut spec = json!(spec);
    for field in ["suspend", "replicas", "deletionPolicy"] {
        spec[field] = Value::Null;
    }
    spec
}

fn config_of(
    pipeline: &IngestionPipeline,
    spec: &IngestionPipelineSpec,
) -> Option<(String, String)> {
    let mut pipeline = pipeline.clone();
    pipeline.spec = spec.clone();
    let config = resolve_in(&pipeline, None).ok()?.into_stream()?;
    let config = serde_json::to_string(&config).ok()?;
    let hash = content_hash(config.as_bytes());
    Some((format!("{}-config-{hash}", pipeline.name_any()), config))
}

fn mounts(pod: &Value, map: &str) -> bool {
    let volumes = pod["volumes"].as_array();
    volumes.into_iter().flatten().any(|volume| volume["configMap"]["name"] == map)
}

/// Lag is none, so that there are as few as there may be.
fn wanted_replicas(pipeline: &IngestionPipeline) -> u64 {
    let spec = &pipeline.spec;
    let mode = json!(spec.scaling.mode);
    match (spec.suspend, mode.as_str()) {
        (true, _) => 0,
        (false, Some("Lag")) => u64::from(spec.scaling.min_replicas),
        _ => u64::from(spec.replicas.min(4)),
    }
}

/// What the template may say stands in the pods' template.
fn template_follows(
    pipeline: &IngestionPipeline,
    inventory: &Inventory,
    rule: &mut impl FnMut(bool, &str),
) {
    let wanted = json!(pipeline.spec.template);
    let workers = inventory.object("StatefulSet", &format!("{}-worker", pipeline.name_any()));
    let template = &workers["spec"]["template"];
    let holds = |there: &Value, wanted: &Value| {
        let mut members = wanted.as_object().into_iter().flatten();
        members.all(|(name, value)| there[name] == *value)
    };
    for (field, there) in [
        ("labels", &template["metadata"]["labels"]),
        ("annotations", &template["metadata"]["annotations"]),
        ("nodeSelector", &template["spec"]["nodeSelector"]),
    ] {
        rule(holds(there, &wanted[field]), &format!("the pods' {field} are those of the template"));
    }
    let memory = &template["spec"]["containers"][0]["resources"]["limits"]["memory"];
    let asked = &wanted["resources"]["limits"]["memory"];
    rule(asked.is_null() || memory == asked, "workers have the memory of the template");
    let account = &template["spec"]["serviceAccountName"];
    let own = json!(format!("{}-pipeline", pipeline.name_any()));
    let named = json!(pipeline.spec.service_account_name);
    let right = if named.is_null() { *account == own } else { *account == named };
    rule(right, "pods run under the account that is named");
}
