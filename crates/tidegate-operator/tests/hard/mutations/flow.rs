//! One pipeline under test, and what has to be true of it.

use std::collections::BTreeSet;

use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, ValidationDirective};
use kube::core::ApiResource;
use serde_json::{Value, json};
use tidegate_api::{IngestionPipeline, IngestionPipelineSpec};

use super::super::support::{Document, Stage};
use super::edit::{Account, Edit, Outcome, Stranger};

/// A pipeline and its history.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) name: String,
    /// As the API server has it.
    pub(crate) spec: Value,
    /// Fields with a value that the operator has to reject.
    pub(crate) faults: BTreeSet<&'static str>,
    pub(crate) account: Account,
    pub(crate) offered: bool,
    /// Columns more than the first two.
    pub(crate) columns: usize,
    /// Whether a spec of this life was accepted for sure.
    pub(crate) has_accepted: bool,
    /// Every spec of this life that may have been accepted.
    pub(crate) acceptable: Vec<IngestionPipelineSpec>,
}

/// A rule that was broken.
pub(crate) type Broken = String;

impl Flow {
    pub(crate) async fn begin(stage: &Stage, name: String) -> Self {
        let document = Document::of_stand_ins(&name);
        let made = stage.namespace.apply(document.value()).await.unwrap();
        let mut flow = Self {
            name,
            spec: made.data["spec"].clone(),
            faults: BTreeSet::new(),
            account: Account::None,
            offered: true,
            columns: 0,
            has_accepted: false,
            acceptable: Vec::new(),
        };
        flow.offer(stage, true).await;
        flow.remember();
        flow
    }

    /// Whether the spec is one that has to run.
    pub(crate) fn is_good(&self) -> bool {
        self.faults.is_empty() && !self.lacks_account()
    }

    /// Whether its service account is one that it may not use.
    pub(crate) fn lacks_account(&self) -> bool {
        match self.account {
            Account::None => false,
            Account::Made => !self.offered,
            Account::Missing => true,
        }
    }

    /// Words of which a message about its faults has to have one.
    pub(crate) fn words(&self) -> Vec<&str> {
        let fields = self.faults.iter().map(|path| path.rsplit('.').next().unwrap_or(path));
        fields.chain(self.lacks_account().then_some("serviceAccountName")).collect()
    }

    /// Does it, and checks what the API server says.
    pub(crate) async fn perform(&mut self, stage: &Stage, edit: &Edit) -> Result<(), Broken> {
        match edit {
            Edit::Set { path, value, outcome } => {
                self.set(stage, path, value, *outcome).await?;
            }
            Edit::Columns { more, kind } => {
                self.columns = *more;
                let columns = columns(*more, kind);
                let outcome = if *kind == "long" { Outcome::Good } else { Outcome::Rejected };
                self.set(stage, "schema.fields", &columns, outcome).await?;
            }
            Edit::Account(account) => {
                let name = match account {
                    Account::None => Value::Null,
                    Account::Made => json!(self.account_name()),
                    Account::Missing => json!("no-such-account"),
                };
                self.set(stage, "serviceAccountName", &name, Outcome::Good).await?;
                self.account = *account;
            }
            Edit::Offer(offered) => self.offer(stage, *offered).await,
            Edit::Annotate(number) => {
                let annotation = json!({"tidegate.dev/requestedAt": number.to_string()});
                let change = json!({"metadata": {"annotations": annotation}});
                self.patch(stage, &change).await.map_err(|error| said(&error))?;
            }
            Edit::Remake => self.remake(stage).await?,
            Edit::Stranger(stranger) => self.suffer(stage, stranger).await?,
        }
        self.remember();
        Ok(())
    }

    async fn set(
        &mut self,
        stage: &Stage,
        path: &'static str,
        value: &Value,
        outcome: Outcome,
    ) -> Result<(), Broken> {
        let change = path.rsplit('.').fold(value.clone(), |inner, step| json!({(step): inner}));
        let answer = self.patch(stage, &json!({"spec": change})).await;
        let what = || format!("{}: {path} = {}", self.name, short(value));
        match (answer, outcome) {
            (Ok(_), Outcome::Refused) => Err(format!("{} was taken", what())),
            (Ok(object), _) => {
                self.spec = object.data["spec"].clone();
                match outcome {
                    Outcome::Rejected => self.faults.insert(path),
                    _ => self.faults.remove(path),
                };
                Ok(())
            }
            (Err(error), Outcome::Refused) => {
                let message = said(&error);
                // A rule may stand at the field or at what holds it.
                let named = path.rsplit('.').take(2).any(|step| message.contains(step));
                let readable = named && message.len() < 30_000;
                if readable { Ok(()) } else { Err(format!("{}: {message:.500}", what())) }
            }
            (Err(error), _) => Err(format!("{} was refused: {:.500}", what(), said(&error))),
        }
    }

