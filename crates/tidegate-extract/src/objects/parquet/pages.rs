//! How large the pages in memory are, asked before any is unpacked.
//!
//! A page is unpacked as a whole, and one page of each column is in memory at a time, so pages and not
//! rows or row groups decide how much a file needs. Their sizes stand in their headers, which the Parquet
//! library reads through us. A page that is too large is refused before memory is taken for it. Of files
//! that need more than a reader's share, one is read at a time.

use std::sync::Arc;

use bytes::Bytes;
use parquet::file::metadata::ParquetMetaData;
use tidegate_types::{ByteSize, Reason};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::shares::{Share, Shares};
use super::thrift::{NEXT_NUMBER, number};
use super::unpack::{Claim, Packing, Wrong};
use crate::ExtractError;
use crate::objects::fetch::Fetch;
use crate::objects::trouble::Trouble;

/// Largest page. It is in memory packed, unpacked, and as the values of a batch.
pub(super) const LARGEST: u64 = 32 << 20;
/// Most bytes of all pages of one file that are in memory. Writers end a page and a dictionary at about a
/// mebibyte each, so that 64 columns may have both in full. Columns of values that do not repeat have no
/// dictionary, and those of few values or numbers have small pages: of them there may be many more.
const TOGETHER: u64 = 128 << 20;
/// What the readers of a run take without waiting for each other, all together: with four of them six such
/// columns each.
const SHARED: u64 = 48 << 20;
/// Longest beginning of a page header that says type, sizes, how many values a dictionary has and how long
/// levels are: ten numbers of five bytes and their marks, and two other marks.
pub(super) const BEGINNING: u64 = 62;
const DICTIONARY: i32 = 2;
/// The fields of a dictionary's page, behind those of every page, or behind those and a checksum.
const DICTIONARY_FIELDS: [u8; 2] = [0x4c, 0x3c];

/// Lets one file at a time have more than its share.
#[derive(Debug, Clone)]
pub(crate) struct Turns {
    large: Arc<Semaphore>,
    share: u64,
}

impl Turns {
    /// For so many readers.
    pub(crate) fn new(readers: u32) -> Self {
        Self { large: Arc::new(Semaphore::new(1)), share: SHARED / u64::from(readers.max(1)) }
    }
}

/// The pages of one file.
pub(super) struct Pages {
    shares: Shares,
    columns: Vec<Column>,
    turns: Turns,
    /// Held until the file is read, once it needed more than its share.
    turn: Option<OwnedSemaphorePermit>,
    refused: Option<String>,
}

/// What of a column is in memory, in bytes.
struct Column {
    name: String,
    /// The share of a row group that is read, by its number in [`Shares`].
    share: usize,
    dictionary: u64,
    page: u64,
    /// What the last header said, where that has to be looked after.
    claim: Option<Claim>,
}

/// Why a page is not read.
pub(super) enum Stop {
    /// The file asks for too much; the text is kept here too, see [`Pages::refusal`].
    Refused(String),
    /// Nobody waits for the rows any more.
    Failed(ExtractError),
}

impl Pages {
    pub(super) fn new(metadata: &ParquetMetaData, shares: Shares, turns: Turns) -> Self {
        let leaves = metadata.file_metadata().schema_descr().columns();
        let column = |name: String| Column { name, share: 0, dictionary: 0, page: 0, claim: None };
        let columns = leaves.iter().map(|leaf| column(leaf.path().string())).collect();
        Self { shares, columns, turns, turn: None, refused: None }
    }

    /// Looks at the page whose header begins at `at` with `beginning`. Waits for its turn when the file
    /// needs much.
    pub(super) fn admit(&mut self, at: u64, beginning: &[u8], fetch: &Fetch) -> Result<(), Stop> {
        let Some(header) = Header::read(beginning) else {
            return Err(self.refuse(format!("the page at {at} has no header that can be read")));
        };
        let Some((number, Share { leaf, packing, .. })) = self.shares.at(at) else {
            return Err(self.refuse(format!("the page at {at} is of no column")));
        };
        if header.bytes > LARGEST {
            let problem = too_large(&self.columns[leaf].name, header.bytes);
            return Err(self.refuse(problem));
        }
        let claim = Claim::read(beginning);
        if claim.is_none() && packing != Packing::Bounded {
            return Err(self.refuse(format!("the page at {at} has no header that can be read")));
        }
        self.columns[leaf].claim = claim.filter(|_| packing != Packing::Bounded);
        self.columns[leaf].take(number, &header);
        let together: u64 = self.columns.iter().map(Column::bytes).sum();
        if together > TOGETHER {
            let problem = self.too_many(together);
            return Err(self.refuse(problem));
        }
        if together > self.turns.share && self.turn.is_none() {
            self.turn = Some(fetch.turn(&self.turns.large).map_err(Stop::Failed)?);
        }
        Ok(())
    }

