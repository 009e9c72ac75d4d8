//! Where the server is and who we are, from the connection's secret.

use std::str::FromStr;

use tidegate_runtime::secrets::Secrets;
use tidegate_types::Reason;
use tokio_postgres::Config;

use crate::ExtractError;
use crate::connection::{self, Connection, Parts};

/// Parts of connection strings that other clients know and that are settings of the pipeline here.
const SET_ELSEWHERE: [&str; 7] =
    ["sslmode", "sslrootcert", "sslcert", "sslkey", "gssencmode", "sslcrl", "sslcompression"];

/// Reads the secret.
pub(super) fn read(secrets: &Secrets, name: &str) -> Result<Config, ExtractError> {
    Ok(match connection::read(secrets, name)? {
        Connection::Uri(uri) => from_uri(uri.expose(), name, "uri")?,
        Connection::Parts(parts) => from_parts(&parts),
    })
}

fn from_parts(parts: &Parts) -> Config {
    let mut config = Config::new();
    config.host(&parts.host).user(&parts.user);
    if let Some(port) = parts.port {
        config.port(port);
    }
    if let Some(password) = &parts.password {
        config.password(password.expose());
    }
    if let Some(database) = &parts.database {
        config.dbname(database);
    }
    config
}

/// The text of the string, and why it is wrong, may hold the password: neither is told.
pub(super) fn from_uri(uri: &str, name: &str, key: &str) -> Result<Config, ExtractError> {
    let wrong = |what: &str| {
        let what = format!(
            "the key {key:?} of secret {name:?} {what}: write postgresql://user:password@host:5432/database"
        );
        ExtractError::permanent(Reason::InvalidConfiguration, what)
    };
    // Half a password would be taken for the host, and told.
    let behind = uri.split_once("://").map_or("", |(_, behind)| behind);
    let before_settings = behind.split('?').next().unwrap_or_default();
    if before_settings.matches('@').count() > 1 || before_settings.contains('#') {
        return Err(wrong("has an @ or # in the password that is not percent-encoded (%40, %23)"));
    }
    let config = Config::from_str(&without_tls_settings(uri.trim()))
        .map_err(|_| wrong("is no connection string"))?;
    if config.get_user().is_none() {
        return Err(wrong("names no user"));
    }
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(wrong("names no host"));
    }
    Ok(config)
}

fn without_tls_settings(uri: &str) -> String {
    let Some((before, settings)) = uri.split_once('?') else { return uri.to_owned() };
    let kept: Vec<_> = settings
        .split('&')
        .filter(|setting| {
            let name = setting.split('=').next().unwrap_or_default();
            !SET_ELSEWHERE.contains(&name)
        })
        .collect();
    if kept.is_empty() { before.to_owned() } else { format!("{before}?{}", kept.join("&")) }
}

#[cfg(test)]
mod tests {
    use tidegate_types::Explained as _;

    use super::*;

    #[test]
    fn settings_of_the_pipeline_are_taken_out_of_a_connection_string() {
        for (uri, kept) in [
            ("postgresql://u@h/d?sslmode=verify-full", "postgresql://u@h/d"),
            (
                "postgresql://u@h/d?sslmode=require&connect_timeout=3&sslrootcert=/a",
                "postgresql://u@h/d?connect_timeout=3",
            ),
            ("host=h user=u", "host=h user=u"),
        ] {
            assert_eq!(without_tls_settings(uri), kept);
        }
    }

    #[test]
    fn a_faulty_connection_string_is_told_without_its_text() {
        for uri in
            ["postgresql://u:hunter2@h:port/d", "hunter2", "postgresql://h/d?password=hunter2"]
        {
            let error = from_uri(uri, "db", "uri").expect_err("refused");
            assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
            assert!(error.to_string().contains("\"uri\" of secret \"db\""), "{error}");
            assert!(!error.is_transient());
        }
    }

    #[test]
    fn half_a_password_is_not_taken_for_the_host() {
        for uri in [
            "postgresql://u:hunt@er2@h/d",
            "postgresql://u:hunt#er2@h/d",
            "postgresql://u:hunt@er2@h/d?connect_timeout=3",
        ] {
            let error = from_uri(uri, "db", "primary_uri").expect_err("refused").to_string();
            assert!(error.contains("not percent-encoded (%40, %23)"), "{error}");
            assert!(error.contains("\"primary_uri\""), "{error}");
            assert!(!error.contains("hunt") && !error.contains("er2"), "{error}");
        }
        // An @ behind the question mark is none of the password's.
        let config = from_uri("postgresql://u:hunt%40er2@h/d?application_name=a@b", "db", "uri");
        assert_eq!(config.expect("read").get_password(), Some(&b"hunt@er2"[..]));
    }
}
