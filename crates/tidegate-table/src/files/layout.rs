//! Where objects lie below a table's root. Every object key is made here and nowhere else.
//!
//! Keys consist of ASCII letters, digits and `-_.=/%` only: partition values are percent-encoded (as
//! Hive does, but more of them), so no value can climb out of its folder, and no store or shell has
//! to agree with us about spaces or Unicode. Nothing is inferred from a path that the log does not
//! say; the Hive form is a courtesy to readers of folders.

use std::fmt;
use std::ops::RangeInclusive;

use object_store::path::Path;
use tidegate_types::{Epoch, Incarnation, Ledger, Nonce, PartitionId};
use xxhash_rust::xxh3::xxh3_64;

use super::FileError;

/// The folder of the dead-letter table below the main table's root.
pub const DEAD_LETTER_TABLE: &str = "_dead_letters";
/// The folder of the log below a table's root, as Delta wants it.
pub(super) const LOG_FOLDER: &str = "_delta_log";
/// The folder of our own side files. Names with an underscore in front are left alone by Delta's
/// vacuum and by readers of folders.
pub(super) const SIDE_FOLDER: &str = "_tidegate";
/// How Hive and Delta write a null, and the empty string, which Delta takes for null.
const NULL_SEGMENT: &str = "__HIVE_DEFAULT_PARTITION__";
/// Longest encoded column name or value. Twice this and an equals sign stay below the 255 bytes that
/// a file system gives one name.
const MAX_ENCODED: usize = 120;
/// What remains of a longer one, in front of a hyphen and sixteen digits of its hash.
const CUT_AT: usize = 100;

/// The distinguishing parts of a data file's name. Together they are unique for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileName {
    /// Whose file.
    pub ledger: Ledger,
    /// Under which claim it was written.
    pub epoch: Epoch,
    /// Of this batch.
    pub nonce: Nonce,
    /// Its number within the batch.
    pub number: u32,
}

impl FileName {
    /// The name of a run's file (B6): which claim, which chunk, and a nonce that is made anew whenever a
    /// chunk is read again. Under a name that comes again, a zombie would write over committed bytes.
    #[must_use]
    pub fn of_run(ledger: Ledger, generation: u64, chunk: u32, nonce: Nonce, number: u32) -> Self {
        Self { ledger, epoch: run_epoch(generation, chunk), nonce, number }
    }

    /// Reads a name back that was made here. Names of ledgers may have hyphens, so it is read from the end.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_suffix(".parquet")?.rsplitn(4, '-');
        let (number, nonce, epoch) = (parts.next()?, parts.next()?, parts.next()?);
        let (generation, attempt) = epoch.split_once('.')?;
        let (generation, attempt): (i64, i64) = (generation.parse().ok()?, attempt.parse().ok()?);
        let parsed = Self {
            ledger: Ledger::new(parts.next()?.strip_prefix("tg-")?).ok()?,
            epoch: Epoch((generation << CHUNK_BITS) | attempt),
            nonce: Nonce::parse(nonce).ok()?,
            number: number.parse().ok()?,
        };
        // Signs, leading zeros and numbers that do not fit are not ours.
        (parsed.to_string() == name).then_some(parsed)
    }

    /// Whether it is a file of this chunk by one of these claims, whatever its nonce and its number.
    #[must_use]
    pub fn is_of_run(&self, ledger: &Ledger, generations: RangeInclusive<u64>, chunk: u32) -> bool {
        let epochs =
            run_epoch(*generations.start(), chunk).0..=run_epoch(*generations.end(), chunk).0;
        let is_chunk = (self.epoch.0 ^ epochs.start()) & CHUNK_MASK == 0;
        self.ledger == *ledger && is_chunk && epochs.contains(&self.epoch.0)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ledger, epoch, nonce, number } = self;
        write!(f, "tg-{ledger}-{epoch}-{nonce}-{number}.parquet")
    }
}

