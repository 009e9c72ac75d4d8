//! Pages that are more than their headers say.
//!
//! The Parquet library unpacks gzip, and LZ4 in frames, to their end and compares sizes afterwards, so
//! that a small page may take any memory. Gzip is therefore unpacked here, up to the size that the header says.
//! LZ4, of which there are several kinds, is unpacked into nothing first. Other codecs are given that much room
//! and no more.

use std::io::Read;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use lz4_flex::frame::FrameDecoder;
use parquet::basic::Compression;

use super::thrift::{NEXT_NUMBER, number};

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
}

/// Why a page is not handed on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It is more than it says.
    Larger,
    /// It cannot be unpacked, or is less than it says.
    Unreadable(String),
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

    /// The page as the library is to have it: without gzip.
    pub(super) fn unpack(self, packing: Packing, page: Bytes) -> Result<Bytes, Wrong> {
        if page.len() as u64 != self.packed {
            return Err(Wrong::Larger);
        }
        let levels = usize::try_from(self.levels).ok().filter(|levels| *levels <= page.len());
        let Some((levels, most)) = levels.zip(self.unpacked.checked_sub(self.levels)) else {
            return Err(Wrong::Unreadable("its levels are more than the page".to_owned()));
        };
        match packing {
            _ if !self.is_packed => Ok(page),
            Packing::Gzip => gunzip(&page, levels, most),
            Packing::Lz4 if has_more(&page[levels..], most) => Err(Wrong::Larger),
            Packing::Lz4 | Packing::Bounded => Ok(page),
        }
    }

    /// What it says it has, unpacked.
    pub(super) fn unpacked(self) -> u64 {
        self.unpacked
    }
}

/// A page of levels and of packed values, which are to have `most` bytes.
fn gunzip(page: &[u8], levels: usize, most: u64) -> Result<Bytes, Wrong> {
    let whole = usize::try_from(most).unwrap_or(usize::MAX).saturating_add(levels);
    // No more than a page may have: that is looked at before one is read.
    let mut unpacked = Vec::with_capacity(whole);
    unpacked.extend_from_slice(&page[..levels]);
    // Where there is to be nothing, nothing need be packed.
    if most > 0 {
        let mut values = MultiGzDecoder::new(&page[levels..]).take(most.saturating_add(1));
        let read = values.read_to_end(&mut unpacked);
        if unpacked.len() > whole {
            return Err(Wrong::Larger);
        }
        read.map_err(|error| Wrong::Unreadable(error.to_string()))?;
    }
    if unpacked.len() != whole {
        let (found, said) = (unpacked.len(), whole);
        return Err(Wrong::Unreadable(format!("a page has {found} bytes and says {said}")));
    }
    Ok(unpacked.into())
}

/// Whether more than `most` bytes come out of LZ4 in frames. What cannot be unpacked so ends earlier with an
/// error; the library knows other kinds, or tells it.
fn has_more(packed: &[u8], most: u64) -> bool {
    // Nothing is unpacked where there is to be nothing.
    if most == 0 {
        return false;
    }
    let mut values = FrameDecoder::new(packed).take(most.saturating_add(1));
    std::io::copy(&mut values, &mut std::io::sink()).is_ok_and(|bytes| bytes > most)
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

    /// What becomes of a page that says of itself what the claim says.
    fn outcome(claim: Claim, packing: Packing, page: &[u8]) -> &'static str {
        match claim.unpack(packing, Bytes::copy_from_slice(page)) {
            Ok(found) if found == page => "as it is",
            Ok(found) if found.len() as u64 == claim.unpacked => "unpacked",
            Ok(_) => "of another size",
            Err(Wrong::Larger) => "larger",
            Err(Wrong::Unreadable(_)) => "unreadable",
        }
    }

    #[test]
    fn a_page_may_be_as_large_as_it_says_and_no_larger() {
        let sizes = [5_000, 4_999, 1, 5_001, 0];
        for (packing, page, expected) in [
            (
                Packing::Gzip,
                gzip(5_000),
                ["unpacked", "larger", "larger", "unreadable", "unpacked"],
            ),
            (
                Packing::Gzip,
                [gzip(2_000), gzip(3_000)].concat(),
                ["unpacked", "larger", "larger", "unreadable", "unpacked"],
            ),
            // The library unpacks it, and compares.
            (Packing::Lz4, lz4(5_000), ["as it is", "larger", "larger", "as it is", "as it is"]),
        ] {
            for (unpacked, expected) in sizes.into_iter().zip(expected) {
                let packed = page.len() as u64;
                let claim = Claim { packed, unpacked, levels: 0, is_packed: true };
                assert_eq!(outcome(claim, packing, &page), expected, "{packing:?} {unpacked}");
                let levels = [&[7; 3][..], &page].concat();
                let claim =
                    Claim { packed: packed + 3, unpacked: unpacked + 3, levels: 3, ..claim };
                assert_eq!(outcome(claim, packing, &levels), expected, "with levels");
                let plain = Claim { is_packed: false, ..claim };
                assert_eq!(outcome(plain, packing, &levels), "as it is", "nothing is packed");
                assert_eq!(outcome(claim, packing, &page), "larger", "it has not the size it says");
            }
        }
    }

    #[test]
    fn levels_stay_before_the_values_and_what_cannot_be_unpacked_is_told() {
        let page = [&[7; 3][..], &gzip(4)].concat();
        let claim = Claim { packed: page.len() as u64, unpacked: 7, levels: 3, is_packed: true };
        let unpacked = claim.unpack(Packing::Gzip, page.clone().into()).unwrap();
        assert_eq!(unpacked, [7, 7, 7, 0, 0, 0, 0].as_slice());
        let long = Claim { levels: 1_000, unpacked: 2_000, ..claim };
        assert_eq!(outcome(long, Packing::Gzip, &page), "unreadable");
        assert_eq!(outcome(Claim { unpacked: 2, ..claim }, Packing::Gzip, &page), "unreadable");
        let none = Claim { packed: 4, unpacked: 1, levels: 0, is_packed: true };
        assert_eq!(outcome(none, Packing::Gzip, b"none"), "unreadable");
        assert_eq!(outcome(none, Packing::Lz4, b"none"), "as it is", "the library tells it");
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
