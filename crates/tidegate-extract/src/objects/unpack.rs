//! Whole-file compression, unpacked while it is read.

use std::io::{BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use tidegate_config::FileCompression;
use zstd::stream::read::Decoder;

use super::fetch::WholeFile;

/// How much packed input is held.
const BUFFER: usize = 128 << 10;
/// Largest window that a Zstandard frame may ask for, as a power of two: 8 MiB, which every level but the
/// `--ultra` ones keeps and RFC 8878 recommends as a limit. It is memory per chunk that is read.
const ZSTD_WINDOW_LOG: u32 = 23;

/// How a file is packed, by what the pipeline says and, where it leaves it open, by the name.
pub(crate) fn packing(compression: FileCompression, path: &str) -> FileCompression {
    let ends_with = |ends: &[&str]| {
        let extension = path.rsplit('/').next().unwrap_or(path).rsplit('.').next().unwrap_or("");
        ends.iter().any(|end| extension.eq_ignore_ascii_case(end))
    };
    match compression {
        FileCompression::Auto if ends_with(&["gz", "gzip"]) => FileCompression::Gzip,
        FileCompression::Auto if ends_with(&["zst", "zstd"]) => FileCompression::Zstd,
        FileCompression::Auto => FileCompression::None,
        other => other,
    }
}

/// The file's content. A packed file that ends early is an error.
///
/// # Errors
///
/// When the decompressor cannot be set up.
pub(crate) fn unpack(packing: FileCompression, file: WholeFile) -> std::io::Result<Box<dyn Read>> {
    let buffered = BufReader::with_capacity(BUFFER, file);
    Ok(match packing {
        FileCompression::None | FileCompression::Auto => Box::new(buffered),
        FileCompression::Gzip => Box::new(MultiGzDecoder::new(buffered)),
        FileCompression::Zstd => {
            let mut frames = Decoder::with_buffer(buffered)?;
            frames.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(frames)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_says_how_a_file_is_packed_unless_the_pipeline_does() {
        use FileCompression::{Auto, Gzip, None, Zstd};
        for (said, path, wanted) in [
            (Auto, "a/b.csv.gz", Gzip),
            (Auto, "a.gz/b.csv", None),
            (Auto, "b.ndjson.ZST", Zstd),
            (Auto, "b", None),
            (None, "b.gz", None),
            (Gzip, "b.csv", Gzip),
        ] {
            assert_eq!(packing(said, path), wanted, "{path}");
        }
    }
}
