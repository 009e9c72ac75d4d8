//! A Parquet file in a store, read by stretches.
//!
//! The Parquet reader asks for one page of one column after the other. Each column goes forward through its
//! own part of the file, so a few larger stretches, about one a column, serve all of them, and memory does
//! not depend on the size of row groups. Headers of pages pass through here, and so do the look at what
//! they say and the unpacking of what has no bound of its own ([`Pages`]).

use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::pages::{self, Dictionary, Pages, Stop};
use crate::objects::fetch::Fetch;
use crate::objects::listing::PinnedFile;
use crate::objects::trouble::{Cause, Trouble};

/// How much of one file is held at a time.
const BUDGET: u64 = 8 << 20;
/// A stretch is worth a request from here on; at most one request a column is under way anyway.
const LEAST: u64 = 64 << 10;
const MOST: u64 = 4 << 20;
/// Files up to here are fetched whole.
const SMALL: u64 = 2 << 20;
/// Largest single thing that is taken into memory: a page, or the footer, which takes several times its
/// size once it is read.
const LARGEST: u64 = pages::LARGEST;

/// The file. Clones share what is held.
#[derive(Clone)]
pub(crate) struct Ranges(Arc<Shared>);

struct Shared {
    fetch: Fetch,
    file: PinnedFile,
    cause: Cause,
    held: Mutex<Held>,
    /// None while the footer is read.
    pages: Mutex<Option<Pages>>,
}

struct Held {
    /// Stretches and where each begins, the least recently used first.
    stretches: Vec<(u64, Bytes)>,
    count: usize,
    length: u64,
}

impl Ranges {
    /// Errors of the store are kept in `cause`.
    pub(crate) fn new(fetch: Fetch, file: PinnedFile, cause: Cause) -> Self {
        let length = if file.size <= SMALL { file.size } else { LEAST };
        let held = Mutex::new(Held { stretches: Vec::new(), count: 2, length });
        Self(Arc::new(Shared { fetch, file, cause, held, pages: Mutex::default() }))
    }

    /// From here on pages are read, of so many columns side by side.
    pub(super) fn read_pages(&self, columns: usize, pages: Pages) {
        *self.0.pages.lock().unwrap_or_else(PoisonError::into_inner) = Some(pages);
        if self.0.file.size <= SMALL {
            return;
        }
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.count = columns + 1;
        held.length = (BUDGET / held.count as u64).clamp(LEAST, MOST);
    }

    /// Why a page was refused, if one was.
    pub(super) fn refusal(&self) -> Option<Trouble> {
        let mut pages = self.0.pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages.as_mut().and_then(Pages::refusal)
    }

    /// What the dictionary that begins at `at` says of itself; none when it cannot be read.
    pub(super) fn dictionary(&self, at: u64) -> Option<Dictionary> {
        let length = self.0.file.size.checked_sub(at)?.min(pages::BEGINNING);
        let beginning = self.bytes(at, length).ok()?;
        Dictionary::read(&beginning)
    }

    /// Looks at the page whose header begins at `at`.
    fn admit(&self, at: u64) -> std::io::Result<()> {
        let Shared { fetch, file, cause, pages, .. } = &*self.0;
        let mut pages = pages.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pages) = pages.as_mut() else { return Ok(()) };
        let length = file.size.saturating_sub(at).min(pages::BEGINNING);
        let beginning = self.bytes(at, length).map_err(std::io::Error::other)?;
        pages.admit(at, &beginning, fetch).map_err(|stop| match stop {
            Stop::Refused(what) => std::io::Error::other(what),
            Stop::Failed(error) => cause.keep(error),
        })
    }

    fn bytes(&self, start: u64, length: u64) -> Result<Bytes, ParquetError> {
        let Shared { fetch, file, cause, held, .. } = &*self.0;
        let end = start.checked_add(length).filter(|end| *end <= file.size).ok_or_else(|| {
            ParquetError::EOF(format!("{length} bytes at {start} are not in its {}", file.size))
        })?;
        if length > LARGEST {
            let text = format!("a page or footer of {length} bytes is larger than {LARGEST}");
            return Err(ParquetError::General(text));
        }
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = held.get(start, end) {
            return Ok(bytes);
        }
        let (from, to) = if file.size <= SMALL {
            (0, file.size)
        } else {
            (start, end.max((start + held.length).min(file.size)))
        };
        let fetched = fetch.range(file, from..to).map_err(|error| cause.keep(error))?;
        held.put(from, fetched.clone());
        let (start, end) = (start - from, end - from);
        Ok(fetched.slice(index(start)..index(end)))
    }
}

/// An offset within a stretch that is in memory.
fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

impl Held {
    fn get(&mut self, start: u64, end: u64) -> Option<Bytes> {
        let within =
            |(from, bytes): &(u64, Bytes)| *from <= start && end <= *from + bytes.len() as u64;
        let found = self.stretches.iter().position(within)?;
        let (from, bytes) = self.stretches.remove(found);
        let slice = bytes.slice(index(start - from)..index(end - from));
        self.stretches.push((from, bytes));
        Some(slice)
    }

    fn put(&mut self, from: u64, bytes: Bytes) {
        let mut together: u64 = self.stretches.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        // One large page leaves no room for others.
        while self.stretches.len() >= self.count
            || (together + bytes.len() as u64 > BUDGET && !self.stretches.is_empty())
        {
            together -= self.stretches.remove(0).1.len() as u64;
        }
        self.stretches.push((from, bytes));
    }
}

impl Length for Ranges {
    fn len(&self) -> u64 {
        self.0.file.size
    }
}

impl ChunkReader for Ranges {
    type T = Onward;

    fn get_read(&self, start: u64) -> Result<Onward, ParquetError> {
        Ok(Onward { ranges: self.clone(), at: start, begun: false })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let bytes = self.bytes(start, length as u64)?;
        let mut pages = self.0.pages.lock().unwrap_or_else(PoisonError::into_inner);
        match pages.as_mut().filter(|_| length > 0) {
            Some(pages) => pages.unpack(start, bytes).map_err(ParquetError::General),
            None => Ok(bytes),
        }
    }
}

/// The file from an offset on.
pub(crate) struct Onward {
    ranges: Ranges,
    at: u64,
    begun: bool,
}

impl Read for Onward {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        // Page headers are read this way, byte by byte.
        const STEP: u64 = 512;
        let left = self.ranges.len().saturating_sub(self.at);
        let most = (into.len() as u64).min(STEP).min(left);
        if most == 0 {
            return Ok(0);
        }
        if !std::mem::replace(&mut self.begun, true) {
            self.ranges.admit(self.at)?;
        }
        let bytes = self.ranges.bytes(self.at, most).map_err(std::io::Error::other)?;
        into[..bytes.len()].copy_from_slice(&bytes);
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }
}
