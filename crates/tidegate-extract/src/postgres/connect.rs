//! Connections: by whom, where to, and how they are held.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::str::FromStr;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tidegate_config::{DatabaseSource, TlsMode};
use tidegate_runtime::secrets::{SecretError, Secrets};
use tidegate_types::{Explained, Reason};
use tokio::net::lookup_host;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::failure::failed;
use super::tls;
use crate::ExtractError;

/// Long enough for a server under load, short enough that the next address gets its turn.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// A server that does not answer need not be told that we leave.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// A coordinator's connection rests for as long as the chunks are read; gateways forget silent ones.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 6;
const DEFAULT_PORT: u16 = 5432;

/// Settings of every session. Time limits of the server, the database or the role would end long reads;
/// only waiting for a lock has an end. How times print matters where text is asked for.
const SESSION: &str = "SELECT pg_catalog.set_config(name, value, false) FROM (VALUES \
     ('statement_timeout', '0'), ('idle_in_transaction_session_timeout', '0'), \
     ('transaction_timeout', '0'), ('idle_session_timeout', '0'), ('lock_timeout', '60s'), \
     ('standard_conforming_strings', 'on'), ('TimeZone', 'UTC'), ('DateStyle', 'ISO, YMD'), \
     ('IntervalStyle', 'iso_8601'), ('extra_float_digits', '1'), ('bytea_output', 'hex')) \
     AS wanted (name, value) WHERE EXISTS \
     (SELECT FROM pg_catalog.pg_settings AS known WHERE known.name = wanted.name)";

/// Parts of connection strings that other clients know and that are settings of the pipeline here.
const SET_ELSEWHERE: [&str; 7] =
    ["sslmode", "sslrootcert", "sslcert", "sslkey", "gssencmode", "sslcrl", "sslcompression"];

/// A server that answered: every connection of an attempt goes to the same address, since a snapshot
/// belongs to one server.
#[derive(Clone)]
pub(super) struct Server {
    config: Config,
    tls: Option<MakeRustlsConnect>,
    /// For people.
    label: String,
}

/// A connection; it ends when it is dropped.
pub(super) struct Session {
    pub(super) client: Client,
    driver: Driver,
}

/// The task that moves a connection's bytes. A copy under way would be read to its end without a client.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Session {
    /// Says goodbye, so that the server need not complain about a client that is gone.
    pub(super) async fn close(self) {
        let Self { client, mut driver } = self;
        let _ = timeout(CLOSE_LIMIT, client.batch_execute("ROLLBACK")).await;
        drop(client);
        let _ = timeout(CLOSE_LIMIT, &mut driver.0).await;
    }
}

impl Server {
    /// Connects by a secret: with the key `uri`, or `host`, `port`, `user`, `password`, `database`.
    pub(super) async fn connect(
        source: &DatabaseSource,
        secrets: &Secrets,
        application: &str,
    ) -> Result<(Self, Session), ExtractError> {
        let asked = from_secret(secrets, &source.connection)?;
        Self::first_of(asked, source, secrets, application).await
    }

    /// Connects to where the key `primary_uri` says, if it is there.
    pub(super) async fn connect_primary(
        source: &DatabaseSource,
        secrets: &Secrets,
        application: &str,
    ) -> Result<Option<Session>, ExtractError> {
        let key = "primary_uri";
        let uri = secrets.read_optional(&source.connection, key).map_err(secret)?;
        let Some(uri) = uri else { return Ok(None) };
        let asked = from_uri(uri.expose(), &source.connection, key)?;
        let (_, session) = Self::first_of(asked, source, secrets, application).await?;
        Ok(Some(session))
    }

    /// Another connection to the same address, moved by a task of its own.
    pub(super) async fn session(&self) -> Result<Session, ExtractError> {
        let (client, moving) = self.open().await?;
        let session = Session { client, driver: Driver(tokio::spawn(moving)) };
        prepare(&session.client).await?;
        Ok(session)
    }

