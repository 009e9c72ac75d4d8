//! Secrets and certificates as mounted files: `<dir>/<name>/<key>`.

use std::path::{Path, PathBuf};

use thiserror::Error;
use tidegate_types::Secret;

/// A secret could not be read.
#[derive(Debug, Error)]
pub enum SecretError {
    /// No folder was given.
    #[error("secret {name:?} is needed, but no secrets folder was given (--secrets-dir)")]
    NoFolder {
        /// The secret's name.
        name: String,
    },
    /// The file is missing or unreadable.
    #[error("key {key:?} of secret {name:?} could not be read at {path}")]
    Unreadable {
        /// The secret's name.
        name: String,
        /// The key.
        key: String,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// There is no such secret.
    #[error("secret {name:?} is not there: {path} does not exist")]
    Absent {
        /// The secret's name.
        name: String,
        /// Where it would be.
        path: PathBuf,
    },
    /// The secret holds one of two keys that go together.
    #[error(
        "secret {name:?} has {beside:?} and no {key:?}: add it, or {instead:?} instead of both"
    )]
    MissingKey {
        /// The secret's name.
        name: String,
        /// The key.
        key: &'static str,
        /// The key that is there.
        beside: &'static str,
        /// The key that would do alone.
        instead: &'static str,
    },
    /// The secret holds none of the keys that would do.
    #[error("secret {name:?} has none of the keys {wanted}")]
    NoUsableKey {
        /// The secret's name.
        name: String,
        /// What would do.
        wanted: &'static str,
    },
}

/// The folder in which secrets are mounted.
#[derive(Debug, Clone)]
pub struct Secrets {
    dir: Option<PathBuf>,
}

impl Secrets {
    /// Reads below `dir`.
    #[must_use]
    pub fn new(dir: Option<PathBuf>) -> Self {
        Self { dir }
    }

    /// Whether the secret is there at all.
    ///
    /// # Errors
    ///
    /// [`SecretError::NoFolder`], [`SecretError::Absent`].
    pub fn require(&self, name: &str) -> Result<(), SecretError> {
        let dir = self.dir.as_deref();
        let dir = dir.ok_or_else(|| SecretError::NoFolder { name: name.to_owned() })?;
        let path = dir.join(name);
        if path.is_dir() {
            Ok(())
        } else {
            Err(SecretError::Absent { name: name.to_owned(), path })
        }
    }

    /// The path of a key.
    ///
    /// # Errors
    ///
    /// [`SecretError::NoFolder`].
    pub fn path(&self, name: &str, key: &str) -> Result<PathBuf, SecretError> {
        let dir = self.dir.as_deref();
        let dir = dir.ok_or_else(|| SecretError::NoFolder { name: name.to_owned() })?;
        Ok(Path::new(dir).join(name).join(key))
    }

    /// The value of a key, without the newline that editors leave at the end.
    ///
    /// # Errors
    ///
    /// [`SecretError`] when it cannot be read.
    pub fn read(&self, name: &str, key: &str) -> Result<Secret<String>, SecretError> {
        let path = self.path(name, key)?;
        let text = std::fs::read_to_string(&path).map_err(|source| SecretError::Unreadable {
            name: name.to_owned(),
            key: key.to_owned(),
            path,
            source,
        })?;
        Ok(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()))
    }

    /// The value of a key that may be absent.
    ///
    /// # Errors
    ///
    /// [`SecretError`] when the file is there and cannot be read.
    pub fn read_optional(
        &self,
        name: &str,
        key: &str,
    ) -> Result<Option<Secret<String>>, SecretError> {
        if self.path(name, key)?.exists() { self.read(name, key).map(Some) } else { Ok(None) }
    }
}

impl tidegate_types::Explained for SecretError {
    const WHAT: &'static str = "a secret is missing";

    fn reason(&self) -> tidegate_types::Reason {
        tidegate_types::Reason::SecretMissing
    }

    fn is_transient(&self) -> bool {
        true
    }
}
