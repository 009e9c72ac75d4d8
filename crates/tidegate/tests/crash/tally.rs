//! What was cut how often, and chance that can be repeated.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

/// `SplitMix64`: the same seed gives the same cuts.
pub(crate) struct Random {
    state: u64,
}

impl Random {
    pub(crate) fn seeded(seed: u64) -> Self {
        #[expect(clippy::print_stdout, reason = "whoever looks at a failure needs the seed")]
        {
            println!("SEED={seed}");
        }
        Self { state: seed }
    }

    /// Another chance that depends on this one.
    pub(crate) fn fork(&mut self) -> Self {
        Self { state: self.next() }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform below `end`, which is not zero.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Uniform between 0 and 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        f64::from(u32::try_from(self.next() >> 32).expect("32 bits")) / f64::from(u32::MAX)
    }

    /// One of `choices`, which are not none.
    pub(crate) fn among<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).expect("an index")]
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = usize::try_from(self.below(last as u64 + 1)).expect("an index");
            items.swap(last, other);
        }
    }
}

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
