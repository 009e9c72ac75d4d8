//! The members that an object may have, and guessing which one comes next.
//!
//! Senders write their fields in one order, so the key behind `a` is most likely the key that came
//! behind `a` last time. The guess is one comparison with `"key":` as a whole; a wrong guess costs a
//! look into a hash table, so that shuffled fields are slower but do not fall off a cliff. Guesses
//! change speed, never a verdict (S7).

use std::collections::HashMap;

use crate::near::fold;

/// The known members of one kind of object.
#[derive(Debug)]
pub(crate) struct Members {
    known: Vec<Member>,
    /// `next[0]`: the member that came first; `next[i + 1]`: the one that came behind member i.
    next: Vec<u16>,
    /// Open addressing; members by the hash of their names, [`FREE`] where there is none. At most half
    /// full, so that every probe ends.
    table: Vec<u16>,
    /// By what their names have in common with nearly the same ones.
    near: HashMap<Box<str>, usize>,
}

#[derive(Debug)]
struct Member {
    name: Box<str>,
    /// `"name":` as it usually stands in a message; empty when the name needs escapes.
    literal: Box<[u8]>,
    head: Head,
    /// The last object in which the member was seen.
    object: u64,
}

const FREE: u16 = u16::MAX;

impl Members {
    /// Members in the order of the schema. There are at most 512 fields and as many struct members as a
    /// type's text can hold; a `u16` is checked to be enough where types are compiled.
    pub(crate) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let known: Vec<_> = names.map(Member::new).collect();
        let count = u16::try_from(known.len()).unwrap_or(FREE - 1);
        let mut members = Self {
            next: (0..=count).map(|index| if index == count { 0 } else { index }).collect(),
            table: vec![FREE; (known.len() * 2).next_power_of_two().max(2)],
            near: known.iter().enumerate().map(|(at, member)| (member.folded(), at)).collect(),
            known,
        };
        for index in 0..count {
            let slot = members.slot(members.known[usize::from(index)].name.as_bytes());
            members.table[slot] = index;
        }
        members
    }

    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    pub(crate) fn name(&self, index: usize) -> &str {
        &self.known[index].name
    }

    /// The guessed member and the length of its `"name":`, when `rest` begins with it. `place` is 0 at
    /// the first member and one more than the member before it elsewhere.
    #[inline]
    pub(crate) fn guess(&self, place: usize, rest: &[u8]) -> Option<(usize, usize)> {
        let index = usize::from(self.next[place]);
        let Member { literal, head, .. } = self.known.get(index)?;
        // Most names are told apart by their first eight bytes. Nearer to the end of a message than
        // that nothing is guessed: the long way finds it.
        let word = u64::from_le_bytes(*rest.first_chunk()?);
        if word & head.mask != head.word || literal.is_empty() {
            return None;
        }
        let fits = literal.len() <= 8 || rest.starts_with(literal);
        fits.then_some((index, literal.len()))
    }

    /// Remembers what came behind `place`.
    #[inline]
    pub(crate) fn learn(&mut self, place: usize, index: usize) {
        self.next[place] = u16::try_from(index).unwrap_or(0);
    }

    pub(crate) fn find(&self, name: &[u8]) -> Option<usize> {
        let index = self.table[self.slot(name)];
        (index != FREE).then_some(usize::from(index))
    }

    /// Marks a member as seen in `object`; false when it was seen there before.
    #[inline]
    pub(crate) fn mark(&mut self, index: usize, object: u64) -> bool {
        let before = std::mem::replace(&mut self.known[index].object, object);
        before != object
    }

    /// The member that `object` lacks so far and whose name is nearly this one. `folded` is memory for it.
    pub(crate) fn lacking(&self, object: u64, name: &str, folded: &mut String) -> Option<&str> {
        fold(name, folded);
        let member = &self.known[*self.near.get(folded.as_str())?];
        (member.object != object).then_some(&*member.name)
    }

    /// The slot that holds the name, or the free one where it would be.
    fn slot(&self, name: &[u8]) -> usize {
        let mask = self.table.len() - 1;
        let mut slot = hash(name) as usize & mask;
        loop {
            match self.table[slot] {
                FREE => return slot,
                index if self.known[usize::from(index)].name.as_bytes() == name => return slot,
                _ => slot = (slot + 1) & mask,
            }
        }
    }
}

impl Member {
    fn new(name: &str) -> Self {
        let plain = name.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\');
        let literal = if plain { format!("\"{name}\":").into_bytes() } else { Vec::new() };
        Self { name: name.into(), head: Head::new(&literal), literal: literal.into(), object: 0 }
    }

    fn folded(&self) -> Box<str> {
        let mut folded = String::new();
        fold(&self.name, &mut folded);
        folded.into()
    }
}

/// Length, first and last bytes. Only names of the schema enter the table, so nobody can make the
/// probes long by sending names.
#[inline]
fn hash(name: &[u8]) -> u64 {
    let (first, last) = if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
    } else if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
        (u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into())
    } else {
        (name.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)), 0)
    };
    let mixed =
        (first ^ last.rotate_left(23) ^ name.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 32
}

/// The first bytes of a literal, to be compared in one step.
#[derive(Debug, Clone, Copy)]
struct Head {
    word: u64,
    /// Ones where the literal has bytes.
    mask: u64,
}

impl Head {
    fn new(literal: &[u8]) -> Self {
        let mut head = Self { word: 0, mask: 0 };
        for (place, byte) in literal.iter().take(8).enumerate() {
            head.word |= u64::from(*byte) << (8 * place);
            head.mask |= 0xff << (8 * place);
        }
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_no_other() {
        let names: Vec<String> =
            (0..512).map(|n| format!("field_with_a_long_name_{n:04}")).collect();
        let members = Members::new(names.iter().map(String::as_str));
        for (index, name) in names.iter().enumerate() {
            assert_eq!(members.find(name.as_bytes()), Some(index));
        }
        assert_eq!(members.find(b""), None);
        assert_eq!(members.find(b"field_with_a_long_name_512"), None);
        assert_eq!(Members::new([].into_iter()).find(b"a"), None);
    }

    #[test]
    fn the_order_seen_last_is_guessed_next() {
        let mut members = Members::new(["a", "b"].into_iter());
        assert_eq!(members.guess(0, b"\"a\":1,\"b\":2}"), Some((0, 4)));
        assert_eq!(members.guess(0, b"\"a\":1}"), None, "too near to the end for a guess");
        assert_eq!(members.guess(0, b"\"b\":1,\"a\":2}"), None);
        members.learn(0, 1);
        assert_eq!(members.guess(0, b"\"b\":1,\"a\":2}"), Some((1, 4)));
        assert_eq!(Members::new([].into_iter()).guess(0, b"\"a\":1,\"b\":2}"), None);
    }

    #[test]
    fn a_name_that_looks_like_json_is_never_guessed() {
        let members = Members::new(["a\":1,\"b"].into_iter());
        assert_eq!(members.guess(0, br#""a":1,"b":2}"#), None);
    }
}
