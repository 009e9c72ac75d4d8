//! A window as bytes: a cache that spares reading the table, and nothing more (D2).
//!
//! # Format, version 1
//!
//! Little-endian. Header: `TGWINDOW`, version `u32`, precision `u32` (0 exact, 1 short), window in
//! microseconds `i64`, floor `u64`, configuration hash `u64`, partition `u32`, nonce `i64`, stream time
//! `i64`. Then blocks: a count `u32`, then so many entries of id (16 or 8 bytes) and time `i64`; a
//! count of zero ends them. Then XXH3-128 of everything before, 16 bytes. Nothing may follow.

use std::io::{self, Read, Write};

use thiserror::Error;
use tidegate_types::{KeyPrecision, Nonce, PartitionId, Position, StreamTime};
use xxhash_rust::xxh3::Xxh3;

use crate::generations::Generations;
use crate::key::Fingerprint;
use crate::options::{WindowError, WindowOptions};
use crate::run::SpillError;
use crate::window::{Ids, Window, at_precision};

const MAGIC: [u8; 8] = *b"TGWINDOW";
const VERSION: u32 = 1;
/// Entries of a block: 96 kB, so that neither side needs more for its buffer.
const BLOCK_ENTRIES: usize = 4_096;

/// What a snapshot says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// The window has seen every message up to here.
    pub floor: Position,
    /// A hash of everything that decides what an id is: key, seed, decoding.
    pub config_hash: u64,
    /// The partition.
    pub partition: PartitionId,
    /// The snapshot's own name, by which a commit refers to it (`snap`, P2).
    pub nonce: Nonce,
}

/// What the log says, against which a snapshot is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotExpectation {
    /// The floor of the commit from which work goes on.
    pub base: Position,
    /// Stream time at `base`.
    pub stream_time: StreamTime,
    /// The hash of the present configuration.
    pub config_hash: u64,
    /// The partition.
    pub partition: PartitionId,
    /// The nonce that the commit names.
    pub nonce: Nonce,
}

/// A window out of a snapshot.
#[derive(Debug)]
pub struct Restored {
    /// The window as it was at `floor`.
    pub window: Window,
    /// Rows with a higher `_tg_seq`, up to the base, are missing and must be inserted (D3).
    pub floor: Position,
}

