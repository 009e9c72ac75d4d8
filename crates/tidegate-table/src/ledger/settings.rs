//! The settings of a ledger that outlive every worker (P2): an immutable file, named in the log before
//! the first claim. Changed settings are another file, named by another commit.

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tidegate_types::{DedupKey, Ledger, Nonce, Span};

use crate::files::layout::ledger_settings;

/// The version of the file's shape.
const VERSION: u32 = 1;

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

/// The settings file cannot be used.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The store failed.
    #[error("failed to {operation} {path}")]
    Store {
        /// What was being done.
        operation: &'static str,
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: Box<object_store::Error>,
    },
    /// The file is not what was written.
    #[error("{path} is damaged: {problem}")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong.
        problem: String,
    },
}

/// The file: the settings as text, so that the checksum is over the very bytes.
#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    ledger: Ledger,
    settings: String,
    checksum: String,
}

impl LedgerSettings {
    /// Writes the file. It must be there before the commit that names it. Writing the
    /// same again is no error: the first attempt may have landed.
    ///
    /// # Errors
    ///
    /// [`SettingsError::Store`], or [`SettingsError::Damaged`] when another file has this nonce.
    pub async fn write(
        &self,
        store: &dyn ObjectStore,
        ledger: &Ledger,
        nonce: Nonce,
    ) -> Result<(), SettingsError> {
        let path = ledger_settings(ledger, nonce);
        let bytes = self.encode(ledger).map_err(|error| damaged(&path, error.to_string()))?;
        let options = PutOptions::from(PutMode::Create);
        match store.put_opts(&path, PutPayload::from(bytes), options).await {
            Ok(_) => Ok(()),
            Err(object_store::Error::AlreadyExists { .. }) => {
                let there = Self::read(store, ledger, nonce).await?;
                let problem = || damaged(&path, "it holds other settings".to_owned());
                (there == *self).then_some(()).ok_or_else(problem)
            }
            Err(source) => Err(failed("write", &path, source)),
        }
    }

    /// Reads the file.
    ///
    /// # Errors
    ///
    /// [`SettingsError`] when it is gone, or is not what was written.
    pub async fn read(
        store: &dyn ObjectStore,
        ledger: &Ledger,
        nonce: Nonce,
    ) -> Result<Self, SettingsError> {
        let path = ledger_settings(ledger, nonce);
        let found = store.get(&path).await.map_err(|source| failed("read", &path, source))?;
        let bytes = found.bytes().await.map_err(|source| failed("read", &path, source))?;
        Self::decode(&bytes, ledger).map_err(|problem| damaged(&path, problem))
    }

    fn encode(&self, ledger: &Ledger) -> Result<Vec<u8>, serde_json::Error> {
        let settings = serde_json::to_string(self)?;
        let checksum = checksum(&settings);
        let document = Document { version: VERSION, ledger: ledger.clone(), settings, checksum };
        serde_json::to_vec(&document)
    }

    fn decode(bytes: &[u8], ledger: &Ledger) -> Result<Self, String> {
        let document: Document =
            serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if document.version != VERSION {
            return Err(format!("version {} is not known", document.version));
        }
        if document.ledger != *ledger {
            return Err(format!("it belongs to ledger {}", document.ledger));
        }
        if document.checksum != checksum(&document.settings) {
            return Err("its checksum does not match".to_owned());
        }
        serde_json::from_str(&document.settings).map_err(|error| error.to_string())
    }
}

fn checksum(text: &str) -> String {
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(text.as_bytes()))
}

fn failed(operation: &'static str, path: &Path, source: object_store::Error) -> SettingsError {
    SettingsError::Store { operation, path: path.to_string(), source: Box::new(source) }
}

fn damaged(path: &Path, problem: String) -> SettingsError {
    SettingsError::Damaged { path: path.to_string(), problem }
}

impl tidegate_types::Explained for SettingsError {
    const WHAT: &'static str = "the ledger's settings failed";

    fn reason(&self) -> tidegate_types::Reason {
        tidegate_types::Reason::SinkUnreachable
    }

    fn is_transient(&self) -> bool {
        matches!(self, Self::Store { .. })
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

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
        assert!(matches!(error, SettingsError::Damaged { .. }), "{error}");
        let read = LedgerSettings::read(&store, &ledger, nonce).await.expect("read");
        assert_eq!(read, settings(u64::MAX));
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let (ledger, _) = names();
        let good = settings(7).encode(&ledger).expect("encodes");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            if let Ok(read) = LedgerSettings::decode(&bad, &ledger) {
                assert_eq!(read, settings(7), "byte {at} changed what was read");
            }
        }
        let other = Ledger::new("other").expect("valid");
        assert!(LedgerSettings::decode(&good, &other).is_err());
    }
}
