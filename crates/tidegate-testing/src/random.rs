//! Chance that can be repeated.

use crate::parameter::parameter;

/// `SplitMix64`: the same seed gives the same numbers.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of this seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// The numbers of the parameter `SEED`, else others in each process; the seed is printed.
    #[must_use]
    pub fn from_parameter() -> Self {
        let seed = parameter("SEED", u64::from(std::process::id()));
        #[expect(clippy::print_stdout, reason = "whoever looks at a failure needs the seed")]
        {
            println!("SEED={seed}");
        }
        Self(seed)
    }

    /// Another chance that depends on this one.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self(self.bits())
    }

    /// 64 of them.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform below `end`; zero when that is zero.
    pub fn below(&mut self, end: u64) -> u64 {
        self.bits().checked_rem(end).unwrap_or(0)
    }

    /// The same for places in a list.
    pub fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).unwrap_or(0)
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }

    /// Uniform between 0 and 1.
    pub fn fraction(&mut self) -> f64 {
        let high = u32::try_from(self.bits() >> 32).unwrap_or(u32::MAX);
        f64::from(high) / f64::from(u32::MAX)
    }

    /// One of `choices`.
    ///
    /// # Panics
    ///
    /// When there are none.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.index(choices.len())]
    }

    /// Puts them into another order; each is as likely.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_order_again_and_loses_nothing() {
        let shuffled = |seed| {
            let mut items: Vec<_> = (0..100).collect();
            Random::seeded(seed).shuffle(&mut items);
            items
        };
        assert_eq!(shuffled(7), shuffled(7));
        assert_ne!(shuffled(7), shuffled(8));
        let mut sorted = shuffled(7);
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..100));
    }

    #[test]
    fn numbers_stay_in_their_range() {
        let mut random = Random::seeded(1);
        for _ in 0..1_000 {
            assert!(random.below(3) < 3 && (0.0..=1.0).contains(&random.fraction()));
        }
        let low = (0..10_000).filter(|_| random.percent(30)).count();
        assert!((2_800..3_200).contains(&low), "{low}");
        assert_eq!((random.below(0), random.index(1)), (0, 0));
        assert!(!random.percent(0) && random.percent(100));
    }
}
