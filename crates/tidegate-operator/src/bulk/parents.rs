//! The runs over many intervals.

use std::collections::BTreeMap;

use serde_json::Value;
use tidegate_api::Reprocess;
use tidegate_config::WriteMode;
use tidegate_types::{DataInterval, Reason};

use super::ground::Terms;
use super::memory::BulkMemory;
use super::scene::{Scene, Turn};
use crate::calendar::{Ask, Purpose};
use crate::runs::{
    ChildState, Outcome, ParentFacts, ParentStep, Run, Step, Waiting, What, child_run, does_again,
    elsewhere, no_ground, parent,
};

/// How many runs may wait beside those that are active.
pub(super) const WAITING: usize = 2;

/// What the parents want.
#[derive(Default)]
pub(super) struct Family {
    pub(super) turns: Vec<Turn>,
    pub(super) asks: Vec<Ask>,
    /// Runs to be made.
    pub(super) make: Vec<Value>,
}

/// Takes each run over many intervals one step on.
pub(super) fn go_on_with_parents(scene: &Scene<'_>, memory: &BulkMemory) -> Family {
    let mut family = Family::default();
    for (index, run) in scene.runs.iter().enumerate() {
        let Ok(wish) = &run.wish else { continue };
        let What::Range { range, reprocess, dry_run } = wish.what else { continue };
        if run.succeeded().is_none() {
            let asked = Asked { range, reprocess, dry_run };
            go_on(scene, memory, index, &asked, &mut family);
        }
    }
    family
}

fn go_on(scene: &Scene<'_>, memory: &BulkMemory, index: usize, asked: &Asked, family: &mut Family) {
    let run = &scene.runs[index];
    let before = run.status.children.clone();
    let stepped = ground(scene).and_then(|terms| one_step(scene, memory, terms, run, asked));
    let (step, children) = match stepped {
        Err(step) => (*step, before),
        Ok(ParentStep { make, ask, children, end, waits }) => {
            let purpose = Purpose::Parent(run.uid.clone());
            let book = memory.books.get(&purpose);
            let again = |interval| does_again(asked.reprocess, book, interval);
            let made = make.into_iter().map(|it| child_run(scene.field.key, run, it, again(it)));
            family.make.extend(made);
            family.asks.extend(ask.map(|range| Ask { purpose, range }));
            (told(end, waits), children.or(before))
        }
    };
    family.turns.push(Turn { run: index, step, attempt: None, children });
}

struct Asked {
    range: DataInterval,
    reprocess: Reprocess,
    dry_run: bool,
}

/// The pipeline's terms, or what becomes of its runs without.
fn ground<'a>(scene: &'a Scene<'_>) -> Result<&'a Terms<'a>, Box<Step>> {
    let missing = || Box::new(no_ground(scene.ground(), scene.field.now));
    scene.terms.as_ref().ok_or_else(missing)
}

fn one_step(
    scene: &Scene<'_>,
    memory: &BulkMemory,
    terms: &Terms<'_>,
    run: &Run,
    asked: &Asked,
) -> Result<ParentStep, Box<Step>> {
    let Some(grid) = terms.grid else {
        let message = "spec.range: the pipeline has no schedule, so that it has no intervals";
        let end = Outcome::refused(Reason::InvalidConfiguration, message, scene.field.now);
        return Err(Box::new(Step::Finish(end)));
    };
    if terms.pipeline.spec.suspend && !asked.dry_run {
        let wait = Waiting::new(Reason::Suspended, "the pipeline is suspended");
        return Err(Box::new(Step::Wait(wait)));
    }
    let children = children_of(scene, run);
    let book = memory.books.get(&Purpose::Parent(run.uid.clone()));
    let open = children.values().filter(|child| **child == ChildState::Open).count();
    Ok(parent(&ParentFacts {
        range: asked.range,
        reprocess: asked.reprocess,
        dry_run: asked.dry_run,
        grid,
        append: terms.pipeline.config.write_mode == WriteMode::Append,
        previous: run.status.children.as_ref(),
        children: &children,
        elsewhere: &elsewhere(&scene.runs, run, book),
        book,
        room: (terms.most + WAITING).saturating_sub(open),
        now: scene.field.now,
    }))
}

fn children_of(scene: &Scene<'_>, parent: &Run) -> BTreeMap<DataInterval, ChildState> {
    let own = scene.runs.iter().filter(|run| run.maker.as_deref() == Some(&parent.uid));
    own.filter_map(|run| {
        let state = match run.succeeded() {
            None => ChildState::Open,
            Some(true) => ChildState::Succeeded,
            Some(false) => ChildState::Failed,
        };
        Some((run.interval()?, state))
    })
    .collect()
}

/// What its status says.
fn told(end: Option<Outcome>, waits: Option<Waiting>) -> Step {
    match (end, waits) {
        (Some(outcome), _) => Step::Finish(outcome),
        (None, Some(waiting)) => Step::Wait(waiting),
        (None, None) => {
            Step::Wait(Waiting::new(Reason::Progressing, "its runs are made and followed"))
        }
    }
}
