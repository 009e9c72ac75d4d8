//! What the desk says to one caller.

use super::messages::DeskAnswer;

/// What the desk says to one caller: an HTTP status, and JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// What it says, for the other side of the desk.
    pub body: String,
}

pub(super) fn refused(status: u16, what: &str) -> Reply {
    answer(status, &DeskAnswer::Refused(what.to_owned()))
}

pub(super) fn answer(status: u16, said: &DeskAnswer) -> Reply {
    match serde_json::to_string(said) {
        Ok(body) => Reply { status, body },
        Err(error) => Reply { status: 500, body: error.to_string() },
    }
}
