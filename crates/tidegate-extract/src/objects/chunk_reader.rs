//! Reading one chunk: file after file, on a thread that may block.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use tidegate_config::{BadFilePolicy, FileCompression, FileFormat, ObjectSource};
use tidegate_types::{Field, Reason};

use super::chunks::Bounds;
use super::csv::Csv;
use super::fetch::Fetch;
use super::listing::PinnedFile;
use super::ndjson::NdJson;
use super::outbox::{BadRecord, MAX_PAYLOAD, Outbox};
use super::parquet::{ParquetFile, Turns, Wanted};
use super::text::Text;
use super::trouble::{Cause, Trouble};
use super::unpack::{packing, unpack};
use crate::{ChunkCounts, ExtractError};

/// How many damaged files the message of an error names.
const NAMED: usize = 5;

/// How files become rows; the same for all chunks of a snapshot.
pub(crate) struct Reading {
    /// The source.
    pub(crate) source: ObjectSource,
    /// What a damaged file does.
    pub(crate) on_bad_file: BadFilePolicy,
    /// The columns.
    pub(crate) fields: Vec<Field>,
    /// The columns, as Parquet is asked for them.
    pub(crate) wanted: Wanted,
    /// Whose turn it is to have large pages in memory.
    pub(crate) turns: Turns,
    /// Files that turned out damaged, and how: each is one dead letter.
    pub(crate) damaged: Mutex<BTreeMap<String, (Reason, String)>>,
}

impl Reading {
    /// Reads the files of a chunk.
    pub(crate) fn read(
        &self,
        bounds: &Bounds,
        fetch: &Fetch,
        mut out: Outbox,
    ) -> Result<ChunkCounts, ExtractError> {
        let mut parser = Parser::new(self)?;
        let mut too_late = Vec::new();
        for file in &bounds.files {
            out.begin_file();
            if let Some((reason, what)) = self.known(&file.path) {
                self.dead_file(file, reason, what, fetch, &mut out)?;
                continue;
            }
            let part = Part { reading: self, file, bounds, fetch };
            match parser.read(&part, &mut out) {
                Ok(()) => {}
                Err(Trouble::Failed(error)) => return Err(error),
                Err(Trouble::Damaged { reason, what })
                    if self.on_bad_file == BadFilePolicy::Fail =>
                {
                    return Err(refused(file, reason, &what));
                }
                Err(Trouble::Damaged { reason, what }) => {
                    tracing::warn!(file = file.path, reason = %reason, what, "file set aside");
                    self.remember(&file.path, reason, &what);
                    if out.take_back() {
                        self.dead_file(file, reason, what, fetch, &mut out)?;
                    } else {
                        too_late.push(file.path.as_str());
                    }
                }
            }
        }
        if too_late.is_empty() { out.finish() } else { Err(once_more(&too_late)) }
    }

    fn known(&self, path: &str) -> Option<(Reason, String)> {
        self.damaged.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    fn remember(&self, path: &str, reason: Reason, what: &str) {
        let mut damaged = self.damaged.lock().unwrap_or_else(PoisonError::into_inner);
        damaged.insert(path.to_owned(), (reason, what.to_owned()));
    }

    /// Sets a whole file aside, with its beginning.
    fn dead_file(
        &self,
        file: &PinnedFile,
        reason: Reason,
        detail: String,
        fetch: &Fetch,
        out: &mut Outbox,
    ) -> Result<(), ExtractError> {
        let beginning = fetch.range(file, 0..file.size.min(MAX_PAYLOAD as u64))?;
        let (ordinal, place) = (out.ordinal(), file.path.clone());
        out.dead(BadRecord { ordinal, place, reason, detail, payload: &beginning })
    }
}

fn refused(file: &PinnedFile, reason: Reason, what: &str) -> ExtractError {
    let path = &file.path;
    let text = format!(
        "the file {path} cannot be read: {what}; correct or remove it, or let such files be set aside with onBadFile: DeadLetter"
    );
    ExtractError::permanent(reason, text)
}

/// Rows of these files were handed over already; the next reading of the chunk knows better.
fn once_more(files: &[&str]) -> ExtractError {
    let named = files.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    let more = files.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} others") } else { String::new() };
    let text = format!("damaged files: {named}{more}; the chunk is read again without them");
    ExtractError::transient(Reason::Malformed, text)
}

/// The parser of a format, with its buffers.
enum Parser {
    Csv(Box<Csv>),
    NdJson(Box<NdJson>),
    Parquet,
}

impl Parser {
    fn new(reading: &Reading) -> Result<Self, ExtractError> {
        Ok(match reading.source.format {
            FileFormat::Csv => Self::Csv(Box::new(Csv::new(&reading.fields, &reading.source.csv)?)),
            FileFormat::NdJson => Self::NdJson(Box::new(NdJson::new(&reading.fields)?)),
            FileFormat::Parquet => Self::Parquet,
        })
    }

    fn read(&mut self, part: &Part<'_>, out: &mut Outbox) -> Result<(), Trouble> {
        match self {
            Self::Csv(csv) => part.read_text(out, |text, out| csv.read(text, out)),
            Self::NdJson(json) => part.read_text(out, |text, out| json.read(text, out)),
            Self::Parquet => part.read_parquet(out),
        }
    }
}

/// What of one file is read.
struct Part<'a> {
    reading: &'a Reading,
    file: &'a PinnedFile,
    bounds: &'a Bounds,
    fetch: &'a Fetch,
}

impl Part<'_> {
    /// Reads lines or records out of what the file unpacks to.
    fn read_text(
        &self,
        out: &mut Outbox,
        parse: impl FnOnce(Text<'_>, &mut Outbox) -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let Self { reading, file, fetch, .. } = *self;
        let packing = packing(reading.source.compression, &file.path);
        if file.size == 0 {
            // What programs leave that had nothing to write; packed, nothing has some bytes.
            let empty =
                "it is empty, and packed not even an empty text is: its upload may have failed";
            let plain = packing == FileCompression::None;
            return if plain { Ok(()) } else { Err(Trouble::damaged(empty)) };
        }
        let cause = Cause::default();
        let whole = fetch.whole(file, &cause)?;
        let mut input = unpack(packing, whole).map_err(|error| {
            let what = "a decompressor could not be set up";
            ExtractError::transient(Reason::ResourceExhausted, what).because(error)
        })?;
        parse(Text { path: &file.path, input: &mut input, cause: &cause }, out)
    }

    /// The Parquet library is not made for damaged files everywhere: where it stops the thread, the file is
    /// damaged.
    fn read_parquet(&self, out: &mut Outbox) -> Result<(), Trouble> {
        let Self { reading, file, bounds, fetch } = *self;
        let read = AssertUnwindSafe(|| {
            let opened = ParquetFile::open(fetch, file)?;
            opened.read(bounds.row_groups.clone(), &reading.wanted, &reading.turns, out)
        });
        catch_unwind(read)
            .unwrap_or_else(|_| Err(Trouble::damaged("its pages contradict each other")))
    }
}