/// How many bits of an epoch are its attempt; of a run's file, the chunk.
const CHUNK_BITS: u32 = 20;
const CHUNK_MASK: i64 = (1 << CHUNK_BITS) - 1;

/// Numbers that do not fit are cut: the nonce alone is unique.
fn run_epoch(generation: u64, chunk: u32) -> Epoch {
    let generation = i64::try_from(generation).unwrap_or(0) & ((1 << (62 - CHUNK_BITS)) - 1);
    let chunk = i64::from(chunk) & CHUNK_MASK;
    Epoch((generation << CHUNK_BITS) | chunk)
}

/// Where a data file lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataPath(Path);

impl DataPath {
    /// The path of a file below the folders of its partition values, which stand in the order of the
    /// table's partition columns.
    #[must_use]
    pub fn new(partition_values: &[(String, Option<String>)], name: &FileName) -> Self {
        let folders = partition_values.iter().map(|(column, value)| segment(column, value));
        Self(join(folders.chain([name.to_string()])))
    }

    /// The path of the dead-letter file of a commit, below the root of the dead-letter table (P4).
    #[must_use]
    pub fn dead_letters(ledger: &Ledger, nonce: Nonce) -> Self {
        Self(join([format!("tg-{ledger}-{nonce}.parquet")]))
    }

    /// The object's key.
    #[must_use]
    pub fn object(&self) -> &Path {
        &self.0
    }

    /// The path as an `add` action names it.
    #[must_use]
    pub fn in_log(&self) -> String {
        percent_encode(self.0.as_ref(), |b| b == b'/' || b == b'=' || is_plain(b))
    }
}

/// The object that an `add` action names.
///
/// # Errors
///
/// [`FileError::ForeignPath`] when it lies outside the table (a shallow clone) or is not a path.
pub fn object_of_log_path(path: &str) -> Result<Path, FileError> {
    let foreign = || FileError::ForeignPath { path: path.to_owned() };
    if path.starts_with('/') || path.contains("://") {
        return Err(foreign());
    }
    let decoded = percent_decode(path).ok_or_else(foreign)?;
    Path::parse(decoded).map_err(|_| foreign())
}

/// The file of the ledger's settings (P2).
#[must_use]
pub fn ledger_settings(ledger: &Ledger, nonce: Nonce) -> Path {
    join([SIDE_FOLDER.to_owned(), ledger.to_string(), format!("keys-{nonce}.json")])
}

/// The record of a repair of the ledger's rows (B10).
#[must_use]
pub fn repair_record(ledger: &Ledger, nonce: Nonce) -> Path {
    join([SIDE_FOLDER.to_owned(), ledger.to_string(), format!("record-{nonce}.json")])
}

/// A snapshot of a partition's deduplication window (D2).
#[must_use]
pub fn window_snapshot(
    ledger: &Ledger,
    incarnation: Incarnation,
    partition: PartitionId,
    nonce: Nonce,
) -> Path {
    let windows = format!("window-{incarnation}-{partition}");
    join([SIDE_FOLDER.to_owned(), ledger.to_string(), windows, format!("{nonce}.snapshot")])
}

/// The folder of what attempts at an interval, by its name in the log, keep for the next one (B5).
#[must_use]
pub fn kept_chunks(ledger: &Ledger, interval: &str) -> Path {
    join([SIDE_FOLDER.to_owned(), ledger.to_string(), format!("chunks-{interval}")])
}

/// How a chunk that is kept is named within that folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeptName {
    /// The generation that its rows carry.
    pub origin: u64,
    /// A hash of everything that its rows depend on.
    pub mark: u128,
    /// Its number in the plan.
    pub chunk: u32,
    /// A hash of the object's bytes.
    pub checksum: u128,
}