    /// The page itself, which begins at `at` behind its header, as the Parquet library is to have it.
    pub(super) fn unpack(&mut self, at: u64, page: Bytes) -> Result<Bytes, String> {
        let Some((_, share)) = self.shares.at(at) else { return Ok(page) };
        let Some(column) = self.columns.get(share.leaf) else { return Ok(page) };
        let Some(claim) = column.claim else { return Ok(page) };
        let problem = match claim.unpack(share.packing, page) {
            Ok(page) => return Ok(page),
            Err(Wrong::Unreadable(problem)) => return Err(problem),
            Err(Wrong::Larger) => format!(
                "column {:?} has a page that is larger than the {} bytes that it says; write the file anew",
                column.name,
                claim.unpacked()
            ),
        };
        self.refused = Some(problem.clone());
        Err(problem)
    }

    /// Why a page was refused, if one was.
    pub(super) fn refusal(&mut self) -> Option<Trouble> {
        let what = self.refused.take()?;
        Some(Trouble::Damaged { reason: Reason::TooLarge, what })
    }

    fn refuse(&mut self, what: String) -> Stop {
        self.refused = Some(what.clone());
        Stop::Refused(what)
    }

    fn too_many(&self, together: u64) -> String {
        let largest = self.columns.iter().max_by_key(|column| column.bytes());
        let (name, bytes) =
            largest.map_or(("", 0), |column| (column.name.as_str(), column.bytes()));
        format!(
            "the pages of its columns that are read side by side take {}, more than {} (the largest are of column {name:?} with {}); write the file with smaller pages, or declare fewer columns",
            ByteSize(together),
            ByteSize(TOGETHER),
            ByteSize(bytes)
        )
    }
}

impl Column {
    fn take(&mut self, share: usize, header: &Header) {
        if self.share != share {
            // What the last row group had is given back.
            (self.share, self.dictionary, self.page) = (share, 0, 0);
        }
        if header.is_dictionary {
            self.dictionary = header.bytes;
        } else {
            self.page = header.bytes;
        }
    }

    fn bytes(&self) -> u64 {
        self.dictionary + self.page
    }
}

fn too_large(column: &str, bytes: u64) -> String {
    format!(
        "column {column:?} has a page of {bytes} bytes, and pages up to {} are read; write the file with smaller pages (data page size, dictionary page size)",
        ByteSize(LARGEST)
    )
}

/// What a page header says at its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    is_dictionary: bool,
    /// Packed or unpacked, whichever is more.
    bytes: u64,
}

impl Header {
    /// The first three fields, in Thrift's compact protocol: type, unpacked and packed size. None when
    /// they are not there, as in no header that a writer makes.
    fn read(mut beginning: &[u8]) -> Option<Self> {
        let kind = number(&mut beginning)?;
        let (unpacked, packed) = (number(&mut beginning)?, number(&mut beginning)?);
        let bytes = u64::try_from(unpacked.max(packed)).ok()?;
        Some(Self { is_dictionary: kind == DICTIONARY, bytes })
    }
}

/// What a dictionary's page header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dictionary {
    bytes: u64,
    values: u64,
}

impl Dictionary {
    /// None when no dictionary begins so.
    pub(super) fn read(mut beginning: &[u8]) -> Option<Self> {
        let header = Header::read(beginning).filter(|header| header.is_dictionary)?;
        for _ in 0..3 {
            number(&mut beginning)?;
        }
        if beginning.first() == Some(&NEXT_NUMBER) {
            number(&mut beginning)?;
        }
        let (mark, mut fields) = beginning.split_first()?;
        if !DICTIONARY_FIELDS.contains(mark) {
            return None;
        }
        let values = u64::try_from(number(&mut fields)?).ok()?;
        Some(Self { bytes: header.bytes, values })
    }

    /// Bytes of a value.
    pub(super) fn average(self) -> u64 {
        self.bytes / self.values.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_header_says_type_and_sizes() {
        let data = [0x15, 0x00, 0x15, 0xac, 0x02, 0x15, 0x14, 0x2c];
        let wanted = |is_dictionary, bytes| Some(Header { is_dictionary, bytes });
        assert_eq!(Header::read(&data), wanted(false, 150));
        let dictionary = [0x15, 0x04, 0x15, 0x02, 0x15, 0x80, 0x80, 0x80, 0x64];
        assert_eq!(Header::read(&dictionary), wanted(true, 100 << 20));
        assert_eq!(Dictionary::read(&dictionary), None, "it ends too early");
        let (ten, checksum) = ([0x15, 0x14, 0x15], [0x15, 0xff, 0xff, 0xff, 0xff, 0x0f]);
        for (marks, more) in [(&[0x4c][..], &ten[..]), (&[0x3c], &ten)] {
            let checksum = if marks == [0x3c] { &checksum[..] } else { &[] };
            let whole = [&dictionary[..], checksum, marks, more].concat();
            let found = Dictionary::read(&whole).expect("a dictionary");
            assert_eq!((found.values, found.average()), (10, 10 << 20));
        }
        assert_eq!(Dictionary::read(&[&data[..], &[0x4c, 0x15, 0x02]].concat()), None);
        for wrong in [
            &data[..5],
            &[][..],
            &[0x18, 0x00, 0x15, 0x02, 0x15, 0x02],
            // A size below nothing.
            &[0x15, 0x00, 0x15, 0x01, 0x15, 0x01],
            &[0x15, 0x00, 0x15, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        ] {
            assert_eq!(Header::read(wrong), None, "{wrong:?}");
        }
    }
}
