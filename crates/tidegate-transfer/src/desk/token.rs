//! What the readers of an attempt know and nobody else.

use std::fmt;

use tidegate_config::DeskReport;

/// The secret between a coordinator, its readers and the operator, from the environment of their Jobs. It
/// is never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct DeskToken(String);

impl DeskToken {
    /// The token that this process was given; an empty one where nobody gave it any.
    #[must_use]
    pub fn from_environment() -> Self {
        Self(std::env::var(DeskReport::TOKEN_VARIABLE).unwrap_or_default())
    }

    /// A token.
    #[must_use]
    pub fn new(token: String) -> Self {
        Self(token)
    }

    /// What is shown at the desk of the coordinator with this nonce.
    pub(crate) fn key(&self, nonce: &str) -> String {
        DeskReport::key(nonce, &self.0)
    }
}

impl fmt::Debug for DeskToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeskToken(…)")
    }
}