    async fn patch(&self, stage: &Stage, change: &Value) -> kube::Result<DynamicObject> {
        let how = PatchParams {
            field_validation: Some(ValidationDirective::Strict),
            ..PatchParams::default()
        };
        self.api(stage).patch(&self.name, &how, &Patch::Merge(change)).await
    }

    fn api(&self, stage: &Stage) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<IngestionPipeline>(&());
        Api::namespaced_with(stage.namespace.client(), stage.namespace.name(), &resource)
    }

    fn account_name(&self) -> String {
        format!("lake-{}", self.name)
    }

    async fn offer(&mut self, stage: &Stage, offered: bool) {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {
            "name": self.account_name(),
            "labels": {"tidegate.dev/pipeline-use": offered.to_string()},
        }});
        stage.namespace.apply(&account).await.unwrap();
        self.offered = offered;
    }

    /// A new life begins with what it has now, except that its columns have their first types.
    async fn remake(&mut self, stage: &Stage) -> Result<(), Broken> {
        let api = self.api(stage);
        api.delete(&self.name, &DeleteParams::default()).await.map_err(|error| said(&error))?;
        let gone = async || api.get_opt(&self.name).await.is_ok_and(|found| found.is_none());
        stage.until(&format!("{} is gone", self.name), gone).await;
        self.faults.remove("schema.fields");
        self.spec["schema"]["fields"] = columns(self.columns, "long");
        let document = json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "IngestionPipeline",
            "metadata": {"name": self.name}, "spec": self.spec,
        });
        stage.namespace.apply(&document).await.map_err(|error| format!("{error:#}"))?;
        (self.has_accepted, self.acceptable) = (false, Vec::new());
        Ok(())
    }

    async fn suffer(&self, stage: &Stage, stranger: &Stranger) -> Result<(), Broken> {
        let done = match stranger {
            Stranger::Delete(kind, suffix) => {
                let api = dynamic(stage, kind);
                let name = format!("{}-{suffix}", self.name);
                api.delete(&name, &DeleteParams::default()).await.map(drop)
            }
            Stranger::Change(kind, suffix, change) => {
                let (api, how) = (dynamic(stage, kind), PatchParams::default());
                let name = format!("{}-{suffix}", self.name);
                api.patch(&name, &how, &Patch::Merge(change)).await.map(drop)
            }
            Stranger::Status(status) => {
                let (api, how) = (self.api(stage), PatchParams::default());
                let change = Patch::Merge(json!({"status": status}));
                api.patch_status(&self.name, &how, &change).await.map(drop)
            }
        };
        match done {
            // A suspended pipeline has no pods, and what was deleted may not be back yet.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            done => done.map_err(|error| format!("{}: {stranger:?}: {}", self.name, said(&error))),
        }
    }

    fn remember(&mut self) {
        if !self.is_good() {
            return;
        }
        let spec: IngestionPipelineSpec = serde_json::from_value(self.spec.clone()).unwrap();
        if !self.acceptable.contains(&spec) {
            self.acceptable.push(spec);
        }
    }
}

/// Two columns and so many more; the second has this type.
fn columns(more: usize, kind: &str) -> Value {
    let mut columns = vec![
        json!({"name": "id", "type": "string", "required": true}),
        json!({"name": "n", "type": kind}),
    ];
    columns.extend((0..more).map(|k| json!({"name": format!("more{k}"), "type": "double"})));
    json!(columns)
}

/// The API server's words.
fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}

fn dynamic(stage: &Stage, kind: &str) -> Api<DynamicObject> {
    use k8s_openapi::api::{apps, core, networking, policy};
    let resource = match kind {
        "Service" => ApiResource::erase::<core::v1::Service>(&()),
        "ConfigMap" => ApiResource::erase::<core::v1::ConfigMap>(&()),
        "Pod" => ApiResource::erase::<core::v1::Pod>(&()),
        "StatefulSet" => ApiResource::erase::<apps::v1::StatefulSet>(&()),
        "Deployment" => ApiResource::erase::<apps::v1::Deployment>(&()),
        "NetworkPolicy" => ApiResource::erase::<networking::v1::NetworkPolicy>(&()),
        "PodDisruptionBudget" => ApiResource::erase::<policy::v1::PodDisruptionBudget>(&()),
        other => panic!("no kind {other}"),
    };
    Api::namespaced_with(stage.namespace.client(), stage.namespace.name(), &resource)
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(120).collect()
}
