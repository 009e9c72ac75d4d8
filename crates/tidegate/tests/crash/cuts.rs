//! Where workers are cut, and what it takes to bring one there.

use std::time::Duration;

use anyhow::Result;
use tidegate_runtime::failpoint::STEPS;
use tidegate_testing::Random;

use crate::life::{Life, MILESTONES};
use crate::world::World;

const REACHED: Duration = Duration::from_secs(30);
/// After so many commits a batch is nearly always open: the first ones follow at once on the claims.
const STEADY: usize = 6;
/// Versions between two checkpoints.
const CHECKPOINT_EACH: u64 = 50;
/// So many versions before a checkpoint is due a worker is sent there.
const NEAR: u64 = 20;

/// Steps at which a worker is frozen; all hold partitions but the first two.
pub(crate) const FREEZING: &[&str] = &[
    "commit.before_put",
    "batch.sealed",
    "commit.after_put",
    "files.after_finish",
    "dead_letters.file_written",
    "claim.before_put",
    "dead_letters.before_commit",
    "claim.after_put",
    "files.before_finish",
    "dead_letters.after_commit",
    "batch.judged",
    "window.loaded",
];

/// One death.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cut {
    /// At a named step of the protocol.
    Step(&'static str),
    /// Somewhere behind the n-th milestone of a life; 0 is its start.
    Moment(usize),
}

/// The deaths of a run, in random order.
pub(crate) struct Cuts {
    left: Vec<Cut>,
}

impl Cuts {
    /// At least `kills`, of which about half at named steps, each step at least once but those of the
    /// trimming.
    pub(crate) fn plan(kills: u32, random: &mut Random) -> Self {
        let steps = || STEPS.iter().filter(|step| !step.starts_with("trim."));
        let rounds = (kills as usize * 3 / 5 / STEPS.len()).max(1);
        let mut left: Vec<_> =
            (0..rounds).flat_map(|_| steps().map(|step| Cut::Step(step))).collect();
        let moments = (kills as usize).saturating_sub(left.len()).max(MILESTONES.len());
        left.extend((0..moments).map(|n| Cut::Moment(n % (MILESTONES.len() + 1))));
        random.shuffle(&mut left);
        Self { left }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// The next cut; one at a checkpoint when one is nearly due, because that takes the fewest commits.
    pub(crate) fn next(&mut self, version: u64) -> Option<Cut> {
        let near = CHECKPOINT_EACH - version % CHECKPOINT_EACH <= NEAR;
        let wanted = self.left.iter().rposition(|cut| is_checkpoint(*cut) == near);
        match wanted {
            Some(index) => Some(self.left.remove(index)),
            None => self.left.pop(),
        }
    }
}

fn is_checkpoint(cut: Cut) -> bool {
    matches!(cut, Cut::Step(step) if step.starts_with("checkpoint."))
}

/// The occasions of a step at which a worker may be cut: what repeats in a life is cut at different
/// repetitions.
pub(crate) fn times(step: &str) -> Vec<u32> {
    match step {
        "window.loaded" => vec![1, 2, 3, 4],
        "batch.judged" => vec![1, 2, 5, 9],
        "batch.sealed"
        | "files.before_finish"
        | "files.after_finish"
        | "commit.before_put"
        | "commit.after_put" => vec![1, 2, 3, 5],
        "dead_letters.file_written"
        | "dead_letters.before_commit"
        | "dead_letters.after_commit" => {
            vec![1, 2]
        }
        _ => vec![1],
    }
}

/// Lets the worker live until it dies at the step; false when it got past it.
pub(crate) async fn provoke(life: &mut Life, world: &mut World, step: &str) -> Result<bool> {
    match step {
        // Cut with the last batch, which there is while messages come in.
        "window.snapshot_written" => {
            life.reach_often("committed", STEADY, REACHED).await?;
            life.signal_if_alive("TERM").await?;
        }
        // Without a batch: the release is a commit of its own.
        "release.before_put" | "release.after_put" => {
            let _silence = world.traffic.pause().await;
            world.caught_up(REACHED).await?;
            life.signal_if_alive("TERM").await?;
            return life.died(REACHED).await;
        }
        _ => {}
    }
    life.died(REACHED).await
}
