//! What a store's refusal means for a run.

use std::error::Error as _;

use object_store::Error;
use tidegate_types::Reason;

use crate::ExtractError;

/// The error of a request that was about the store as a whole.
pub(crate) fn unreadable(what: &str, error: Error) -> ExtractError {
    if is_refusal(&error) {
        // Keys are read again when they change, so this may mend itself.
        return ExtractError::transient(Reason::SourceRefused, format!("{what}: access is denied"))
            .because(error);
    }
    if let Some(link) = loop_of(&error) {
        let what = format!("{what}: {link}; remove that link, or name another folder");
        return ExtractError::permanent(Reason::InvalidConfiguration, what);
    }
    match error {
        // One of its keys is none that can be asked for: it stays so.
        Error::InvalidPath { source } => {
            let what = format!("{what}: {source}; rename that object, or name another folder");
            ExtractError::permanent(Reason::InvalidConfiguration, what)
        }
        Error::NotSupported { .. } | Error::NotImplemented { .. } => {
            ExtractError::permanent(Reason::InvalidConfiguration, what).because(error)
        }
        error => ExtractError::transient(Reason::SourceUnreachable, what).because(error),
    }
}

/// Which link in a directory leads to a folder above it; none when it is something else. The error has no name
/// outside of the store, so its words have to do.
fn loop_of(error: &Error) -> Option<String> {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    let mut texts = causes.map(ToString::to_string);
    texts.find(|text| text.starts_with("File system loop found"))
}

/// Whether the store does not let us. The answer to a listing has its status only in words.
pub(crate) fn is_refusal(error: &Error) -> bool {
    if matches!(error, Error::PermissionDenied { .. } | Error::Unauthenticated { .. }) {
        return true;
    }
    let text = error.to_string();
    ["status code: 403", "status code: 401"].iter().any(|status| text.contains(status))
}

/// The error of a request for one pinned file.
pub(crate) fn of_file(path: &str, error: Error) -> ExtractError {
    match error {
        Error::Precondition { .. } => changed(path, "it was written again").because(error),
        Error::NotFound { .. } => changed(path, "it was deleted").because(error),
        error => unreadable(&format!("{path} could not be read"), error),
    }
}

/// A file is no longer the one that was listed.
pub(crate) fn changed(path: &str, how: &str) -> ExtractError {
    let what = format!(
        "{path} changed after the run listed its files: {how}; the next attempt reads what is there then"
    );
    ExtractError::transient(Reason::SourceChanged, what)
}
