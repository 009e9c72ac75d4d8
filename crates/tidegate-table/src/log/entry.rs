//! One version of the log, read back.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;

use super::error::LogError;
use super::request::{CommitTag, KEPT_ROWS};

/// What one commit says, whoever made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its version.
    pub version: u64,
    /// The writer's clock at the commit, in milliseconds since 1970, if it said so. Cosmetic.
    pub timestamp_ms: Option<i64>,
    /// The operation as the writer names it, such as `STREAMING UPDATE` or `OPTIMIZE`.
    pub operation: Option<String>,
    /// The tag, when the commit is Tidegate's (T1).
    pub ours: Option<CommitTag>,
    /// `txn` actions: application id → version.
    pub txns: BTreeMap<String, i64>,
    /// Files that appear.
    pub adds: Vec<AddedFile>,
    /// Files that disappear.
    pub removes: Vec<RemovedFile>,
    /// Rows of the added files that stood in the removed ones already, of a commit of ours.
    pub kept_rows: u64,
    /// The table's id, when the commit sets the metadata.
    pub metadata_id: Option<String>,
    /// Whether the commit sets the protocol.
    pub sets_protocol: bool,
    /// The bytes as they stand in the store.
    pub bytes: Bytes,
}

/// A file that a commit adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddedFile {
    /// Its path as it stands in the log.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its rows, if the statistics say so.
    pub rows: Option<u64>,
    /// Whether its rows are new to the table (false: they were only moved).
    pub data_change: bool,
}

/// A file that a commit removes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedFile {
    /// Its path as it stands in the log.
    pub path: String,
    /// Its rows, if the statistics are repeated and say so.
    pub rows: Option<u64>,
    /// Whether its rows leave the table (false: they were only moved).
    pub data_change: bool,
}

impl LogEntry {
    /// Reads the JSON actions of a commit. Actions that do not matter here are passed over.
    ///
    /// # Errors
    ///
    /// [`LogError::Malformed`] when a line is not an action.
    pub fn parse(version: u64, bytes: Bytes) -> Result<Self, LogError> {
        let mut entry = Self {
            version,
            timestamp_ms: None,
            operation: None,
            ours: None,
            txns: BTreeMap::new(),
            adds: Vec::new(),
            removes: Vec::new(),
            kept_rows: 0,
            metadata_id: None,
            sets_protocol: false,
            bytes: Bytes::new(),
        };
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty())
        {
            let action: Action = serde_json::from_slice(line)
                .map_err(|error| LogError::Malformed { version, problem: error.to_string() })?;
            entry.take(action);
        }
        entry.bytes = bytes;
        Ok(entry)
    }

    /// Whether rows entered or left the table.
    #[must_use]
    pub fn data_change(&self) -> bool {
        self.adds.iter().any(|add| add.data_change)
            || self.removes.iter().any(|remove| remove.data_change)
    }

    fn take(&mut self, action: Action) {
        if let Some(info) = action.commit_info {
            self.timestamp_ms = info.in_commit_timestamp.or(info.timestamp);
            self.operation = info.operation;
            let tags = info.tags.unwrap_or_default();
            let tag = |key: &str| tags.get(key).and_then(serde_json::Value::as_str);
            self.ours = CommitTag::from_tags(tag);
            self.kept_rows = tag(KEPT_ROWS).and_then(|rows| rows.parse().ok()).unwrap_or(0);
        }
        if let Some(txn) = action.txn {
            self.txns.insert(txn.app_id, txn.version);
        }
        if let Some(add) = action.add {
            let rows = add.stats.as_deref().and_then(records);
            let AddAction { path, size, data_change, .. } = add;
            self.adds.push(AddedFile { path, size, rows, data_change });
        }
        if let Some(remove) = action.remove {
            let RemoveAction { path, data_change, stats } = remove;
            let rows = stats.as_deref().and_then(records);
            self.removes.push(RemovedFile { path, rows, data_change });
        }
        if let Some(metadata) = action.meta_data {
            self.metadata_id = Some(metadata.id);
        }
        self.sets_protocol |= action.protocol.is_some();
    }
}

