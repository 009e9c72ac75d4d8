//! Where the server is and who we are, from the connection's secret.

use mysql_async::{Opts, OptsBuilder};
use tidegate_runtime::secrets::Secrets;
use tidegate_types::Reason;
use url::Url;

use crate::ExtractError;
use crate::connection::{self, Connection, Parts};

const PORT: u16 = 3306;

/// Where the server is and who we are. Its text names no password.
#[derive(Clone)]
pub(super) struct Address {
    /// Host, port, user, password and database.
    pub(super) options: OptsBuilder,
    /// For messages: `MySQL at host:port`.
    pub(super) shown: String,
}

/// Reads the secret: `uri`, or `host`, `port`, `user`, `password` and `database`.
pub(super) fn read(secrets: &Secrets, name: &str) -> Result<Address, ExtractError> {
    match connection::read(secrets, name)? {
        Connection::Uri(uri) => from_uri(name, uri.expose()),
        Connection::Parts(parts) => Ok(from_parts(parts)),
    }
}

fn from_parts(parts: Parts) -> Address {
    let port = parts.port.unwrap_or(PORT);
    let shown = shown(&parts.host, port);
    let options = OptsBuilder::default()
        .ip_or_hostname(parts.host)
        .tcp_port(port)
        .user(Some(parts.user))
        .pass(parts.password.map(|password| password.expose().clone()))
        .db_name(parts.database);
    Address { options, shown }
}

/// Of an address only the parts that say where and who are taken: settings behind a `?` could switch
/// off what the pipeline asks for, such as TLS.
fn from_uri(name: &str, uri: &str) -> Result<Address, ExtractError> {
    // The client's error is not passed on: the address has the password in it.
    let refuse = |problem: &str| {
        let what = format!("key \"uri\" of secret {name:?} {problem}");
        ExtractError::permanent(Reason::InvalidConfiguration, what)
    };
    let wrong = "is not of the form mysql://user:password@host:3306/database";
    let url = Url::parse(uri).map_err(|_| refuse(wrong))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse("has settings behind its path; none are read from there"));
    }
    let plain = match url.scheme() {
        "mysql" => uri.to_owned(),
        "mariadb" => uri.replacen("mariadb", "mysql", 1),
        _ => return Err(refuse(wrong)),
    };
    let options = Opts::from_url(&plain).map_err(|_| refuse(wrong))?;
    let shown = shown(options.ip_or_hostname(), options.tcp_port());
    Ok(Address { options: OptsBuilder::from_opts(options), shown })
}

fn shown(host: &str, port: u16) -> String {
    format!("MySQL at {host}:{port}")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn secret(keys: &[(&str, &str)]) -> (tempfile::TempDir, Secrets) {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("db")).expect("made");
        for (key, value) in keys {
            fs::write(folder.path().join("db").join(key), value).expect("written");
        }
        let secrets = Secrets::new(Some(folder.path().to_path_buf()));
        (folder, secrets)
    }

    fn options(keys: &[(&str, &str)]) -> Opts {
        let (_folder, secrets) = secret(keys);
        read(&secrets, "db").map(|address| address.options.into()).expect("an address")
    }

    #[test]
    fn parts_and_whole_addresses_say_the_same() {
        let parts = [
            ("host", "db.shop"),
            ("port", "3307\n"),
            ("user", "reader"),
            ("password", "p@ss/word"),
            ("database", "shop"),
        ];
        for scheme in ["mysql", "mariadb"] {
            let uri = format!("{scheme}://reader:p%40ss%2Fword@db.shop:3307/shop");
            let (a, b) = (options(&parts), options(&[("uri", &uri)]));
            for options in [&a, &b] {
                assert_eq!((options.ip_or_hostname(), options.tcp_port()), ("db.shop", 3307));
                assert_eq!((options.user(), options.pass()), (Some("reader"), Some("p@ss/word")));
                assert_eq!(options.db_name(), Some("shop"));
            }
        }
        assert_eq!(options(&[("host", "db"), ("user", "reader")]).tcp_port(), PORT);
    }

    #[test]
    fn a_wrong_address_is_refused_without_telling_the_password() {
        for uri in [
            "postgres://reader:hidden@db/shop",
            "mysql://reader:hidden@db/shop?require_ssl=false",
            "mysql://reader:hidden@db:port/shop",
            "reader:hidden@db",
        ] {
            let (_folder, secrets) = secret(&[("uri", uri)]);
            let error = read(&secrets, "db").err().expect(uri);
            let text = format!("{error:?} {error}");
            assert!(!text.contains("hidden") && text.contains("\\\"db\\\""), "{text}");
        }
    }
}
