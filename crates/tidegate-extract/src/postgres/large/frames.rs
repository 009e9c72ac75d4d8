//! Where messages begin and how long they are, and of one that is too large, why.

use crate::limits::LARGEST_ROW;

/// A letter, and the length of itself and what follows.
const HEADER: usize = 5;
/// The letter of a row of a `COPY`.
const ROW: u8 = b'd';
/// What the first row of a binary `COPY` stands behind: signature, flags, length of an extension that nobody has.
const COPY_HEADER: usize = 19;
const COPY_BEGINS: [u8; 2] = *b"PG";

/// Follows a server's messages without keeping them.
#[derive(Default)]
pub(super) struct Frames {
    header: Gathered<HEADER>,
    /// Bytes that are still to come of a message that may pass.
    left: usize,
    /// The message that may not.
    large: Option<Large>,
}

/// A message that is too large.
enum Large {
    Row(Walk),
    /// It is known where, as far as it can be.
    Told(Option<usize>),
}

impl Frames {
    /// Looks at bytes as they come; how many of them may be handed on. Fewer than all when one is too large.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> usize {
        let mut rest = bytes;
        while !rest.is_empty() && self.large.is_none() {
            let here = self.left.min(rest.len());
            self.left -= here;
            rest = &rest[here..];
            if let Some([letter, length @ ..]) = self.header.take(&mut rest) {
                self.begin(letter, u32::from_be_bytes(length));
            }
        }
        if let Some(Large::Row(walk)) = &mut self.large
            && let Some(column) = walk.feed(rest)
        {
            self.large = Some(Large::Told(Some(column)));
        }
        bytes.len() - rest.len()
    }

    fn begin(&mut self, letter: u8, length: u32) {
        // Such a length counts itself; a smaller one is told by the client.
        let length = usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(4);
        if length <= LARGEST_ROW {
            self.left = length;
        } else if letter == ROW {
            self.large = Some(Large::Row(Walk::default()));
        } else {
            self.large = Some(Large::Told(None));
        }
    }

    /// Whether nothing passes any more.
    pub(super) fn is_refusing(&self) -> bool {
        self.large.is_some()
    }

    /// Which column of a row went beyond the bound, if that can be told; none before it is known.
    pub(super) fn refused(&self) -> Option<Option<usize>> {
        match self.large {
            Some(Large::Told(column)) => Some(column),
            _ => None,
        }
    }

    /// There will be no more bytes.
    pub(super) fn end(&mut self) {
        self.large = Some(Large::Told(None));
    }
}

/// Goes from value to value of a row.
#[derive(Default)]
struct Walk {
    begun: bool,
    /// Of the first row.
    copy_header: usize,
    count: Gathered<2>,
    length: Gathered<4>,
    /// Bytes of the value that are still to come.
    left: usize,
    /// Bytes up to the end of that value.
    size: usize,
    column: usize,
}

impl Walk {
    /// The column whose value ends beyond the bound.
    fn feed(&mut self, mut bytes: &[u8]) -> Option<usize> {
        while !bytes.is_empty() {
            let skipped = (self.copy_header + self.left).min(bytes.len());
            bytes = &bytes[skipped..];
            if self.copy_header > 0 {
                self.copy_header -= skipped;
            } else {
                self.left -= skipped;
            }
            if !self.begun {
                self.begin(&mut bytes);
            } else if let Some(length) = self.length.take(&mut bytes) {
                self.size += 4;
                // A null has the length -1.
                self.left = usize::try_from(i32::from_be_bytes(length)).unwrap_or(0);
                self.size += self.left;
                if self.size > LARGEST_ROW {
                    return Some(self.column);
                }
                self.column += 1;
            }
        }
        None
    }

    /// How many columns there are is known anyway; but the first row stands behind the header.
    fn begin(&mut self, bytes: &mut &[u8]) {
        match self.count.take(bytes) {
            Some(COPY_BEGINS) if self.size == 0 => {
                self.copy_header = COPY_HEADER - COPY_BEGINS.len();
                self.size = COPY_HEADER;
            }
            Some(_) => {
                self.begun = true;
                self.size += 2;
            }
            None => {}
        }
    }
}

/// A few bytes that may come one by one.
struct Gathered<const N: usize> {
    bytes: [u8; N],
    count: usize,
}

impl<const N: usize> Default for Gathered<N> {
    fn default() -> Self {
        Self { bytes: [0; N], count: 0 }
    }
}

impl<const N: usize> Gathered<N> {
    /// Takes what is missing; all of them once they are there, and then it begins anew.
    fn take(&mut self, from: &mut &[u8]) -> Option<[u8; N]> {
        let here = (N - self.count).min(from.len());
        let (taken, rest) = from.split_at(here);
        self.bytes[self.count..self.count + here].copy_from_slice(taken);
        *from = rest;
        self.count += here;
        if self.count < N {
            return None;
        }
        self.count = 0;
        Some(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(letter: u8, body: &[u8], length: usize) -> Vec<u8> {
        let length = u32::try_from(length + 4).unwrap().to_be_bytes();
        [&[letter], &length[..], body].concat()
    }

    /// The beginning of a row whose values have such lengths; of the last one without its bytes.
    fn row(first: bool, lengths: &[i32]) -> Vec<u8> {
        let mut body = Vec::new();
        if first {
            body.extend(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
        }
        body.extend(i16::try_from(lengths.len()).unwrap().to_be_bytes());
        let (last, before) = lengths.split_last().unwrap();
        for length in before {
            body.extend(length.to_be_bytes());
            body.resize(body.len() + usize::try_from(*length).unwrap_or(0), b'x');
        }
        body.extend(last.to_be_bytes());
        body
    }

    /// What passes, and what was refused, whatever pieces the bytes come in.
    fn followed(bytes: &[u8]) -> (usize, Option<Option<usize>>) {
        let mut seen = Vec::new();
        for piece in [1, 2, 3, 7, 1 << 20] {
            let mut frames = Frames::default();
            let mut passed = 0;
            for piece in bytes.chunks(piece) {
                let here = frames.pass(piece);
                passed += here;
                assert!(here == piece.len() || frames.is_refusing());
            }
            seen.push((passed, frames.refused()));
        }
        assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
        seen[0]
    }

    #[test]
    fn what_fits_passes_and_a_row_that_does_not_is_refused_by_its_column() {
        let large = i32::try_from(LARGEST_ROW).unwrap();
        let ready = message(b'Z', b"I", 1);
        let small = message(b'd', &row(true, &[3, -1, 0]), row(true, &[3, -1, 0]).len());
        let before = [ready.clone(), small, ready].concat();
        assert_eq!(followed(&before), (before.len(), None));
        for (first, lengths, column) in [
            (false, vec![4, -1, large], 2),
            (true, vec![4, -1, large], 2),
            (true, vec![large], 0),
            (false, vec![70_000, large - 70_000], 1),
        ] {
            let body = row(first, &lengths);
            let size = body.len() + LARGEST_ROW;
            let bytes = [before.clone(), message(b'd', &body, size), vec![b'x'; 9]].concat();
            assert_eq!(
                followed(&bytes),
                (before.len() + HEADER, Some(Some(column))),
                "{lengths:?}"
            );
        }
    }

    #[test]
    fn a_message_of_the_bounds_size_passes_and_no_larger_one_of_any_kind() {
        let fits = message(b'd', &[], LARGEST_ROW);
        assert_eq!(followed(&fits), (HEADER, None));
        let beyond = message(b'D', b"rest", LARGEST_ROW + 1);
        assert_eq!(followed(&beyond), (HEADER, Some(None)));
    }
}