/// The number of rows in a file's statistics.
fn records(stats: &str) -> Option<u64> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Stats {
        num_records: Option<u64>,
    }
    serde_json::from_str::<Stats>(stats).ok()?.num_records
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Action {
    commit_info: Option<CommitInfo>,
    txn: Option<TxnAction>,
    add: Option<AddAction>,
    remove: Option<RemoveAction>,
    meta_data: Option<MetadataAction>,
    protocol: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CommitInfo {
    timestamp: Option<i64>,
    in_commit_timestamp: Option<i64>,
    operation: Option<String>,
    tags: Option<BTreeMap<String, serde_json::Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TxnAction {
    app_id: String,
    version: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AddAction {
    path: String,
    size: u64,
    data_change: bool,
    stats: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RemoveAction {
    path: String,
    data_change: bool,
    stats: Option<String>,
}

#[derive(Deserialize)]
struct MetadataAction {
    id: String,
}

#[cfg(test)]
mod tests {
    use tidegate_types::{Ledger, Nonce};

    use super::*;
    use crate::log::CommitKind;

    /// Written by hand from the Delta protocol's text: a stranger's OPTIMIZE, then one of ours.
    const STRANGER: &str = r#"{"commitInfo":{"timestamp":1700000000000,"operation":"OPTIMIZE","operationParameters":{"targetSize":"1"},"engineInfo":"delta-rs:1.6.6"}}
{"remove":{"path":"a.parquet","dataChange":false,"deletionTimestamp":1,"extendedFileMetadata":true,"partitionValues":{},"size":9}}
{"add":{"path":"b.parquet","partitionValues":{},"size":10,"modificationTime":2,"dataChange":false,"stats":"{\"numRecords\":3,\"minValues\":{}}"}}

{"domainMetadata":{"domain":"x","configuration":"","removed":false}}
"#;

    #[test]
    fn a_strangers_entry_is_read_without_a_tag() {
        let entry = LogEntry::parse(4, Bytes::from(STRANGER)).expect("valid");
        assert_eq!(entry.operation.as_deref(), Some("OPTIMIZE"));
        assert_eq!(entry.ours, None);
        assert_eq!(entry.adds[0].rows, Some(3));
        assert_eq!(entry.removes[0].path, "a.parquet");
        assert!(!entry.data_change(), "rows were only moved");
        assert_eq!(entry.metadata_id, None);
    }

    #[test]
    fn our_entry_is_known_by_its_tag() {
        let text = r#"{"commitInfo":{"timestamp":5,"operation":"STREAMING UPDATE","tags":{"tidegate.ledger":"a","tidegate.kind":"claim","tidegate.nonce":"0000000000000007","other":null}}}
{"txn":{"appId":"tidegate/a/0/epoch","version":1048577,"lastUpdated":5}}
{"metaData":{"id":"m","format":{"provider":"parquet","options":{}},"schemaString":"{}","partitionColumns":[],"configuration":{}}}
{"protocol":{"minReaderVersion":3,"minWriterVersion":7}}"#;
        let entry = LogEntry::parse(0, Bytes::from(text)).expect("valid");
        let tag = CommitTag {
            ledger: Ledger::new("a").expect("valid"),
            kind: CommitKind::Claim,
            nonce: Nonce::from_txn(7).expect("positive"),
        };
        assert_eq!(entry.ours, Some(tag));
        assert_eq!(entry.txns, BTreeMap::from([("tidegate/a/0/epoch".to_owned(), 1_048_577)]));
        assert_eq!(entry.metadata_id.as_deref(), Some("m"));
        assert!(entry.sets_protocol);
    }

    #[test]
    fn bytes_that_are_no_actions_are_refused_with_their_version() {
        for bad in ["{", "[]", "{\"txn\":{\"appId\":1}}", "\u{0}"] {
            let error = LogEntry::parse(9, Bytes::from(bad)).expect_err(bad);
            assert!(matches!(error, LogError::Malformed { version: 9, .. }), "{bad}: {error}");
        }
    }
}
