//! All pipelines under test, and the batches of changes.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use tidegate_testing::{Random, Tap};
use tokio::time::Instant;

use super::super::snapshot::{Inventory, Snapshot, differences};
use super::super::support::{Document, InProcess, Stage, options};
use super::edit::{Account, Edit, Outcome, edit, stranger};
use super::field::{Field, fields};
use super::flow::{Broken, Flow};
use super::judge::judge;

/// How often the cluster is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Much longer than a batch takes on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) cases: usize,
    batches: usize,
    good: usize,
    refused_by_server: usize,
    rejected_by_operator: usize,
    by_strangers: usize,
    remade: usize,
    /// Times that a bad spec became good again.
    healed: usize,
}

/// Pipelines of one namespace with one operator.
#[derive(Debug)]
pub(crate) struct Herd {
    pub(crate) tally: Tally,
    random: Random,
    fields: Vec<Field>,
    flows: Vec<Flow>,
    operator: InProcess,
    stage: Stage,
}

/// What one pipeline goes through.
#[derive(Debug)]
struct Plan {
    edits: Vec<Edit>,
    /// Objects that have to be there in the end as they were before; none: the spec may change.
    kept: Option<Snapshot>,
    /// Marks of those objects; none where others did something to them.
    marks: Option<BTreeMap<String, Value>>,
}

impl Herd {
    pub(crate) async fn begin(seed: u64, size: usize) -> Self {
        let stage = Stage::of_stand_ins("mutations").await;
        let operator =
            InProcess::start(options(&stage.namespace), &stage.access, Tap::new()).await.unwrap();
        let flows = (0..size).map(|number| Flow::begin(&stage, format!("flow-z{number:03}")));
        let flows = join_all(flows).await;
        let random = Random::seeded(seed);
        let mut herd =
            Self { tally: Tally::default(), random, fields: fields(), flows, operator, stage };
        herd.settle(&BTreeMap::new()).await;
        herd
    }

    /// Changes each pipeline, or leaves it alone, and waits until all is as it has to be.
    pub(crate) async fn batch(&mut self) {
        let before = Inventory::take(&self.stage.namespace).await.unwrap();
        let plans: BTreeMap<String, Plan> = (0..self.flows.len())
            .map(|index| (self.flows[index].name.clone(), self.plan(index, &before)))
            .collect();
        self.perform(&plans).await;
        self.tally.batches += 1;
        self.settle(&plans).await;
    }

    fn plan(&mut self, index: usize, before: &Inventory) -> Plan {
        let (flow, random) = (&self.flows[index], &mut self.random);
        let kept = Some(before.snapshot(&flow.name));
        let idle = random.percent(12);
        let suffers = random.percent(20) && flow.has_accepted && !flow.lacks_account();
        if idle {
            return Plan { edits: Vec::new(), kept, marks: Some(marks(before, &flow.name)) };
        }
        if suffers {
            let edits = strangers(random);
            return Plan { edits, kept, marks: None };
        }
        let mut edits = Vec::new();
        let mut columns = flow.columns;
        for _ in 0..=random.index(14) {
            let mut next = edit(random, &self.fields, columns);
            if let Edit::Columns { more, kind } = &mut next {
                columns = *more;
                // The first spec that is accepted decides what a column is.
                *kind = if flow.has_accepted { kind } else { "long" };
            }
            let remade = next == Edit::Remake;
            edits.push(next);
            if remade {
                break;
            }
        }
        Plan { edits, kept: None, marks: None }
    }

    async fn perform(&mut self, plans: &BTreeMap<String, Plan>) {
        let stage = &self.stage;
        let all = self.flows.iter_mut().map(async |flow| {
            let was_good = flow.is_good();
            let mut broken = Vec::new();
            for edit in &plans[&flow.name].edits {
                broken.extend(flow.perform(stage, edit).await.err());
            }
            (broken, usize::from(!was_good && flow.is_good()))
        });
        let (mut broken, mut healed) = (Vec::new(), 0);
        for (faults, good_again) in join_all(all).await {
            broken.extend(faults);
            healed += good_again;
        }
        self.tally.healed += healed;
        plans.values().flat_map(|plan| &plan.edits).for_each(|edit| self.tally.count(edit));
        assert!(broken.is_empty(), "batch {}: {broken:#?}", self.tally.batches);
    }

