//! Connections: how they are made and held.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tidegate_config::{DatabaseSource, TlsMode};
use tidegate_runtime::secrets::Secrets;
use tidegate_types::{Explained, Reason};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode, SslNegotiation};
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::failure::failed;
use super::large::{Bounding, Plain, RefusedRow};
use super::{address, resolve, tls};
use crate::{ExtractError, connection};

/// A server that does not answer need not be told that we leave.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// Settings of every session. Time limits of the server, the database or the role would end long reads;
/// only waiting for a lock has an end. How times print matters where text is asked for. A policy that hides rows
/// is an error, as to `pg_dump`; and whoever reads all of a table begins where it begins, so that a query
/// without an order gives its rows in the same one where the server can.
const SESSION: &str = "SELECT pg_catalog.set_config(name, value, false) FROM (VALUES \
     ('statement_timeout', '0'), ('idle_in_transaction_session_timeout', '0'), \
     ('transaction_timeout', '0'), ('idle_session_timeout', '0'), ('lock_timeout', '60s'), \
     ('row_security', 'off'), ('synchronize_seqscans', 'off'), \
     ('standard_conforming_strings', 'on'), ('TimeZone', 'UTC'), ('DateStyle', 'ISO, YMD'), \
     ('IntervalStyle', 'iso_8601'), ('extra_float_digits', '1'), ('bytea_output', 'hex')) \
     AS wanted (name, value) WHERE EXISTS \
     (SELECT FROM pg_catalog.pg_settings AS known WHERE known.name = wanted.name)";

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

/// Where the connection's secret leads.
pub(super) fn asked(source: &DatabaseSource, secrets: &Secrets) -> Result<Config, ExtractError> {
    let read = address::read(secrets, &source.connection);
    read.map_err(|error| error.asked_by("source.postgres.connection.secretRef"))
}

/// Whom connections trust; none of plain ones.
pub(super) fn connector(
    source: &DatabaseSource,
    secrets: &Secrets,
) -> Result<Option<MakeRustlsConnect>, ExtractError> {
    match source.tls.mode {
        TlsMode::Disable => Ok(None),
        TlsMode::VerifyFull => tls::connector(source, secrets).map(Some),
    }
}

impl Server {
    /// Connects by a secret: with the key `uri`, or `host`, `port`, `user`, `password`, `database`.
    pub(super) async fn connect(
        source: &DatabaseSource,
        secrets: &Secrets,
        application: &str,
    ) -> Result<(Self, Session), ExtractError> {
        let asked = asked(source, secrets)?;
        Self::first_of(asked, source, secrets, application).await
    }

    /// Connects to where the key `primary_uri` says, if it is there.
    pub(super) async fn connect_primary(
        source: &DatabaseSource,
        secrets: &Secrets,
        application: &str,
    ) -> Result<Option<Session>, ExtractError> {
        let key = "primary_uri";
        let uri = secrets.read_optional(&source.connection, key).map_err(connection::unusable)?;
        let Some(uri) = uri else { return Ok(None) };
        let asked = address::from_uri(uri.expose(), &source.connection, key)?;
        let (_, session) = Self::first_of(asked, source, secrets, application).await?;
        Ok(Some(session))
    }

    /// Another connection to the same address, moved by a task of its own.
    pub(super) async fn session(&self) -> Result<Session, ExtractError> {
        let (client, moving) = self.open(&RefusedRow::default()).await?;
        let session = Session { client, driver: Driver(tokio::spawn(moving)) };
        prepare(&session.client).await?;
        Ok(session)
    }

    /// Does `work` over a connection that is moved by whoever waits for it. Handing every piece of a copy
    /// from one thread to another would cost as much as decoding it.
    pub(super) async fn with_client<T>(
        &self,
        work: impl AsyncFnOnce(&Client, &RefusedRow) -> Result<T, ExtractError>,
    ) -> Result<T, ExtractError> {
        let refused = RefusedRow::default();
        let (client, moving) = self.open(&refused).await?;
        let mut moving = moving.fuse();
        let done = {
            let mut work = pin!(async {
                prepare(&client).await?;
                work(&client, &refused).await
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

    /// Whether the server is reached by a socket in a folder.
    fn is_local(&self) -> bool {
        matches!(self.config.get_hosts(), [Host::Unix(_)])
    }

    async fn first_of(
        asked: Config,
        source: &DatabaseSource,
        secrets: &Secrets,
        application: &str,
    ) -> Result<(Self, Session), ExtractError> {
        let connector = connector(source, secrets)?;
        let mut last = None;
        for (config, label) in resolve::addresses(&asked, application).await? {
            let mut server = Self { config, tls: None, label };
            // Nobody listens in on a socket in a folder, and servers offer no TLS there.
            server.tls = connector.clone().filter(|_| !server.is_local());
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

    /// A client, and what moves its bytes for as long as it is polled. A message that is too large ends the
    /// connection and is noted in `refused`.
    async fn open(
        &self,
        refused: &RefusedRow,
    ) -> Result<(Client, BoxFuture<'static, ()>), ExtractError> {
        let mut config = self.config.clone();
        config.ssl_mode(SslMode::Require);
        let connecting = |error| failed(&format!("connecting to {}", self.label), error);
        Ok(match &self.tls {
            Some(tls) => {
                let bounding = Bounding::new(tls.clone(), refused);
                let (client, moving) = config.connect(bounding).await.map_err(connecting)?;
                (client, moving.map(told).boxed())
            }
            // The client hands a stream without TLS to nobody; so it is told that it need not ask for it.
            None if !self.is_local() => {
                config.ssl_negotiation(SslNegotiation::Direct);
                let bounding = Bounding::new(Plain, refused);
                let (client, moving) = config.connect(bounding).await.map_err(connecting)?;
                (client, moving.map(told).boxed())
            }
            // There no name stands for the server, without which nothing can be put in between.
            None => {
                config.ssl_mode(SslMode::Disable);
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