    /// Does `work` over a connection that is moved by whoever waits for it. Handing every piece of a copy
    /// from one thread to another would cost as much as decoding it.
    pub(super) async fn with_client<T>(
        &self,
        work: impl AsyncFnOnce(&Client) -> Result<T, ExtractError>,
    ) -> Result<T, ExtractError> {
        let (client, moving) = self.open().await?;
        let mut moving = moving.fuse();
        let done = {
            let mut work = pin!(async {
                prepare(&client).await?;
                work(&client).await
            });
            poll_fn(|context| {
                if let Poll::Ready(done) = work.as_mut().poll(context) {
                    return Poll::Ready(done);
                }
                // When it has ended, whoever works learns that the connection is closed.
                let _ = moving.poll_unpin(context);
                work.as_mut().poll(context)
            })
            .await?
        };
        // Says goodbye, so that the server need not complain about a client that is gone.
        drop(client);
        let _ = timeout(CLOSE_LIMIT, moving).await;
        Ok(done)
    }

    async fn first_of(
        asked: Config,
        source: &DatabaseSource,
        secrets: &Secrets,
        application: &str,
    ) -> Result<(Self, Session), ExtractError> {
        let connector = match source.tls.mode {
            TlsMode::Disable => None,
            TlsMode::VerifyFull => Some(tls::connector(source, secrets)?),
        };
        let mut last = None;
        for (config, label) in addresses(&asked, application).await? {
            // Nobody listens in on a socket in a folder, and servers offer no TLS there.
            let local = matches!(config.get_hosts(), [Host::Unix(_)]);
            let server = Self { config, tls: connector.clone().filter(|_| !local), label };
            match server.session().await {
                Ok(session) => return Ok((server, session)),
                // What a person must mend is told rather than that nobody answers elsewhere.
                Err(error) if last.as_ref().is_none_or(Explained::is_transient) => {
                    last = Some(error);
                }
                Err(_) => {}
            }
        }
        let nowhere = "the connection's host has no address";
        Err(last.unwrap_or_else(|| ExtractError::transient(Reason::SourceUnreachable, nowhere)))
    }

    /// A client, and what moves its bytes for as long as it is polled.
    async fn open(&self) -> Result<(Client, BoxFuture<'static, ()>), ExtractError> {
        let mut config = self.config.clone();
        let mode = if self.tls.is_some() { SslMode::Require } else { SslMode::Disable };
        config.ssl_mode(mode);
        let connecting = |error| failed(&format!("connecting to {}", self.label), error);
        Ok(match &self.tls {
            Some(tls) => {
                let (client, moving) = config.connect(tls.clone()).await.map_err(connecting)?;
                (client, moving.map(told).boxed())
            }
            None => {
                let (client, moving) = config.connect(NoTls).await.map_err(connecting)?;
                (client, moving.map(told).boxed())
            }
        })
    }
}

async fn prepare(client: &Client) -> Result<(), ExtractError> {
    client.batch_execute(SESSION).await.map_err(|error| failed("preparing a session", error))
}

fn told(ended: Result<(), tokio_postgres::Error>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the source broke");
    }
}

pub(super) fn secret(error: SecretError) -> ExtractError {
    ExtractError::transient(error.reason(), error.to_string()).because(error)
}

fn from_secret(secrets: &Secrets, name: &str) -> Result<Config, ExtractError> {
    if let Some(uri) = secrets.read_optional(name, "uri").map_err(secret)? {
        return from_uri(uri.expose(), name, "uri");
    }
    let mut config = Config::new();
    config.host(secrets.read(name, "host").map_err(secret)?.expose());
    config.user(secrets.read(name, "user").map_err(secret)?.expose());
    if let Some(port) = secrets.read_optional(name, "port").map_err(secret)? {
        config.port(port.expose().trim().parse().map_err(|_| {
            let what = format!("the key \"port\" of secret {name:?} is no port: write 1 to 65535");
            ExtractError::permanent(Reason::InvalidConfiguration, what)
        })?);
    }
    if let Some(password) = secrets.read_optional(name, "password").map_err(secret)? {
        config.password(password.expose());
    }
    if let Some(database) = secrets.read_optional(name, "database").map_err(secret)? {
        config.dbname(database.expose());
    }
    Ok(config)
}

