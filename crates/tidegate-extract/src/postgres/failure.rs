//! What a failure of the server means: whether a person has to act, or time may mend it.

use std::error::Error as _;
use std::io;

use tidegate_types::Reason;
use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

use crate::ExtractError;

/// Classes of SQLSTATE that the same request meets again: what is not supported, bad values, wrong
/// credentials, missing databases, schemas and tables, missing rights, faulty SQL, rows that are too
/// large, damaged tables and indexes, a pool that gives each transaction another session.
const LASTING: [&str; 12] =
    ["0A", "22", "26", "28", "2B", "3D", "3F", "42", "44", "54", "XX001", "XX002"];

/// The server's routine that refuses to let a policy hide rows; its words are in the server's language.
const ROW_SECURITY: &str = "check_enable_rls";

/// The failure of `doing`, such as `counting the rows of "orders"`.
pub(super) fn failed(doing: &str, error: Error) -> ExtractError {
    if let Some(refusal) = error.as_db_error() {
        return told(doing, refusal);
    }
    let what = format!("{doing} failed");
    if certificate_is_bad(&error) {
        return ExtractError::permanent(
            Reason::SourceRefused,
            format!("{what}: the server's certificate is not good; give its authority in tls.caRef and connect by a name that the certificate holds"),
        )
        .because(error);
    }
    if speaks_no_tls(&error) {
        return ExtractError::permanent(
            Reason::SourceRefused,
            format!(
                "{what}: the server does not offer TLS; turn it on there, or set tls.mode to Disable"
            ),
        );
    }
    if is_ours(&error) {
        return ExtractError::permanent(Reason::SourceRefused, what).because(error);
    }
    ExtractError::transient(Reason::SourceUnreachable, what).because(error)
}

/// What the server said.
fn told(doing: &str, refusal: &DbError) -> ExtractError {
    let state = refusal.code();
    let failed = format!("{doing} failed: {}", refusal.message());
    let advice = match refusal.routine() {
        Some(ROW_SECURITY) => Some(
            "a run reads all rows or none: give the role BYPASSRLS, or read a view of the table's owner that says which rows",
        ),
        _ if *state == SqlState::INVALID_SQL_STATEMENT_NAME => {
            Some("a pool that shares sessions between transactions is in between: connect past it")
        }
        _ => None,
    };
    if let Some(advice) = advice {
        return ExtractError::permanent(Reason::SourceRefused, format!("{failed}; {advice}"));
    }
    if *state == SqlState::LOCK_NOT_AVAILABLE {
        let what = format!(
            "{doing} failed: somebody alters, empties or locks what is read, or waits to; a run waits for that for a minute, and once it reads it gives way"
        );
        return ExtractError::transient(Reason::SourceChanged, what);
    }
    let hint = refusal.hint().map_or_else(String::new, |hint| format!(" ({hint})"));
    let what = format!("{failed}{hint}, SQLSTATE {}", state.code());
    if is_lasting(state) {
        ExtractError::permanent(Reason::SourceRefused, what)
    } else {
        ExtractError::transient(Reason::SourceUnreachable, what)
    }
}

/// The snapshot is gone, as far as `error` tells; the same everywhere.
pub(super) fn snapshot_lost(error: Error) -> ExtractError {
    ExtractError::transient(Reason::SnapshotLost, "the source's snapshot is no longer held")
        .because(error)
}

/// Whether the server would say the same again.
pub(super) fn is_lasting(state: &SqlState) -> bool {
    let code = state.code();
    *state == SqlState::READ_ONLY_SQL_TRANSACTION
        || LASTING.iter().any(|class| code.starts_with(class))
}

fn certificate_is_bad(error: &Error) -> bool {
    causes(error).any(|cause| {
        let cause = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause
            .and_then(|cause| cause.downcast_ref::<rustls::Error>())
            .is_some_and(|error| matches!(error, rustls::Error::InvalidCertificate(_)))
    })
}

fn speaks_no_tls(error: &Error) -> bool {
    causes(error).any(|cause| cause.to_string() == "server does not support TLS")
}

/// What never left: a statement with a NUL in it, an impossible setting.
fn is_ours(error: &Error) -> bool {
    let text = error.to_string();
    ["error encoding message", "invalid configuration", "error serializing"]
        .iter()
        .any(|ours| text.starts_with(ours))
}

fn causes(error: &Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |error| (*error).source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_must_mend_is_told_from_what_time_mends() {
        for code in [
            "28P01", "3D000", "42P01", "42501", "22012", "25006", "0A000", "54000", "XX001",
            "26000",
        ] {
            assert!(is_lasting(&SqlState::from_code(code)), "{code}");
        }
        for code in
            ["57P01", "57P03", "53300", "40001", "08006", "55P03", "25P02", "XX000", "57014"]
        {
            assert!(!is_lasting(&SqlState::from_code(code)), "{code}");
        }
    }
}
