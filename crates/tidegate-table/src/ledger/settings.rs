//! The settings of a ledger that outlive every worker (P2): an immutable file, named in the log before
//! the first claim. Changed settings are another file, named by another commit.

use serde::{Deserialize, Serialize};
use tidegate_types::{DedupKey, Ledger, Nonce, Span};

use super::side_file::SideFile;
use crate::files::layout::ledger_settings;

/// What a worker must know to go on with a ledger's ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerSettings {
    /// The seed of the id fingerprints in `_tg_id`; it never changes.
    pub fingerprint_seed: u64,
    /// Where the deduplication key stands; none without deduplication.
    pub dedup_key: Option<DedupKey>,
    /// The filter of each partition (none: the whole stream), which the positions in the log are of (S9).
    #[serde(default)]
    pub partitions: Vec<Option<String>>,
    /// The narrowest window in which ids were ever compared: rows that are further apart may share an id.
    #[serde(default)]
    pub narrowest_window: Option<Span>,
}

impl SideFile for LedgerSettings {
    const WHAT: &'static str = "settings";

    fn path(ledger: &Ledger, nonce: Nonce) -> object_store::path::Path {
        ledger_settings(ledger, nonce)
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;
    use crate::ledger::side_file::{self, SideFileError};

    fn settings(seed: u64) -> LedgerSettings {
        LedgerSettings {
            fingerprint_seed: seed,
            dedup_key: Some(DedupKey::Header("Nats-Msg-Id".into())),
            partitions: vec![Some("0.>".into()), None],
            narrowest_window: Some(Span::millis(1)),
        }
    }

    fn names() -> (Ledger, Nonce) {
        (Ledger::new("a.b").expect("valid"), Nonce::from_txn(1).expect("positive"))
    }

    #[tokio::test]
    async fn p2_settings_are_written_once_and_read_back() {
        let (store, (ledger, nonce)) = (InMemory::new(), names());
        settings(u64::MAX).write(&store, &ledger, nonce).await.expect("written");
        settings(u64::MAX).write(&store, &ledger, nonce).await.expect("the same again");
        let error = settings(1).write(&store, &ledger, nonce).await.expect_err("another");
        assert!(matches!(error, SideFileError::Damaged { .. }), "{error}");
        let read = LedgerSettings::read(&store, &ledger, nonce).await.expect("read");
        assert_eq!(read, settings(u64::MAX));
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let (ledger, _) = names();
        let good = side_file::encode(&settings(7), &ledger).expect("encodes");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            if let Ok(read) = side_file::decode::<LedgerSettings>(&bad, &ledger) {
                assert_eq!(read, settings(7), "byte {at} changed what was read");
            }
        }
        let other = Ledger::new("other").expect("valid");
        assert!(side_file::decode::<LedgerSettings>(&good, &other).is_err());
    }
}