/// The text of the string, and why it is wrong, may hold the password: neither is told.
fn from_uri(uri: &str, name: &str, key: &str) -> Result<Config, ExtractError> {
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

/// One configuration per address, in the order in which they are tried.
async fn addresses(
    asked: &Config,
    application: &str,
) -> Result<Vec<(Config, String)>, ExtractError> {
    let ports = asked.get_ports();
    let port_of =
        |index: usize| ports.get(index).or_else(|| ports.first()).copied().unwrap_or(DEFAULT_PORT);
    let database = asked.get_dbname().or_else(|| asked.get_user()).unwrap_or_default();
    let mut found = Vec::new();
    let mut failure = None;
    for (index, host) in asked.get_hosts().iter().enumerate() {
        let port = port_of(index);
        let mut one = single(asked, application, port);
        match host {
            Host::Unix(folder) => {
                one.host_path(folder);
                found.push((one, format!("{}/{database}", folder.display())));
            }
            Host::Tcp(name) => {
                one.host(name);
                let label = format!("{name}:{port}/{database}");
                match asked.get_hostaddrs().get(index) {
                    Some(address) => found.push((one.hostaddr(*address).clone(), label)),
                    None => match lookup_host((name.as_str(), port)).await {
                        Ok(resolved) => found.extend(
                            resolved
                                .map(|at| (one.clone().hostaddr(at.ip()).clone(), label.clone())),
                        ),
                        Err(error) => failure = Some(unresolved(name, error)),
                    },
                }
            }
        }
    }
    if asked.get_hosts().is_empty() {
        for (index, address) in asked.get_hostaddrs().iter().enumerate() {
            let port = port_of(index);
            let mut one = single(asked, application, port);
            // A certificate's name may be an address.
            one.host(address.to_string()).hostaddr(*address);
            found.push((one, format!("{address}:{port}/{database}")));
        }
    }
    match failure {
        Some(error) if found.is_empty() => Err(error),
        _ => Ok(found),
    }
}

fn unresolved(name: &str, error: io::Error) -> ExtractError {
    let what = format!("the source's host {name:?} cannot be resolved");
    ExtractError::transient(Reason::SourceUnreachable, what).because(error)
}

/// All but the addresses.
fn single(asked: &Config, application: &str, port: u16) -> Config {
    let mut one = Config::new();
    one.application_name(application)
        .port(port)
        .connect_timeout(asked.get_connect_timeout().copied().unwrap_or(CONNECT_LIMIT))
        .keepalives(true)
        .keepalives_idle(KEEPALIVE_IDLE)
        .keepalives_interval(KEEPALIVE_INTERVAL)
        .keepalives_retries(KEEPALIVE_RETRIES)
        .target_session_attrs(asked.get_target_session_attrs())
        .channel_binding(asked.get_channel_binding())
        .ssl_negotiation(asked.get_ssl_negotiation());
    if let Some(user) = asked.get_user() {
        one.user(user);
    }
    if let Some(password) = asked.get_password() {
        one.password(password);
    }
    if let Some(database) = asked.get_dbname() {
        one.dbname(database);
    }
    if let Some(options) = asked.get_options() {
        one.options(options);
    }
    one
}

#[cfg(test)]
mod tests {
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

    #[tokio::test]
    async fn every_address_of_every_host_is_tried_with_its_own_port() {
        let asked =
            from_uri("postgresql://u:p@127.0.0.1:1,127.0.0.2:2/d?host=/run/pg", "db", "uri")
                .unwrap();
        let found = addresses(&asked, "tidegate/x").await.unwrap();
        let labels: Vec<_> = found.iter().map(|(_, label)| label.as_str()).collect();
        assert_eq!(labels[..2], ["127.0.0.1:1/d", "127.0.0.2:2/d"]);
        assert!(found.iter().all(|(one, _)| one.get_application_name() == Some("tidegate/x")));
    }
}