    /// Waits until every rule holds.
    async fn settle(&mut self, plans: &BTreeMap<String, Plan>) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let inventory = Inventory::take(&self.stage.namespace).await.unwrap();
            let broken: Vec<Broken> = self
                .flows
                .iter()
                .flat_map(|flow| {
                    let mut broken = judge(flow, &inventory);
                    broken.extend(kept(flow, plans.get(&flow.name), &inventory));
                    broken
                })
                .collect();
            if broken.is_empty() {
                break;
            }
            if Instant::now() > deadline {
                let concerned = |name: &str| broken.iter().any(|rule| rule.contains(name));
                let plans: Vec<_> = plans
                    .iter()
                    .filter(|(name, _)| concerned(name))
                    .map(|(name, plan)| format!("{name}: {:.2000}", format!("{:?}", plan.edits)))
                    .collect();
                panic!("batch {}: {broken:#?}; {plans:#?}", self.tally.batches);
            }
            tokio::time::sleep(LOOK).await;
        }
        for flow in self.flows.iter_mut().filter(|flow| flow.is_good()) {
            flow.has_accepted = true;
        }
    }

    /// Takes every bad value back.
    pub(crate) async fn heal(&mut self) {
        let mut plans = BTreeMap::new();
        for flow in &self.flows {
            let mut edits = Vec::new();
            for path in &flow.faults {
                let field = self.fields.iter().find(|field| field.path == *path);
                edits.push(match field {
                    Some(field) => {
                        let value = field.good[0].clone();
                        Edit::Set { path, value, outcome: Outcome::Good }
                    }
                    None => Edit::Columns { more: flow.columns, kind: "long" },
                });
            }
            if flow.lacks_account() {
                edits.push(Edit::Account(Account::None));
            }
            plans.insert(flow.name.clone(), Plan { edits, kept: None, marks: None });
        }
        self.perform(&plans).await;
        self.settle(&plans).await;
    }

    /// Makes a twin of each pipeline, which has no history, and compares what they have.
    pub(crate) async fn compare_with_twins(&self) {
        join_all(self.flows.iter().map(|flow| self.make_twin(flow))).await;
        let deadline = Instant::now() + LIMIT;
        loop {
            let inventory = Inventory::take(&self.stage.namespace).await.unwrap();
            let differ = |flow: &Flow| {
                let twin = inventory.snapshot(&twin_of(&flow.name));
                let differences = differences(&inventory.snapshot(&flow.name), &twin);
                (!differences.is_empty()).then(|| (flow.name.clone(), differences))
            };
            let differ: Vec<_> = self.flows.iter().filter_map(differ).collect();
            if differ.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "{differ:#?}");
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn make_twin(&self, flow: &Flow) {
        let twin = twin_of(&flow.name);
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {
            "name": format!("lake-{twin}"),
            "labels": {"tidegate.dev/pipeline-use": "true"},
        }});
        self.stage.namespace.apply(&account).await.unwrap();
        let mut document = Document::of_stand_ins(&twin).value().clone();
        let spec = flow.spec.to_string().replace(&flow.name, &twin);
        let spec = spec.replace(&flow.name.to_uppercase(), &twin.to_uppercase());
        document["spec"] = serde_json::from_str(&spec).unwrap();
        self.stage.namespace.apply(&document).await.unwrap();
    }

    /// The operator is still there.
    pub(crate) fn end(&self) {
        assert!(!self.operator.has_ended(), "the operator ended");
    }
}

impl Tally {
    fn count(&mut self, edit: &Edit) {
        self.cases += 1;
        match edit {
            Edit::Set { outcome: Outcome::Refused, .. } => self.refused_by_server += 1,
            Edit::Set { outcome: Outcome::Rejected, .. }
            | Edit::Columns { kind: "string", .. }
            | Edit::Account(Account::Missing)
            | Edit::Offer(false) => self.rejected_by_operator += 1,
            Edit::Remake => self.remade += 1,
            Edit::Stranger(_) => self.by_strangers += 1,
            _ => self.good += 1,
        }
    }
}

/// One or a few. Without owner and labels an object is nobody's and would rightly be left alone.
fn strangers(random: &mut Random) -> Vec<Edit> {
    let mut edits: Vec<_> = (0..=random.index(3)).map(|_| stranger(random)).collect();
    if let Some(orphaning) = edits.iter().position(Edit::takes_the_owner_away) {
        edits = vec![edits.remove(orphaning)];
    }
    edits
}

fn twin_of(name: &str) -> String {
    name.replace("flow", "twin")
}

/// What was to stay as it was and did not.
fn kept(flow: &Flow, plan: Option<&Plan>, inventory: &Inventory) -> Vec<Broken> {
    let Some(plan) = plan else { return Vec::new() };
    let mut broken = Vec::new();
    if let Some(before) = &plan.kept {
        broken.extend(differences(&inventory.snapshot(&flow.name), before));
    }
    if let Some(before) = &plan.marks {
        let now = marks(inventory, &flow.name);
        if now != *before {
            broken.push(format!("it was touched: {before:?} became {now:?}"));
        }
    }
    broken.iter().map(|difference| format!("{}: {difference}", flow.name)).collect()
}

/// Shows whether anybody wrote to an object; statuses are written by others.
fn marks(inventory: &Inventory, pipeline: &str) -> BTreeMap<String, Value> {
    let objects = inventory.raw(pipeline).map(|(kind, object)| {
        let metadata = &object["metadata"];
        let version = match kind {
            "ConfigMap" | "Service" | "ServiceAccount" => &metadata["resourceVersion"],
            _ => &metadata["generation"],
        };
        let name = metadata["name"].as_str().unwrap_or_default();
        (format!("{kind}/{name}"), json!([metadata["uid"], version]))
    });
    objects.collect()
}
