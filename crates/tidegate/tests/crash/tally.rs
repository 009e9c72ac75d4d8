//! What was cut how often.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

/// Steps × kills × how often the floors moved in that life.
#[derive(Default)]
pub(crate) struct Tally {
    rows: BTreeMap<String, (u32, u32)>,
}

impl Tally {
    pub(crate) fn add(&mut self, what: &str, moved: bool) {
        let row = self.rows.entry(what.to_owned()).or_default();
        row.0 += 1;
        row.1 += u32::from(moved);
    }

    pub(crate) fn kills(&self) -> u32 {
        self.rows.values().map(|row| row.0).sum()
    }

    #[expect(clippy::print_stdout, reason = "the measure of the suite")]
    pub(crate) fn print(&self, title: &str) {
        println!("\n{title}\n{:36} {:>6} {:>12}", "step", "cuts", "floor moved");
        for (what, (kills, moved)) in &self.rows {
            println!("{what:36} {kills:>6} {moved:>12}");
        }
        println!("{:36} {:>6}", "all", self.kills());
    }

    /// Every step was met, and random moments lay before the claim, before the first commit and after.
    pub(crate) fn covers_a_whole_life(&self) -> Result<()> {
        for step in tidegate_runtime::failpoint::STEPS {
            ensure!(self.rows.contains_key(*step), "nobody was killed at {step}");
        }
        let early = ["random: starting", "random: listening", "random: opened"];
        let middle = ["random: claimed", "random: window loaded", "random: batch sealed"];
        let late = ["random: committed", "random: draining"];
        for phases in [&early[..], &middle, &late] {
            let met = phases.iter().any(|phase| self.rows.contains_key(*phase));
            ensure!(met, "no random moment in any of {phases:?}");
        }
        Ok(())
    }
}
