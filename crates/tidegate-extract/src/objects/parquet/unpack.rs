//! Pages that are more than their headers say.
//!
//! The Parquet library unpacks gzip, and LZ4 in frames, to their end and compares sizes afterwards, so
//! that a small page may take any memory. Such pages are unpacked here first, into nothing, up to the size
//! that the header says. Other codecs are given that much room and no more.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use lz4_flex::frame::FrameDecoder;
use parquet::basic::Compression;

use super::pages::{NEXT_NUMBER, number};

/// The type of a data page that begins with levels which are not packed.
const DATA_V2: i32 = 3;
/// The fields of such a page, behind those of every page, or behind those and a checksum.
const DATA_V2_FIELDS: [u8; 2] = [0x5c, 0x4c];
/// The field that says whether its values are packed: they are not.
const NOT_PACKED: u8 = 0x12;

/// How pages of a column are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Packing {
    /// So that it is never more than is asked for, or not at all.
    Bounded,
    Gzip,
    /// In blocks or in frames: only these have no bound.
    Lz4,
}

impl Packing {
    pub(super) fn of(codec: Compression) -> Self {
        match codec {
            Compression::GZIP(_) => Self::Gzip,
            Compression::LZ4 => Self::Lz4,
            _ => Self::Bounded,
        }
    }

    /// Whether more than `most` bytes come out. What cannot be unpacked ends earlier with an error, here
    /// as in the library, which tells it.
    fn gives_more(self, packed: &[u8], most: u64) -> bool {
        let is_more = |from: &mut dyn Read| {
            let mut from = from.take(most.saturating_add(1));
            std::io::copy(&mut from, &mut std::io::sink()).is_ok_and(|bytes| bytes > most)
        };
        match self {
            Self::Bounded => false,
            Self::Gzip => is_more(&mut MultiGzDecoder::new(packed)),
            Self::Lz4 => is_more(&mut FrameDecoder::new(packed)),
        }
    }
}

/// What a page header says of its page, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claim {
    packed: u64,
    /// With the levels.
    unpacked: u64,
    /// Levels before the values, which are not packed.
    levels: u64,
    /// Whether the values are.
    is_packed: bool,
}

impl Claim {
    /// None when no header that a writer makes begins so.
    pub(super) fn read(mut beginning: &[u8]) -> Option<Self> {
        let from = &mut beginning;
        let (kind, unpacked, packed) = (number(from)?, size(from)?, size(from)?);
        let mut claim = Self { packed, unpacked, levels: 0, is_packed: true };
        if kind != DATA_V2 {
            return Some(claim);
        }
        let mut fields = DATA_V2_FIELDS[0];
        if from.first() == Some(&NEXT_NUMBER) {
            number(from)?;
            fields = DATA_V2_FIELDS[1];
        }
        *from = from.strip_prefix(&[fields])?;
        for _ in 0..4 {
            number(from)?;
        }
        claim.levels = size(from)? + size(from)?;
        claim.is_packed = from.first() != Some(&NOT_PACKED);
        Some(claim)
    }

    /// Whether the page is more than this.
    pub(super) fn is_exceeded(self, packing: Packing, page: &[u8]) -> bool {
        if page.len() as u64 != self.packed {
            return true;
        }
        let values = usize::try_from(self.levels).ok().and_then(|levels| page.get(levels..));
        let most = self.unpacked.saturating_sub(self.levels);
        // Nothing is unpacked where there is to be nothing.
        let is_unpacked = self.is_packed && most > 0;
        is_unpacked && values.is_some_and(|values| packing.gives_more(values, most))
    }

    /// What it says it has, unpacked.
    pub(super) fn unpacked(self) -> u64 {
        self.unpacked
    }
}

fn size(from: &mut &[u8]) -> Option<u64> {
    u64::try_from(number(from)?).ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: usize) -> Vec<u8> {
        let mut into = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        into.write_all(&vec![0; bytes]).unwrap();
        into.finish().unwrap()
    }

    fn lz4(bytes: usize) -> Vec<u8> {
        let mut into = lz4_flex::frame::FrameEncoder::new(Vec::new());
        into.write_all(&vec![0; bytes]).unwrap();
        into.finish().unwrap()
    }

    #[test]
    fn a_page_may_be_as_large_as_it_says_and_no_larger() {
        let levels = |page: &[u8]| [&[7; 3][..], page].concat();
        for (packing, page) in [
            (Packing::Gzip, gzip(5_000)),
            (Packing::Gzip, [gzip(2_000), gzip(3_000)].concat()),
            (Packing::Lz4, lz4(5_000)),
        ] {
            for (unpacked, exceeded) in [(5_000, false), (4_999, true), (1, true), (0, false)] {
                let packed = page.len() as u64;
                let claim = Claim { packed, unpacked, levels: 0, is_packed: true };
                assert_eq!(claim.is_exceeded(packing, &page), exceeded, "{packing:?} {unpacked}");
                let claim =
                    Claim { packed: packed + 3, unpacked: unpacked + 3, levels: 3, ..claim };
                assert_eq!(claim.is_exceeded(packing, &levels(&page)), exceeded, "with levels");
                let plain = Claim { is_packed: false, ..claim };
                assert!(!plain.is_exceeded(packing, &levels(&page)), "nothing is unpacked");
                assert!(claim.is_exceeded(packing, &page), "it has not the size it says");
            }
        }
        let claim = Claim { packed: 4, unpacked: 1, levels: 0, is_packed: true };
        assert!(!claim.is_exceeded(Packing::Gzip, b"none"), "the library tells it");
    }

    #[test]
    fn a_header_says_what_is_packed_and_what_is_not() {
        let sizes = [0x15, 0xac, 0x02, 0x15, 0x14];
        let claim =
            |levels, is_packed| Some(Claim { packed: 10, unpacked: 150, levels, is_packed });
        let of = |kind: u8, rest: &[u8]| Claim::read(&[&[0x15, kind], &sizes[..], rest].concat());
        assert_eq!(of(0, &[0x2c]), claim(0, true));
        let v2 = [0x15, 0x02, 0x15, 0x00, 0x15, 0x02, 0x15, 0x00, 0x15, 0x06, 0x15, 0x04];
        let (checksum, plain) = ([0x15, 0x08], [0x12]);
        assert_eq!(of(6, &[&[0x5c], &v2[..]].concat()), claim(5, true));
        assert_eq!(of(6, &[&[0x5c], &v2[..], &[0x11]].concat()), claim(5, true));
        assert_eq!(of(6, &[&[0x5c], &v2[..], &plain].concat()), claim(5, false));
        assert_eq!(of(6, &[&checksum[..], &[0x4c], &v2[..], &plain].concat()), claim(5, false));
        for wrong in [&[0x4c][..], &v2, &[0x5c, 0x15], &[&checksum[..], &[0x5c], &v2[..]].concat()]
        {
            assert_eq!(of(6, wrong), None, "{wrong:?}");
        }
    }
}
