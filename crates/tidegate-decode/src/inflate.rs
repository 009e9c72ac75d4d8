//! Payload compression, with a hard limit on what comes out: a few bytes may claim to be gigabytes.

use std::io::Read;

use flate2::bufread::MultiGzDecoder;
use tidegate_types::{PayloadCompression, Reason};
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use crate::fault::{Fault, Parsed};

/// Largest window that a Zstandard frame may ask for, as a power of two: 8 MiB, which every level but
/// the `--ultra` ones keeps and RFC 8878 recommends as a limit.
const ZSTD_WINDOW_LOG: u32 = 23;
/// How much room is made at a time.
const STEP: usize = 64 << 10;

/// Unpacks payloads, one after the other, into the same memory.
pub(crate) struct Inflater {
    kind: PayloadCompression,
    zstd: Option<Decoder<'static>>,
    out: Vec<u8>,
}

impl Inflater {
    /// # Errors
    ///
    /// When Zstandard cannot get its memory.
    pub(crate) fn new(kind: PayloadCompression) -> std::io::Result<Self> {
        let zstd = if kind == PayloadCompression::Zstd { Some(zstd_decoder()?) } else { None };
        Ok(Self { kind, zstd, out: Vec::new() })
    }

    /// The payload itself, at most `most` bytes.
    pub(crate) fn inflate<'a>(&'a mut self, payload: &'a [u8], most: usize) -> Parsed<&'a [u8]> {
        match &mut self.zstd {
            Some(decoder) => {
                self.out.clear();
                unzstd(decoder, payload, most, &mut self.out)?;
                Ok(&self.out)
            }
            None if self.kind == PayloadCompression::Gzip => {
                self.out.clear();
                gunzip(payload, most, &mut self.out)?;
                Ok(&self.out)
            }
            None => Ok(payload),
        }
    }
}

fn zstd_decoder() -> std::io::Result<Decoder<'static>> {
    let mut decoder = Decoder::new()?;
    decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))?;
    Ok(decoder)
}

fn gunzip(payload: &[u8], most: usize, out: &mut Vec<u8>) -> Parsed<()> {
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(payload)
        .take(limit)
        .read_to_end(out)
        .map_err(|error| Fault::new(Reason::Malformed, format!("not gzip: {error}")))?;
    if out.len() > most { Err(too_large(most)) } else { Ok(()) }
}

fn unzstd(decoder: &mut Decoder<'_>, payload: &[u8], most: usize, out: &mut Vec<u8>) -> Parsed<()> {
    let bad = |problem: &str| Fault::new(Reason::Malformed, format!("not zstd: {problem}"));
    decoder.reinit().map_err(|error| bad(&error.to_string()))?;
    let mut input = InBuffer::around(payload);
    loop {
        let written = out.len();
        out.resize(written + STEP.min(most + 1 - written), 0);
        let mut output = OutBuffer::around(&mut out[written..]);
        let hint = decoder.run(&mut input, &mut output).map_err(|error| bad(&error.to_string()))?;
        let added = output.pos();
        out.truncate(written + added);
        if out.len() > most {
            return Err(too_large(most));
        }
        // A hint of zero ends a frame; another one may follow it.
        let consumed = input.pos() == payload.len();
        match (hint, consumed) {
            (0, true) => return Ok(()),
            (_, true) if added == 0 => return Err(bad("the frame does not end")),
            _ => {}
        }
    }
}

fn too_large(most: usize) -> Fault {
    Fault::new(Reason::TooLarge, format!("more than {most} bytes after decompression"))
}
