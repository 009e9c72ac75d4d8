//! Why a resource does not run as it stands.

use tidegate_api::Violation;
use tidegate_types::Reason;

/// Why the resource as it stands is not run. When a spec was accepted before, that one goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejection {
    /// The category.
    pub(crate) reason: Reason,
    /// What is wrong, where, and what to write instead.
    pub(crate) message: String,
}

pub(crate) fn refused(reason: Reason, message: impl Into<String>) -> Rejection {
    Rejection { reason, message: message.into() }
}

/// The first fault and how many there are besides; `tidegate validate` prints all of them.
pub(crate) fn invalid(violations: &[Violation]) -> Rejection {
    let message = match violations {
        [] => "cannot be read".to_owned(),
        [first, rest @ ..] => {
            let mut first = first.clone();
            first.document.clear();
            match rest.len() {
                0 => first.to_string(),
                more => format!("{first} (and {more} more, see tidegate validate)"),
            }
        }
    };
    refused(Reason::InvalidConfiguration, message)
}
