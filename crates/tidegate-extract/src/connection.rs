//! The secret that leads to a database: one address, or its parts.

use std::error::Error as _;

use tidegate_runtime::secrets::{SecretError, Secrets};
use tidegate_types::{Explained, Reason, Secret};

use crate::ExtractError;

/// What a secret may hold; named where it holds neither.
const WANTED: &str = "uri, or host and user (beside port, password, database)";

/// What the secret says. Not printed.
pub(crate) enum Connection {
    /// The key `uri`; what its forms are is the database's affair.
    Uri(Secret<String>),
    /// The other keys.
    Parts(Parts),
}

/// An address in parts. Not printed.
pub(crate) struct Parts {
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    pub(crate) user: String,
    pub(crate) password: Option<Secret<String>>,
    pub(crate) database: Option<String>,
}

/// Reads the secret: `uri`, or else `host`, `port`, `user`, `password` and `database`.
///
/// # Errors
///
/// `SecretMissing`, with the key that is missing; a port that is none.
pub(crate) fn read(secrets: &Secrets, name: &str) -> Result<Connection, ExtractError> {
    let optional = |key| secrets.read_optional(name, key).map_err(unusable);
    secrets.require(name).map_err(unusable)?;
    if let Some(uri) = optional("uri")? {
        return Ok(Connection::Uri(uri));
    }
    let (host, user) = match (optional("host")?, optional("user")?) {
        (Some(host), Some(user)) => (host, user),
        (Some(_), None) => return Err(lacks(name, "user", "host")),
        (None, Some(_)) => return Err(lacks(name, "host", "user")),
        (None, None) => {
            let error = SecretError::NoUsableKey { name: name.to_owned(), wanted: WANTED };
            return Err(unusable(error));
        }
    };
    let port = optional("port")?.map(|port| port_of(name, port.expose())).transpose()?;
    Ok(Connection::Parts(Parts {
        host: host.expose().clone(),
        port,
        user: user.expose().clone(),
        password: optional("password")?,
        database: optional("database")?.map(|database| database.expose().clone()),
    }))
}

/// Secrets come late and are mended while we wait, so trying again may do.
pub(crate) fn unusable(error: SecretError) -> ExtractError {
    let made = ExtractError::transient(error.reason(), error.to_string());
    match error.source() {
        Some(cause) => made.because(cause.to_string()),
        None => made,
    }
}

fn lacks(name: &str, key: &'static str, beside: &'static str) -> ExtractError {
    unusable(SecretError::MissingKey { name: name.to_owned(), key, beside, instead: "uri" })
}

fn port_of(name: &str, text: &str) -> Result<u16, ExtractError> {
    text.trim().parse().ok().filter(|port| *port > 0).ok_or_else(|| {
        let what = format!("the key \"port\" of secret {name:?} is no port: write 1 to 65535");
        ExtractError::permanent(Reason::InvalidConfiguration, what)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn refusal(keys: &[(&str, &str)]) -> ExtractError {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("db")).expect("made");
        for (key, value) in keys {
            fs::write(folder.path().join("db").join(key), value).expect("written");
        }
        let secrets = Secrets::new(Some(folder.path().to_path_buf()));
        read(&secrets, "db").err().expect("refused")
    }

    #[test]
    fn the_key_that_is_missing_is_named() {
        for (keys, says) in [
            (
                &[("host", "h")][..],
                "has \"host\" and no \"user\": add it, or \"uri\" instead of both",
            ),
            (&[("user", "u"), ("password", "p")], "has \"user\" and no \"host\""),
            (&[("password", "hidden")], "has none of the keys uri, or host and user"),
            (&[], "has none of the keys uri, or host and user"),
        ] {
            let error = refusal(keys);
            assert_eq!((error.reason(), error.is_transient()), (Reason::SecretMissing, true));
            assert!(error.to_string().contains(says), "{error}");
            assert!(!format!("{error:?}").contains("hidden"));
        }
        let port = refusal(&[("host", "h"), ("user", "u"), ("port", "0")]);
        assert_eq!((port.reason(), port.is_transient()), (Reason::InvalidConfiguration, false));
    }

    #[test]
    fn a_secret_that_is_not_there_is_told_from_one_without_keys() {
        let folder = tempfile::tempdir().expect("a folder");
        let secrets = Secrets::new(Some(folder.path().to_path_buf()));
        let error = read(&secrets, "db").err().expect("refused");
        assert_eq!(error.reason(), Reason::SecretMissing);
        assert!(error.to_string().starts_with("secret \"db\" is not there"), "{error}");
    }
}
