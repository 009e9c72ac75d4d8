//! What can go wrong with a table's store.

use thiserror::Error;
use tidegate_types::Reason;

use crate::files::is_out_of_space;

/// A store could not be opened, or is not fit for commits.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The address has a scheme that there is no store for.
    #[error("{url} has the scheme {scheme:?}; file, s3, abfss, gs and memory are known")]
    UnknownScheme {
        /// The address.
        url: String,
        /// Its scheme.
        scheme: String,
    },
    /// The address lacks something or cannot be a table's root.
    #[error("{url} is not a table's address: {problem}")]
    Address {
        /// The address.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// There is no key, the environment offers no identity, and the machine's is not to be used.
    #[error("there is no key for {url}, and the environment offers no identity instead")]
    NoIdentity {
        /// The address.
        url: String,
    },
    /// The local directory could not be made.
    #[error("failed to create {directory}")]
    Directory {
        /// The directory.
        directory: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The private authorities are no certificates.
    #[error("failed to read the private certificate authorities")]
    Authorities {
        /// Why.
        #[source]
        source: object_store::Error,
    },
    /// The store's client refused its settings.
    #[error("failed to open {url}")]
    Open {
        /// The address.
        url: String,
        /// Why.
        #[source]
        source: object_store::Error,
    },
    /// The probe could not be carried out.
    #[error("failed to probe {url}: {step}")]
    Probe {
        /// The table's address.
        url: String,
        /// What was tried.
        step: &'static str,
        /// What the store said.
        #[source]
        source: object_store::Error,
    },
    /// The store does not do what commits stand on.
    #[error("{url} cannot hold a commit log: {finding}")]
    Unsafe {
        /// The table's address.
        url: String,
        /// What the probe found.
        finding: String,
    },
}

impl StoreError {
    /// The reason to report.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::UnknownScheme { .. }
            | Self::Address { .. }
            | Self::NoIdentity { .. }
            | Self::Authorities { .. } => Reason::InvalidConfiguration,
            Self::Directory { .. } | Self::Probe { .. } if is_out_of_space(self) => {
                Reason::ResourceExhausted
            }
            Self::Directory { .. } | Self::Open { .. } | Self::Probe { .. } => {
                Reason::SinkUnreachable
            }
            Self::Unsafe { .. } => Reason::CommitStoreUnsafe,
        }
    }

    /// Whether trying again later, without anybody changing anything, may help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Probe { source, .. } => !is_refusal(source),
            Self::Directory { .. } | Self::Open { .. } => true,
            _ => false,
        }
    }
}

/// What a store means that says no: a missing bucket is "not found", a wrong key "no permission".
fn is_refusal(error: &object_store::Error) -> bool {
    matches!(
        error,
        object_store::Error::NotFound { .. }
            | object_store::Error::PermissionDenied { .. }
            | object_store::Error::Unauthenticated { .. }
    )
}

impl tidegate_types::Explained for StoreError {
    const WHAT: &'static str = "the object store failed";

    fn reason(&self) -> Reason {
        Self::reason(self)
    }

    fn is_transient(&self) -> bool {
        Self::is_transient(self)
    }
}