impl KeptName {
    /// Where the chunk's outcome lies.
    #[must_use]
    pub fn path(&self, folder: &Path) -> Path {
        let Self { origin, mark, chunk, checksum } = self;
        join([
            folder.to_string(),
            format!("{origin}-{mark:032x}"),
            format!("{chunk}-{checksum:032x}"),
        ])
    }

    /// Reads a name back that was made here.
    #[must_use]
    pub fn parse(folder: &Path, object: &Path) -> Option<Self> {
        let parts: Vec<_> = object.prefix_match(folder)?.collect();
        let [attempt, chunk] = parts.as_slice() else { return None };
        let (origin, mark) = attempt.as_ref().split_once('-')?;
        let (chunk, checksum) = chunk.as_ref().split_once('-')?;
        let parsed = Self {
            origin: origin.parse().ok()?,
            mark: u128::from_str_radix(mark, 16).ok()?,
            chunk: chunk.parse().ok()?,
            checksum: u128::from_str_radix(checksum, 16).ok()?,
        };
        (parsed.path(folder) == *object).then_some(parsed)
    }
}

/// Says that the removal of a table was decided, for whoever goes on with it.
pub(crate) fn removal_mark(ledger: &Ledger) -> Path {
    join([SIDE_FOLDER.to_owned(), ledger.to_string(), "removal-decided".to_owned()])
}

/// The folder of a table's log.
pub(crate) fn log_folder() -> Path {
    join([LOG_FOLDER.to_owned()])
}

/// Where the commit of `version` stands.
pub(crate) fn log_entry(version: u64) -> Path {
    join([LOG_FOLDER.to_owned(), format!("{version:020}.json")])
}

/// Sorts before every object of the log that is of `version` or later, and behind all of those before.
pub(crate) fn log_offset(version: u64) -> Path {
    join([LOG_FOLDER.to_owned(), format!("{version:020}")])
}

/// Objects of a store probe. They lie in no folder of their own, so that nothing stays behind on a
/// file system.
pub(crate) fn probe_object(nonce: Nonce, part: &str) -> Path {
    join([SIDE_FOLDER.to_owned(), format!("probe-{nonce}-{part}")])
}

/// The folder that lists the objects of a store probe.
pub(crate) fn probe_folder() -> Path {
    join([SIDE_FOLDER.to_owned()])
}

/// `column=value`, encoded.
fn segment(column: &str, value: &Option<String>) -> String {
    let value = match value.as_deref() {
        None | Some("") => NULL_SEGMENT.to_owned(),
        Some(value) => bounded(value),
    };
    format!("{}={value}", bounded(column))
}

