//! A set of stream sequences in about a bit each.

use std::collections::BTreeMap;

/// Sequences of one block. Chunks of bulk runs can be small, and each has a set of its own.
const BLOCK: u64 = 1 << 12;
const WORDS: usize = (BLOCK / 64) as usize;

/// Sequences are dense, so a bitmap in blocks holds a hundred million of them in 13 MB.
#[derive(Debug, Clone, Default)]
pub(super) struct SequenceSet {
    blocks: BTreeMap<u64, Box<[u64; WORDS]>>,
    count: u64,
}

impl SequenceSet {
    /// Adds a sequence; false when it was there.
    pub(super) fn insert(&mut self, sequence: u64) -> bool {
        let (block, word, bit) = place(sequence);
        let words = self.blocks.entry(block).or_insert_with(|| Box::new([0; WORDS]));
        let fresh = words[word] & bit == 0;
        words[word] |= bit;
        self.count += u64::from(fresh);
        fresh
    }

    /// Takes over all of `other`, and answers how many of them were there.
    pub(super) fn merge(&mut self, other: &Self) -> u64 {
        let mut known = 0;
        for (block, words) in &other.blocks {
            let own = self.blocks.entry(*block).or_insert_with(|| Box::new([0; WORDS]));
            for (own, word) in own.iter_mut().zip(words.iter()) {
                known += u64::from((*own & word).count_ones());
                *own |= word;
            }
        }
        self.count += other.count - known;
        known
    }

    pub(super) fn contains(&self, sequence: u64) -> bool {
        let (block, word, bit) = place(sequence);
        self.blocks.get(&block).is_some_and(|words| words[word] & bit != 0)
    }

    /// How many lie in `[from, to]`.
    pub(super) fn within(&self, from: u64, to: u64) -> u64 {
        if from > to {
            return 0;
        }
        let blocks = self.blocks.range(from / BLOCK..=to / BLOCK);
        let words = blocks.flat_map(|(block, words)| {
            (0_u64..).zip(words.iter()).map(move |(n, word)| (block * BLOCK + n * 64, *word))
        });
        let inside = |(first, word): (u64, u64)| {
            // Bits before `from` and behind `to` are masked.
            let low = from.saturating_sub(first).min(64);
            let high = to.checked_sub(first).map_or(0, |behind| behind.min(63) + 1);
            let below = |bits: u64| if bits >= 64 { u64::MAX } else { (1 << bits) - 1 };
            u64::from((word & below(high) & !below(low)).count_ones())
        };
        words.map(inside).sum()
    }

    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.count
    }

    /// The highest.
    pub(super) fn max(&self) -> Option<u64> {
        self.blocks.iter().rev().find_map(|(block, words)| {
            let word = words.iter().rposition(|word| *word != 0)?;
            let bit = 63 - u64::from(words[word].leading_zeros());
            Some(block * BLOCK + word as u64 * 64 + bit)
        })
    }
}

fn place(sequence: u64) -> (u64, usize, u64) {
    let within = sequence % BLOCK;
    (sequence / BLOCK, usize::try_from(within / 64).unwrap_or(0), 1 << (within % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_stretch_of_the_bitmap_has_as_many_as_the_set(
            sequences in prop::collection::vec(0_u64..20_000, 0..200),
            (from, to) in (0_u64..20_000, 0_u64..20_000),
        ) {
            let (mut set, mut oracle) = (SequenceSet::default(), BTreeSet::new());
            for sequence in sequences {
                set.insert(sequence);
                oracle.insert(sequence);
            }
            let expected = oracle.iter().filter(|s| (from..=to).contains(*s)).count() as u64;
            prop_assert_eq!(set.within(from, to), expected);
            prop_assert_eq!(set.within(0, u64::MAX), set.len());
        }

        #[test]
        fn the_bitmap_is_a_set(sequences in prop::collection::vec(
            prop_oneof![0_u64..300, 65_000_u64..66_000, any::<u64>()], 0..200,
        )) {
            let (mut set, mut oracle) = (SequenceSet::default(), BTreeSet::new());
            for sequence in sequences {
                prop_assert_eq!(set.insert(sequence), oracle.insert(sequence));
            }
            prop_assert_eq!(set.len(), oracle.len() as u64);
            prop_assert_eq!(set.max(), oracle.last().copied());
            for sequence in oracle {
                prop_assert!(set.contains(sequence));
            }
        }

        #[test]
        fn merging_counts_what_both_hold(
            one in prop::collection::btree_set(0_u64..200, 0..100),
            other in prop::collection::btree_set(100_u64..66_000, 0..100),
        ) {
            let set = |of: &BTreeSet<u64>| {
                let mut set = SequenceSet::default();
                of.iter().for_each(|sequence| assert!(set.insert(*sequence)));
                set
            };
            let mut merged = set(&one);
            prop_assert_eq!(merged.merge(&set(&other)), one.intersection(&other).count() as u64);
            prop_assert_eq!(merged.len(), one.union(&other).count() as u64);
            prop_assert!(one.union(&other).all(|sequence| merged.contains(*sequence)));
        }
    }
}
