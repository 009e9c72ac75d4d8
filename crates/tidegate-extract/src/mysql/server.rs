//! Connections with the session as reading needs it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use tidegate_config::DatabaseSource;
use tidegate_runtime::secrets::Secrets;
use tidegate_types::Reason;

use super::failure::{Stage, explain};
use super::identity::Identity;
use super::{address, trust};
use crate::ExtractError;
use crate::limits::LARGEST_ROW;

const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// Idle readers hold their snapshot while others read, so the system looks whether the server is there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// The server's word for a variable that it does not have.
const UNKNOWN_VARIABLE: u16 = 1193;

/// The session, whatever the server's defaults are. Without REPEATABLE READ there is no snapshot at
/// all; zero dates are shown as they are, so that they can be told.
const SESSION: [&str; 3] = [
    "SET NAMES utf8mb4",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "SET SESSION time_zone = '+00:00', sql_mode = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION', \
     autocommit = 1, sql_big_selects = 1, sql_select_limit = DEFAULT, lock_wait_timeout = 60, \
     wait_timeout = 604800, net_write_timeout = 7200, net_read_timeout = 7200",
];
/// Limits that end long reads; each server has its own and does not know the other's.
const NO_LIMITS: [&str; 4] = [
    "SET SESSION max_statement_time = 0",
    "SET SESSION idle_transaction_timeout = 0",
    "SET SESSION idle_readonly_transaction_timeout = 0",
    "SET SESSION max_execution_time = 0",
];

/// A server that can be connected to.
#[derive(Clone)]
pub(super) struct Server {
    options: Opts,
    /// For messages: `MySQL at host:port`.
    pub(super) shown: String,
    /// What the first connection reached.
    identity: Arc<OnceLock<Identity>>,
}

impl Server {
    /// Reads where the server is; nothing is connected yet. `application` is how connections introduce
    /// themselves.
    pub(super) fn new(
        source: &DatabaseSource,
        secrets: &Secrets,
        application: &str,
    ) -> Result<Self, ExtractError> {
        let read = address::read(secrets, &source.connection);
        let address = read.map_err(|error| error.asked_by("source.mysql.connection.secretRef"))?;
        let options = address
            .options
            .ssl_opts(trust::options(source, secrets)?)
            .prefer_socket(false)
            .max_allowed_packet(Some(LARGEST_ROW))
            .tcp_keepalive(Some(KEEPALIVE))
            .connect_attribute("program_name", application);
        Ok(Self { options: options.into(), shown: address.shown, identity: Arc::default() })
    }

    /// A new connection, to the server that the first one reached.
    pub(super) async fn connect(&self) -> Result<Conn, ExtractError> {
        // The client makes its TLS settings with the process' provider.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let failed = |error| explain(Stage::Connecting, &self.shown, error);
        let connecting = tokio::time::timeout(CONNECT_LIMIT, async {
            let mut conn = Conn::new(self.options.clone()).await?;
            prepare_session(&mut conn).await?;
            let identity = Identity::of(&mut conn).await?;
            Ok((conn, identity))
        });
        let silent = |_| {
            let what = format!("{}: no answer within {CONNECT_LIMIT:?}", self.shown);
            ExtractError::transient(Reason::SourceUnreachable, what)
        };
        let (conn, identity) = connecting.await.map_err(silent)?.map_err(failed)?;
        self.require_same(&identity)?;
        Ok(conn)
    }

    fn require_same(&self, found: &Identity) -> Result<(), ExtractError> {
        let first = self.identity.get_or_init(|| found.clone());
        if first.is_same(found) {
            return Ok(());
        }
        let what = format!(
            "{} leads to several servers, or to one that was just restarted ({} and {}); let the secret name one server",
            self.shown,
            first.shown(),
            found.shown()
        );
        Err(ExtractError::transient(Reason::SourceUnreachable, what))
    }
}

async fn prepare_session(conn: &mut Conn) -> Result<(), mysql_async::Error> {
    for statement in SESSION {
        conn.query_drop(statement).await?;
    }
    for statement in NO_LIMITS {
        match conn.query_drop(statement).await {
            Err(mysql_async::Error::Server(error)) if error.code == UNKNOWN_VARIABLE => {}
            answer => answer?,
        }
    }
    Ok(())
}
