//! What the client's errors mean for a run.

use mysql_async::{DriverError, Error, IoError};
use tidegate_types::Reason;

use crate::ExtractError;
use crate::limits::LARGEST_ROW;

/// The server said that a table's definition is newer than the snapshot.
const DEFINITION_CHANGED: u16 = 1412;
/// Errors without a telling SQLSTATE that time may mend: too many connections, a server that goes away,
/// a lock that was not got, a statement or connection that somebody ended.
const PASSING: [u16; 16] = [
    1040, 1053, 1077, 1079, 1158, 1159, 1160, 1161, 1203, 1205, 1213, 1226, 1317, 1927, 1969, 3024,
];
/// Errors that say that a right is missing.
const RIGHTS: [u16; 6] = [1044, 1045, 1142, 1143, 1227, 1401];

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The connection is being made; no snapshot yet.
    Connecting,
    /// A snapshot is held.
    Reading,
}

/// The error of a run for an error of the client. `doing` says what was tried: `reading \`shop\`.\`orders\``.
pub(super) fn explain(stage: Stage, doing: &str, error: Error) -> ExtractError {
    let told = match &error {
        Error::Server(server) => told_by_server(doing, server.code, &server.state),
        error if is_tls(error) => refused(format!(
            "{doing}: no trusted TLS connection; check tls.caRef and the name in the server's certificate"
        )),
        Error::Driver(DriverError::NoClientSslFlagFromServer) => refused(format!(
            "{doing}: the server offers no TLS; turn it on there, or say tls.mode: Disable"
        )),
        error if is_too_large(error) => {
            let limit = LARGEST_ROW >> 20;
            let what = format!("{doing}: a row is larger than {limit} MiB");
            ExtractError::permanent(Reason::TooLarge, what)
        }
        Error::Driver(DriverError::MixedParams | DriverError::StmtParamsMismatch { .. }) => {
            refused(format!("{doing}: a query can have no parameters of its own (? or :name)"))
        }
        Error::Driver(
            DriverError::UnknownAuthPlugin { .. } | DriverError::CleartextPluginDisabled,
        ) => refused(format!("{doing}: the account's way of authentication is not supported")),
        Error::Url(_) => refused(format!("{doing}: the address cannot be read")),
        Error::Io(_) | Error::Driver(_) | Error::Other(_) => lost(stage, doing),
    };
    told.because(error)
}

/// Whether the server said that a right is missing.
pub(super) fn lacks_rights(error: &Error) -> bool {
    matches!(error, Error::Server(server) if RIGHTS.contains(&server.code))
}

/// Whether TLS failed, rather than the connection below it.
fn is_tls(error: &Error) -> bool {
    match error {
        Error::Io(IoError::Tls(_)) => true,
        Error::Io(IoError::Io(error)) => {
            error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
        }
        _ => false,
    }
}

/// The codec's error has no name outside of the client, so its words have to do.
fn is_too_large(error: &Error) -> bool {
    match error {
        Error::Driver(DriverError::PacketTooLarge) => true,
        Error::Io(IoError::Io(error)) => error.to_string().contains("max_allowed_packet"),
        _ => false,
    }
}

fn told_by_server(doing: &str, code: u16, state: &str) -> ExtractError {
    if code == DEFINITION_CHANGED {
        let what = format!("{doing}: the table was altered meanwhile");
        return ExtractError::transient(Reason::SourceChanged, what);
    }
    let passing =
        PASSING.contains(&code) || ["08S", "40", "70"].iter().any(|class| state.starts_with(class));
    if passing {
        ExtractError::transient(Reason::SourceUnreachable, format!("{doing}: the server gave up"))
    } else {
        refused(format!("{doing}: the server refused"))
    }
}

fn lost(stage: Stage, doing: &str) -> ExtractError {
    match stage {
        Stage::Connecting => ExtractError::transient(
            Reason::SourceUnreachable,
            format!("{doing}: the server cannot be reached"),
        ),
        Stage::Reading => ExtractError::transient(
            Reason::SnapshotLost,
            format!("{doing}: the connection broke, and with it the snapshot"),
        ),
    }
}

fn refused(what: String) -> ExtractError {
    ExtractError::permanent(Reason::SourceRefused, what)
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use mysql_async::ServerError;
    use tidegate_types::Explained;

    use super::*;

    fn server(code: u16, state: &str) -> ExtractError {
        let message = "words of the server".to_owned();
        let error = ServerError { code, message, state: state.to_owned() };
        explain(Stage::Reading, "reading", Error::Server(error))
    }

    #[test]
    fn what_a_person_must_mend_is_not_tried_again() {
        for (code, state) in [
            (1045, "28000"),
            (1049, "42000"),
            (1054, "42S22"),
            (1146, "42S02"),
            (1792, "25006"),
            (3159, "08004"),
        ] {
            let error = server(code, state);
            assert_eq!(
                (error.reason(), error.is_transient()),
                (Reason::SourceRefused, false),
                "{code}"
            );
            assert!(
                error
                    .source()
                    .is_some_and(|cause| cause.to_string().contains("words of the server"))
            );
        }
    }

    #[test]
    fn what_passes_is_tried_again() {
        for (code, state) in [
            (1040, "08004"),
            (1160, "08S01"),
            (1205, "HY000"),
            (1213, "40001"),
            (1317, "70100"),
            (1927, "70100"),
        ] {
            let error = server(code, state);
            assert!(error.is_transient(), "{code}");
            assert_eq!(error.reason(), Reason::SourceUnreachable, "{code}");
        }
        assert_eq!(server(1412, "HY000").reason(), Reason::SourceChanged);
    }

    #[test]
    fn a_broken_connection_is_a_lost_snapshot_once_there_is_one() {
        let broken = || Error::Driver(DriverError::ConnectionClosed);
        assert_eq!(explain(Stage::Connecting, "x", broken()).reason(), Reason::SourceUnreachable);
        assert_eq!(explain(Stage::Reading, "x", broken()).reason(), Reason::SnapshotLost);
    }
}
