//! What does not fit a `txn` action (P2): immutable files below `_tidegate/<ledger>/`, each with the nonce
//! by which a commit names it, a checksum, and the ledger that it belongs to.

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use thiserror::Error;
use tidegate_types::{Explained, Ledger, Nonce, Reason};

/// The version of the files' shape.
const VERSION: u32 = 1;

/// A side file cannot be used.
#[derive(Debug, Error)]
pub enum SideFileError {
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

impl SideFileError {
    /// Whether the file is gone, or not what was written: no other time brings it back.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Store { source, .. } => matches!(**source, object_store::Error::NotFound { .. }),
        }
    }
}

impl Explained for SideFileError {
    const WHAT: &'static str = "a side file of the ledger cannot be used";

    fn reason(&self) -> Reason {
        if self.is_damage() { Reason::TableMismatch } else { Reason::SinkUnreachable }
    }

    fn is_transient(&self) -> bool {
        !self.is_damage()
    }
}

/// What stands in a side file. It never changes.
pub trait SideFile: Serialize + DeserializeOwned + PartialEq + Sync + Sized {
    /// What it is: the name of the content in the file.
    const WHAT: &'static str;

    /// Where it lies.
    fn path(ledger: &Ledger, nonce: Nonce) -> Path;

    /// Writes the file. It must be there before the commit that names it. Writing the same again is no
    /// error: the first attempt may have landed.
    ///
    /// # Errors
    ///
    /// [`SideFileError::Store`], or [`SideFileError::Damaged`] when another file has this nonce.
    fn write(
        &self,
        store: &dyn ObjectStore,
        ledger: &Ledger,
        nonce: Nonce,
    ) -> impl Future<Output = Result<(), SideFileError>> + Send {
        write(self, store, ledger, nonce)
    }

    /// Reads the file.
    ///
    /// # Errors
    ///
    /// [`SideFileError`] when it is gone, or is not what was written.
    fn read(
        store: &dyn ObjectStore,
        ledger: &Ledger,
        nonce: Nonce,
    ) -> impl Future<Output = Result<Self, SideFileError>> + Send {
        read(store, ledger, nonce)
    }
}

async fn write<T: SideFile>(
    content: &T,
    store: &dyn ObjectStore,
    ledger: &Ledger,
    nonce: Nonce,
) -> Result<(), SideFileError> {
    let path = T::path(ledger, nonce);
    let bytes = encode(content, ledger).map_err(|error| damaged(&path, error.to_string()))?;
    let options = PutOptions::from(PutMode::Create);
    match store.put_opts(&path, PutPayload::from(bytes), options).await {
        Ok(_) => Ok(()),
        Err(object_store::Error::AlreadyExists { .. }) => {
            let there: T = read(store, ledger, nonce).await?;
            let problem = || damaged(&path, format!("it holds another {}", T::WHAT));
            (there == *content).then_some(()).ok_or_else(problem)
        }
        Err(source) => Err(failed("write", &path, source)),
    }
}

async fn read<T: SideFile>(
    store: &dyn ObjectStore,
    ledger: &Ledger,
    nonce: Nonce,
) -> Result<T, SideFileError> {
    let path = T::path(ledger, nonce);
    let found = store.get(&path).await.map_err(|source| failed("read", &path, source))?;
    let bytes = found.bytes().await.map_err(|source| failed("read", &path, source))?;
    decode(&bytes, ledger).map_err(|problem| damaged(&path, problem))
}

/// The file: the content as text, so that the checksum is over the very bytes.
pub(super) fn encode<T: SideFile>(
    content: &T,
    ledger: &Ledger,
) -> Result<Vec<u8>, serde_json::Error> {
    let text = serde_json::to_string(content)?;
    let checksum = checksum(&text);
    let document: Map<String, Value> = [
        ("version".to_owned(), VERSION.into()),
        ("ledger".to_owned(), ledger.to_string().into()),
        (T::WHAT.to_owned(), text.into()),
        ("checksum".to_owned(), checksum.into()),
    ]
    .into_iter()
    .collect();
    serde_json::to_vec(&document)
}

pub(super) fn decode<T: SideFile>(bytes: &[u8], ledger: &Ledger) -> Result<T, String> {
    let document: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let version = document.get("version").and_then(Value::as_u64).unwrap_or(0);
    if version != u64::from(VERSION) {
        return Err(format!("version {version} is not known"));
    }
    let text = |name: &str| {
        let text = document.get(name).and_then(Value::as_str);
        text.ok_or_else(|| format!("it has no {name}"))
    };
    let owner = text("ledger")?;
    if owner != ledger.as_str() {
        return Err(format!("it belongs to ledger {owner}"));
    }
    let content = text(T::WHAT)?;
    if text("checksum")? != checksum(content) {
        return Err("its checksum does not match".to_owned());
    }
    serde_json::from_str(content).map_err(|error| error.to_string())
}

fn checksum(text: &str) -> String {
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(text.as_bytes()))
}

fn failed(operation: &'static str, path: &Path, source: object_store::Error) -> SideFileError {
    SideFileError::Store { operation, path: path.to_string(), source: Box::new(source) }
}

pub(super) fn damaged(path: &Path, problem: String) -> SideFileError {
    SideFileError::Damaged { path: path.to_string(), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_store_that_fails_is_tried_again() {
        let path = Path::from("_tidegate/clicks/x");
        let source = || "x".into();
        let gone = object_store::Error::NotFound { path: path.to_string(), source: source() };
        let fails = object_store::Error::Generic { store: "S3", source: source() };
        for (what, error, is_transient, reason) in [
            ("it fails", failed("read", &path, fails), true, Reason::SinkUnreachable),
            ("the file is gone", failed("read", &path, gone), false, Reason::TableMismatch),
            ("it is another", damaged(&path, "it".to_owned()), false, Reason::TableMismatch),
        ] {
            assert_eq!((error.is_transient(), error.reason()), (is_transient, reason), "{what}");
        }
    }
}
