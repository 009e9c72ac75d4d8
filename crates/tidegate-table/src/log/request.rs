//! What a commit is asked to carry.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use arrow::datatypes::SchemaRef;
use tidegate_types::{Ledger, Nonce};

use super::live_files::LiveFile;
use crate::files::DataFile;
use crate::replace::Replacement;
use crate::schema::AddColumn;

/// Why a commit of ours was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CommitKind {
    /// The table was created.
    Create,
    /// A worker claimed partitions (P7).
    Claim,
    /// Rows and positions.
    Data,
    /// Positions only: idle, filtered or duplicate ranges (S5).
    Advance,
    /// A worker gave partitions back.
    Release,
    /// Columns were added.
    Schema,
    /// Dead letters were rolled forward (P4).
    DeadLetters,
    /// A bulk run claimed its interval (B2).
    RunClaim,
    /// What a bulk run read (B4).
    Run,
    /// What a bulk run put in the place of streamed rows (B10).
    Repair,
    /// A kind that this version does not know.
    Unknown,
}

const KINDS: [(CommitKind, &str); 10] = [
    (CommitKind::Create, "create"),
    (CommitKind::Claim, "claim"),
    (CommitKind::Data, "data"),
    (CommitKind::Advance, "advance"),
    (CommitKind::Release, "release"),
    (CommitKind::Schema, "schema"),
    (CommitKind::DeadLetters, "dead-letters"),
    (CommitKind::RunClaim, "run-claim"),
    (CommitKind::Run, "run"),
    (CommitKind::Repair, "repair"),
];

impl fmt::Display for CommitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(KINDS.iter().find(|(kind, _)| kind == self).map_or("unknown", |(_, name)| name))
    }
}

impl FromStr for CommitKind {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(KINDS.iter().find(|(_, name)| *name == text).map_or(Self::Unknown, |(kind, _)| *kind))
    }
}

/// How our commits are told from strangers' (T1) and from one another (P5): it stands in the
/// `tags` of `commitInfo`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CommitTag {
    /// The ledger on whose behalf.
    pub ledger: Ledger,
    /// Why.
    pub kind: CommitKind,
    /// This commit's own number. It is made anew for every prepared commit.
    pub nonce: Nonce,
}

/// The keys of the tag in `commitInfo.tags`.
pub(super) const TAG_LEDGER: &str = "tidegate.ledger";
pub(super) const TAG_KIND: &str = "tidegate.kind";
pub(super) const TAG_NONCE: &str = "tidegate.nonce";
/// Beside the tag: rows that were only moved.
pub(super) const KEPT_ROWS: &str = "tidegate.kept-rows";

impl CommitTag {
    /// The tag as it stands in `commitInfo.tags`.
    pub(super) fn to_tags(&self) -> [(&'static str, String); 3] {
        [
            (TAG_LEDGER, self.ledger.to_string()),
            (TAG_KIND, self.kind.to_string()),
            (TAG_NONCE, self.nonce.to_string()),
        ]
    }

    /// Reads the tag back; `None` when a part is missing or is not ours.
    pub(super) fn from_tags<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        Some(Self {
            ledger: Ledger::new(get(TAG_LEDGER)?).ok()?,
            kind: get(TAG_KIND)?.parse().unwrap_or(CommitKind::Unknown),
            nonce: Nonce::parse(get(TAG_NONCE)?).ok()?,
        })
    }
}

/// One commit. The operation that readers see in the history follows from what it carries.
#[derive(Debug, Clone)]
pub struct CommitRequest {
    /// Whose it is and which.
    pub tag: CommitTag,
    /// `txn` actions: application id → version.
    pub txns: BTreeMap<String, i64>,
    /// Files that appear.
    pub adds: Vec<DataFile>,
    /// Files that disappear with their rows; they must be live in the snapshot that the commit extends.
    pub removes: Vec<LiveFile>,
    /// Rows of `adds` that stood in `removes` already: only moved. It stands in the commit, so that what was
    /// new can be told afterwards.
    pub kept_rows: u64,
    /// Columns that appear; a commit with columns has no files.
    pub add_columns: Vec<AddColumn>,
}

impl CommitRequest {
    /// A commit that carries nothing yet.
    #[must_use]
    pub fn new(tag: CommitTag) -> Self {
        Self {
            tag,
            txns: BTreeMap::new(),
            adds: Vec::new(),
            removes: Vec::new(),
            kept_rows: 0,
            add_columns: Vec::new(),
        }
    }

    /// A commit that puts `new` in the place of what a [`Replacement`] takes out.
    #[must_use]
    pub fn replacing(
        tag: CommitTag,
        replaced: Replacement,
        new: impl IntoIterator<Item = DataFile>,
    ) -> Self {
        let kept_rows = replaced.kept_rows();
        let Replacement { removes, adds: kept, .. } = replaced;
        let adds = new.into_iter().chain(kept).collect();
        Self { adds, removes, kept_rows, ..Self::new(tag) }
    }
}

/// What a table that does not exist yet shall look like.
#[derive(Debug, Clone)]
pub struct TableSpec {
    /// All columns, partition columns included. They are created nullable, so that each can be
    /// relaxed or dropped from the declaration later.
    pub schema: SchemaRef,
    /// Names of the partition columns, in order.
    pub partition_columns: Vec<String>,
    /// Properties besides those that every table of ours has.
    pub properties: BTreeMap<String, String>,
}

impl TableSpec {
    /// A table with these columns.
    #[must_use]
    pub fn new(schema: SchemaRef, partition_columns: Vec<String>) -> Self {
        Self { schema, partition_columns, properties: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_read_back_from_what_is_written() {
        for (kind, _) in KINDS {
            let tag = CommitTag {
                ledger: Ledger::new("a.b").expect("valid"),
                kind,
                nonce: Nonce::from_random(u64::MAX - 5),
            };
            let tags = BTreeMap::from(tag.to_tags());
            assert_eq!(CommitTag::from_tags(|key| tags.get(key).map(String::as_str)), Some(tag));
        }
    }

    #[test]
    fn a_kind_of_a_later_version_is_still_ours_and_a_strange_tag_is_not() {
        let read = |ledger: &'static str, kind: &'static str, nonce: &'static str| {
            CommitTag::from_tags(|key| match key {
                TAG_LEDGER => Some(ledger),
                TAG_KIND => Some(kind),
                TAG_NONCE => Some(nonce),
                _ => None,
            })
        };
        let later = read("a", "compact", "00000000000000ff").expect("ours");
        assert_eq!(later.kind, CommitKind::Unknown);
        assert_eq!(read("A", "data", "00000000000000ff"), None);
        assert_eq!(read("a", "data", "ff"), None);
        assert_eq!(CommitTag::from_tags(|_| None), None);
    }
}