/// The encoded text, or its beginning and a hash where it would be too long for a file system.
fn bounded(text: &str) -> String {
    let encoded = percent_encode(text, is_plain);
    if encoded.len() <= MAX_ENCODED {
        return encoded;
    }
    // An escape has three characters; it is not cut in two.
    let tail = encoded[..CUT_AT].rfind('%').filter(|at| at + 3 > CUT_AT);
    format!("{}-{:016x}", &encoded[..tail.unwrap_or(CUT_AT)], xxh3_64(text.as_bytes()))
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// Joins segments that are plain already.
fn join(segments: impl IntoIterator<Item = String>) -> Path {
    let joined = segments.into_iter().collect::<Vec<_>>().join("/");
    Path::parse(joined).expect("segments are not empty, not dots, and plain ASCII")
}

fn percent_encode(text: &str, keep: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if keep(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// `None` when the decoded bytes are not UTF-8. A percent sign without two digits stands for itself,
/// as in URLs.
fn percent_decode(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escape {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// The name of a file of `analytics.clicks`.
    pub(in crate::files) fn name() -> FileName {
        FileName {
            ledger: Ledger::new("analytics.clicks").expect("valid"),
            epoch: Epoch(0).next(3).expect("higher"),
            nonce: Nonce::from_random(2),
            number: 7,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::testing::name;
    use super::*;

    fn path(values: &[(&str, Option<&str>)]) -> DataPath {
        let values: Vec<_> =
            values.iter().map(|(c, v)| ((*c).to_owned(), v.map(ToOwned::to_owned))).collect();
        DataPath::new(&values, &name())
    }

    fn folder(value: Option<&str>) -> String {
        let path = path(&[("p", value)]);
        path.object().parts().next().expect("a folder").as_ref().to_owned()
    }

    #[test]
    fn a_data_file_carries_ledger_epoch_nonce_and_number() {
        assert_eq!(
            path(&[("ts_day", Some("2026-06-01")), ("site", None)]).object().as_ref(),
            "ts_day=2026-06-01/site=__HIVE_DEFAULT_PARTITION__/\
             tg-analytics.clicks-3.1-0000000000000001-7.parquet"
        );
    }

    #[test]
    fn b6_a_runs_file_carries_generation_chunk_and_a_nonce_of_its_own() {
        let FileName { ledger, nonce, .. } = name();
        let file = |generation, chunk| {
            let name = FileName::of_run(ledger.clone(), generation, chunk, nonce, 5);
            DataPath::new(&[], &name).object().to_string()
        };
        assert_eq!(file(12, 0), "tg-analytics.clicks-12.0-0000000000000001-5.parquet");
        assert_eq!(file(1, 77), "tg-analytics.clicks-1.77-0000000000000001-5.parquet");
        assert!(!file(u64::MAX, u32::MAX).contains("--"), "{}", file(u64::MAX, u32::MAX));
    }

    #[test]
    fn b5_b6_a_file_is_of_a_chunk_and_of_the_attempts_whose_chunks_are_kept() {
        let FileName { ledger, nonce, .. } = name();
        let other = Ledger::new("analytics.other").expect("valid");
        let file = FileName::of_run(ledger.clone(), 5, 7, nonce, 0);
        for (owner, generations, chunk, expected) in [
            (&ledger, 5..=5, 7, true),
            (&ledger, 3..=5, 7, true),
            (&ledger, 5..=9, 7, true),
            (&ledger, 3..=4, 7, false),
            (&ledger, 6..=9, 7, false),
            (&ledger, 3..=9, 6, false),
            (&ledger, 3..=9, 8, false),
            (&other, 5..=5, 7, false),
        ] {
            let of = format!("{owner} {generations:?} {chunk}");
            assert_eq!(file.is_of_run(owner, generations, chunk), expected, "{of}");
        }
    }

    #[test]
    fn b5_what_is_kept_is_named_by_all_that_it_depends_on() {
        let folder = kept_chunks(&name().ledger, "0-3600");
        let kept = KeptName { origin: 3, mark: 0xab, chunk: 17, checksum: u128::MAX };
        let path = kept.path(&folder);
        assert_eq!(
            path.as_ref(),
            "_tidegate/analytics.clicks/chunks-0-3600/3-000000000000000000000000000000ab/\
             17-ffffffffffffffffffffffffffffffff"
        );
        assert_eq!(KeptName::parse(&folder, &path), Some(kept));
        let of_another = kept_chunks(&name().ledger, "0-36000");
        assert_eq!(KeptName::parse(&of_another, &path), None);
        for strange in ["3-ab/17-ff", "x", "3/17", "03-000000000000000000000000000000ab/1-0"] {
            let path = Path::parse(format!("{folder}/{strange}")).expect("a path");
            assert_eq!(KeptName::parse(&folder, &path), None, "{strange}");
        }
    }

    #[test]
    fn partition_values_are_encoded_as_hive_decodes_them() {
        for (value, encoded) in [
            ("2026-06-01-13", "p=2026-06-01-13"),
            ("", "p=__HIVE_DEFAULT_PARTITION__"),
            ("US/East", "p=US%2FEast"),
            ("..", "p=.."),
            ("../../etc", "p=..%2F..%2Fetc"),
            ("a b", "p=a%20b"),
            ("100%25", "p=100%2525"),
            ("München", "p=M%C3%BCnchen"),
            ("a\0b", "p=a%00b"),
            ("k=v", "p=k%3Dv"),
            ("2024-06-15T12:30:45.000000Z", "p=2024-06-15T12%3A30%3A45.000000Z"),
        ] {
            assert_eq!(folder(Some(value)), encoded, "{value:?}");
        }
    }

    #[test]
    fn the_log_encodes_the_key_once_more_and_is_read_back() {
        let path = path(&[("p", Some("US/East 1"))]);
        assert!(path.in_log().starts_with("p=US%252FEast%25201/tg-"), "{}", path.in_log());
        assert_eq!(&object_of_log_path(&path.in_log()).expect("ours"), path.object());
    }

    #[test]
    fn paths_outside_the_table_are_refused() {
        for foreign in ["s3://other/x.parquet", "/etc/passwd", "a/../../x", "a/%2E%2E/x", "%FF"] {
            assert!(object_of_log_path(foreign).is_err(), "{foreign}");
        }
        let stranger = object_of_log_path("p=a%20b/part-0.parquet").expect("inside");
        assert_eq!(stranger.as_ref(), "p=a b/part-0.parquet");
    }

    #[test]
    fn long_values_keep_their_beginning_and_differ_by_hash() {
        let (one, two) = (format!("{}1", "ä".repeat(90)), format!("{}2", "ä".repeat(90)));
        let (one, two) = (folder(Some(&one)), folder(Some(&two)));
        assert_ne!(one, two);
        assert!(one.starts_with("p=%C3%A4%C3%A4"), "{one}");
        let kept = one[2..].rsplit_once('-').expect("a hash").0;
        assert_eq!(kept.len() % 3, 0, "no escape is cut in two: {kept}");
    }

    #[test]
    fn side_files_lie_in_the_folder_of_their_ledger() {
        let FileName { ledger, nonce, .. } = name();
        let incarnation = Incarnation::parse("00000000000000ff").expect("hex");
        assert_eq!(
            window_snapshot(&ledger, incarnation, PartitionId(3), nonce).as_ref(),
            "_tidegate/analytics.clicks/window-00000000000000ff-3/0000000000000001.snapshot"
        );
        assert_eq!(
            ledger_settings(&ledger, nonce).as_ref(),
            "_tidegate/analytics.clicks/keys-0000000000000001.json"
        );
    }

    #[test]
    fn the_log_lies_where_delta_wants_it() {
        let entry = log_entry(7);
        assert_eq!(entry.as_ref(), "_delta_log/00000000000000000007.json");
        assert!(log_entry(6) < log_offset(7) && log_offset(7) < entry);
        assert!(entry.as_ref().starts_with(log_folder().as_ref()));
    }

    proptest! {
        #[test]
        fn no_value_leaves_its_folder_and_short_ones_are_read_back(
            column in "\\PC{1,20}", value: String,
        ) {
            let path = path(&[(column.as_str(), Some(value.as_str()))]);
            let parts: Vec<_> = path.object().parts().map(|p| p.as_ref().to_owned()).collect();
            prop_assert_eq!(parts.len(), 2);
            prop_assert!(parts[0].len() <= 255);
            let (encoded_column, encoded) = parts[0].split_once('=').expect("column=value");
            if value.is_empty() {
                prop_assert_eq!(encoded, NULL_SEGMENT);
            } else if percent_encode(&value, is_plain).len() <= MAX_ENCODED {
                prop_assert_eq!(percent_decode(encoded), Some(value));
            }
            if percent_encode(&column, is_plain).len() <= MAX_ENCODED {
                prop_assert_eq!(percent_decode(encoded_column), Some(column));
            }
            prop_assert_eq!(&object_of_log_path(&path.in_log()).expect("ours"), path.object());
        }
    }
}
