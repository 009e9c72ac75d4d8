//! The runs over many intervals.

use std::collections::BTreeMap;

use serde_json::Value;
use tidegate_api::Reprocess;
use tidegate_config::WriteMode;
use tidegate_types::{DataInterval, Reason};

use super::memory::BulkMemory;
use super::runs_seen::{RunDecision, RunsSeen};
use super::terms::Terms;
use crate::calendar::{Ask, Purpose};
use crate::runs::{
    ChildState, Outcome, ParentFacts, ParentStep, Run, Step, Waiting, What, cannot_run, child_run,
    does_again, elsewhere, parent,
};

/// How many runs may wait beside those that are active.
pub(super) const WAITING: usize = 2;

/// What the parents want.
#[derive(Default)]
pub(super) struct Family {
    pub(super) decisions: Vec<RunDecision>,
    pub(super) asks: Vec<Ask>,
    /// Runs to be made.
    pub(super) make: Vec<Value>,
}

/// Takes each run over many intervals one step on.
pub(super) fn go_on_with_parents(seen: &RunsSeen<'_>, memory: &BulkMemory) -> Family {
    let mut family = Family::default();
    for (index, run) in seen.runs.iter().enumerate() {
        let Ok(wish) = &run.wish else { continue };
        let What::Range { range, reprocess, dry_run } = wish.what else { continue };
        if run.succeeded().is_none() {
            let asked = Asked { run: index, range, reprocess, dry_run };
            go_on(seen, memory, &asked, &mut family);
        }
    }
    family
}

fn go_on(seen: &RunsSeen<'_>, memory: &BulkMemory, asked: &Asked, family: &mut Family) {
    let run = &seen.runs[asked.run];
    let before = run.status.children.clone();
    let stepped = terms(seen).and_then(|terms| one_step(seen, memory, terms, asked));
    let (step, children) = match stepped {
        Err(step) => (*step, before),
        Ok(ParentStep { make, ask, children, end, waits }) => {
            let purpose = Purpose::Parent(run.uid.clone());
            let book = memory.books.get(&purpose);
            let again = |interval| does_again(asked.reprocess, book, interval);
            let made = make.into_iter().map(|it| child_run(seen.field.key, run, it, again(it)));
            family.make.extend(made);
            family.asks.extend(ask.map(|range| Ask { purpose, range }));
            (told(end, waits), children.or(before))
        }
    };
    family.decisions.push(RunDecision { run: asked.run, step, attempt: None, children });
}

/// What a run wants.
struct Asked {
    run: usize,
    range: DataInterval,
    reprocess: Reprocess,
    dry_run: bool,
}

/// The pipeline's terms, or what becomes of its runs without.
fn terms<'a>(seen: &'a RunsSeen<'_>) -> Result<&'a Terms<'a>, Box<Step>> {
    let missing = || Box::new(cannot_run(seen.pipeline(), seen.field.now));
    seen.terms.as_ref().ok_or_else(missing)
}

fn one_step(
    seen: &RunsSeen<'_>,
    memory: &BulkMemory,
    terms: &Terms<'_>,
    asked: &Asked,
) -> Result<ParentStep, Box<Step>> {
    let run = &seen.runs[asked.run];
    let Some(grid) = terms.grid else {
        let message = "spec.range: the pipeline has no schedule, so that it has no intervals";
        let end = Outcome::refused(Reason::InvalidConfiguration, message, seen.field.now);
        return Err(Box::new(Step::Finish(end)));
    };
    if terms.pipeline.spec.suspend && !asked.dry_run {
        let wait = Waiting::new(Reason::Suspended, "the pipeline is suspended");
        return Err(Box::new(Step::Wait(wait)));
    }
    let children = children_of(seen, run);
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
        elsewhere: &elsewhere(&seen.runs, run, book),
        book,
        room: (terms.most + WAITING).saturating_sub(open),
        now: seen.field.now,
    }))
}

fn children_of(seen: &RunsSeen<'_>, parent: &Run) -> BTreeMap<DataInterval, ChildState> {
    let own = seen.runs.iter().filter(|run| run.maker.as_deref() == Some(&parent.uid));
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