/// Why a snapshot was thrown away. The window is rebuilt from the table instead.
#[derive(Debug, Error)]
pub enum SnapshotRejected {
    /// The bytes do not begin like a snapshot.
    #[error("not a window snapshot")]
    NotASnapshot,
    /// Another release wrote it.
    #[error("snapshot has version {found}, this release reads version {VERSION}")]
    Version {
        /// The version found.
        found: u32,
    },
    /// A field of the header is not what the log or the configuration says.
    #[error("snapshot has {field} {found}, expected {expected}")]
    Mismatch {
        /// The field.
        field: &'static str,
        /// What the snapshot says.
        found: i128,
        /// What it should say.
        expected: i128,
    },
    /// It was taken behind the base: it holds ids that the table does not.
    #[error("snapshot reaches to {floor}, beyond the base {base}")]
    BeyondBase {
        /// The snapshot's floor.
        floor: Position,
        /// The base.
        base: Position,
    },
    /// An entry lies outside of the window.
    #[error("snapshot holds an id of time {time}, outside of its window")]
    EntryOutsideWindow {
        /// Microseconds since 1970.
        time: i64,
    },
    /// A block is longer than any that is written.
    #[error("snapshot has a block of {entries} entries")]
    BlockTooLong {
        /// The count found.
        entries: u32,
    },
    /// The bytes are not those that were written.
    #[error("snapshot does not match its checksum")]
    Checksum,
    /// Bytes follow the checksum.
    #[error("snapshot goes on behind its end")]
    TrailingBytes,
    /// It ended early or could not be read.
    #[error("unable to read the snapshot to its end")]
    Read(#[source] io::Error),
    /// Its ids do not fit.
    #[error("unable to hold the snapshot's ids")]
    Window(#[from] WindowError),
}

impl Window {
    /// Writes the window as it is now. Cut snapshots at batch boundaries (D3).
    ///
    /// # Errors
    ///
    /// When `output` fails, or the disk that holds spilled ids ([`SpillError`] inside).
    pub fn write_snapshot(&self, header: &SnapshotHeader, output: impl Write) -> io::Result<()> {
        let mut output = Hashing { inner: output, hasher: Xxh3::new() };
        output.write_all(&MAGIC)?;
        output.write_all(&VERSION.to_le_bytes())?;
        output.write_all(&precision_code(self.options.keys).to_le_bytes())?;
        output.write_all(&self.options.window.as_micros().to_le_bytes())?;
        output.write_all(&header.floor.0.to_le_bytes())?;
        output.write_all(&header.config_hash.to_le_bytes())?;
        output.write_all(&header.partition.0.to_le_bytes())?;
        output.write_all(&header.nonce.as_txn().to_le_bytes())?;
        output.write_all(&self.stream_time().0.to_le_bytes())?;
        at_precision!(self.ids(), ids => write_blocks(ids, self.horizon(), &mut output))?;
        let checksum = output.hasher.digest128();
        output.inner.write_all(&checksum.to_le_bytes())?;
        output.inner.flush()
    }

    /// The bytes of [`Self::write_snapshot`]. They may be many: 24 for each id.
    ///
    /// # Errors
    ///
    /// When the disk that holds spilled ids fails.
    pub fn snapshot(&self, header: &SnapshotHeader) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.write_snapshot(header, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads a snapshot back. Nothing of it is trusted before all of it was checked.
    ///
    /// # Errors
    ///
    /// [`SnapshotRejected`] with the reason; the caller rebuilds the window from the table.
    pub fn restore(
        input: impl Read,
        expected: &SnapshotExpectation,
        options: WindowOptions,
    ) -> Result<Restored, SnapshotRejected> {
        let mut input = Hashing { inner: input, hasher: Xxh3::new() };
        let (floor, stream_time) = read_header(&mut input, expected, &options)?;
        let mut window = Self::new(options);
        window.resume_at(stream_time);
        read_blocks(&mut input, &mut window)?;
        let found = input.hasher.digest128();
        if u128::from_le_bytes(read(&mut input)?) != found {
            return Err(SnapshotRejected::Checksum);
        }
        match input.inner.read(&mut [0]) {
            Ok(0) => Ok(Restored { window, floor }),
            Ok(_) => Err(SnapshotRejected::TrailingBytes),
            Err(error) => Err(SnapshotRejected::Read(error)),
        }
    }
}

fn read_header(
    input: &mut impl Read,
    expected: &SnapshotExpectation,
    options: &WindowOptions,
) -> Result<(Position, StreamTime), SnapshotRejected> {
    if read(input)? != MAGIC {
        return Err(SnapshotRejected::NotASnapshot);
    }
    let found = u32::from_le_bytes(read(input)?);
    if found != VERSION {
        return Err(SnapshotRejected::Version { found });
    }
    same("precision", u32::from_le_bytes(read(input)?), precision_code(options.keys))?;
    same("window", i64::from_le_bytes(read(input)?), options.window.as_micros())?;
    let floor = Position(u64::from_le_bytes(read(input)?));
    if floor > expected.base {
        return Err(SnapshotRejected::BeyondBase { floor, base: expected.base });
    }
    same("configuration hash", u64::from_le_bytes(read(input)?), expected.config_hash)?;
    same("partition", u32::from_le_bytes(read(input)?), expected.partition.0)?;
    same("nonce", i64::from_le_bytes(read(input)?), expected.nonce.as_txn())?;
    let time = i64::from_le_bytes(read(input)?);
    // Stream time is a running maximum: at the base it is the log's, before it no later.
    if floor == expected.base || time > expected.stream_time.0 {
        same("stream time", time, expected.stream_time.0)?;
    }
    Ok((floor, StreamTime(time)))
}

fn same<T: Into<i128> + PartialEq + Copy>(
    field: &'static str,
    found: T,
    expected: T,
) -> Result<(), SnapshotRejected> {
    if found == expected {
        return Ok(());
    }
    Err(SnapshotRejected::Mismatch { field, found: found.into(), expected: expected.into() })
}

fn write_blocks<const N: usize>(
    ids: &Generations<N>,
    horizon: StreamTime,
    output: &mut impl Write,
) -> io::Result<()> {
    let mut block = Vec::with_capacity(BLOCK_ENTRIES * (N + 8));
    for entry in ids.entries(horizon) {
        let (key, time) = entry.map_err(|error: SpillError| io::Error::other(error))?;
        block.extend_from_slice(&key);
        block.extend_from_slice(&time.0.to_le_bytes());
        if block.len() == BLOCK_ENTRIES * (N + 8) {
            write_block::<N>(&mut block, output)?;
        }
    }
    if !block.is_empty() {
        write_block::<N>(&mut block, output)?;
    }
    output.write_all(&0_u32.to_le_bytes())
}

fn write_block<const N: usize>(block: &mut Vec<u8>, output: &mut impl Write) -> io::Result<()> {
    let entries = u32::try_from(block.len() / (N + 8)).map_err(io::Error::other)?;
    output.write_all(&entries.to_le_bytes())?;
    output.write_all(block)?;
    block.clear();
    Ok(())
}

fn read_blocks(input: &mut impl Read, window: &mut Window) -> Result<(), SnapshotRejected> {
    let id_bytes = match window.options.keys {
        KeyPrecision::Exact => 16,
        KeyPrecision::Fingerprint => 8,
    };
    let mut rows = Vec::with_capacity(BLOCK_ENTRIES);
    loop {
        let entries = u32::from_le_bytes(read(input)?);
        if entries == 0 {
            return Ok(());
        }
        if entries as usize > BLOCK_ENTRIES {
            return Err(SnapshotRejected::BlockTooLong { entries });
        }
        rows.clear();
        for _ in 0..entries {
            let mut id = [0; 16];
            input.read_exact(&mut id[..id_bytes]).map_err(SnapshotRejected::Read)?;
            let time = StreamTime(i64::from_le_bytes(read(input)?));
            if time <= window.horizon() || time > window.stream_time() {
                return Err(SnapshotRejected::EntryOutsideWindow { time: time.0 });
            }
            rows.push((Fingerprint::from_be_bytes(id), time));
        }
        window.insert_all(&rows)?;
    }
}

fn read<const N: usize>(input: &mut impl Read) -> Result<[u8; N], SnapshotRejected> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes).map_err(SnapshotRejected::Read)?;
    Ok(bytes)
}

fn precision_code(precision: KeyPrecision) -> u32 {
    match precision {
        KeyPrecision::Exact => 0,
        KeyPrecision::Fingerprint => 1,
    }
}

/// Hashes what passes through.
struct Hashing<T> {
    inner: T,
    hasher: Xxh3,
}

impl<T: Write> Write for Hashing<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Hashing<T> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }
}
