//! Fixing the snapshot (B5).
//!
//! A snapshot belongs to a connection and cannot be handed on. Several connections see the same only when
//! nothing is committed while they begin, so commits are held back for that moment: by a backup lock
//! where the server has one that leaves transactions alone, else by a read lock on the table. The lock is
//! waited for and held for seconds at most; without the right to it one connection reads everything. What the
//! [`names`] of tables mean is pinned before.

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tidegate_runtime::Random;
use tidegate_types::Reason;
use tracing::{info, warn};

use super::failure::{Stage, explain};
use super::names;
use super::select::From;
use super::server::Server;
use crate::ExtractError;

/// How long others may be held back, from the first lock to the last snapshot.
const HOLD_LIMIT: Duration = Duration::from_secs(10);
/// How long the lock is waited for; meanwhile writers queue behind us.
const PATIENCE: &str = "SET SESSION lock_wait_timeout = 3";
const BEGIN: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";
/// How often a snapshot is taken anew because somebody alters a table just then.
const TRIES: u32 = 5;
/// Most of a server's position in a snapshot's name.
const POSITION_LENGTH: usize = 120;

/// Connections that see the same.
pub(super) struct Fixed {
    pub(super) connections: Vec<Conn>,
    /// The server's position and a nonce.
    pub(super) id: String,
}

/// Connections whose snapshots are fixed, before each has pinned the names for itself.
struct Begun {
    connections: Vec<Conn>,
    /// The server's position.
    position: String,
    /// What keeps the names as they were before.
    guard: Conn,
}

/// Opens `wanted` connections on one snapshot, or one when others cannot be held back. Each pins the names
/// of all tables, which nobody has changed since before the snapshot.
pub(super) async fn fix(
    server: &Server,
    from: &From,
    wanted: usize,
) -> Result<Fixed, ExtractError> {
    for _ in 0..TRIES {
        let begun = begin_all(server, from, wanted).await?;
        if let Some(fixed) = begun.pinned(from).await? {
            return Ok(fixed);
        }
        info!(relation = from.shown, "somebody alters a table; the snapshot is taken behind him");
    }
    let what = format!(
        "{}: {} was altered, renamed or emptied each time that its snapshot was taken; wait until that has ended",
        server.shown, from.shown
    );
    Err(ExtractError::transient(Reason::SourceChanged, what))
}

impl Begun {
    /// None when somebody asks for a table exclusively: he goes first.
    async fn pinned(mut self, from: &From) -> Result<Option<Fixed>, ExtractError> {
        let joins = self.connections.iter_mut().map(|conn| names::join(conn, from));
        let joined = futures::future::try_join_all(joins).await;
        let _ = self.guard.disconnect().await;
        let all_joined = joined?.into_iter().all(|joined| joined);
        Ok(all_joined.then(|| Fixed { connections: self.connections, id: name(&self.position) }))
    }
}

async fn begin_all(server: &Server, from: &From, wanted: usize) -> Result<Begun, ExtractError> {
    if wanted > 1 {
        if let Some(begun) = several(server, from, wanted).await? {
            return Ok(begun);
        }
        warn!(
            relation = from.shown,
            "one connection reads everything: commits cannot be held back while several begin; grant RELOAD and LOCK TABLES"
        );
    }
    let guard = names::hold(server, from).await?;
    let mut conn = server.connect().await?;
    begin(&mut conn).await.map_err(|error| failed(server, error))?;
    let position = position(&mut conn).await;
    Ok(Begun { connections: vec![conn], position, guard })
}

/// None when the lock was not to be had.
async fn several(
    server: &Server,
    from: &From,
    wanted: usize,
) -> Result<Option<Begun>, ExtractError> {
    let mut names = Some(names::hold(server, from).await?);
    let mut keeper = server.connect().await?;
    let mut connections = Vec::with_capacity(wanted);
    for _ in 0..wanted {
        connections.push(server.connect().await?);
    }
    let held = tokio::time::timeout(HOLD_LIMIT, async {
        if !hold_commits(&mut keeper, &mut names, from).await? {
            return Ok(None);
        }
        let begun = connections.iter_mut().map(begin);
        futures::future::try_join_all(begun).await?;
        Ok(Some(position(&mut keeper).await))
    });
    let held = held.await;
    let guard = match names {
        Some(names) => {
            // Its end is the end of every lock.
            let _ = keeper.disconnect().await;
            names
        }
        None => keeper,
    };
    match held {
        Ok(Ok(Some(position))) => Ok(Some(Begun { connections, position, guard })),
        Ok(Ok(None)) | Err(_) => {
            let _ = guard.disconnect().await;
            Ok(None)
        }
        Ok(Err(error)) => Err(failed(server, error)),
    }
}

/// Holds commits back until the connection ends; false when it may not, or would have to wait long.
///
/// A lock on the table pins its name as well, and would wait for who holds the `names`: he is let go.
async fn hold_commits(
    keeper: &mut Conn,
    names: &mut Option<Conn>,
    from: &From,
) -> Result<bool, mysql_async::Error> {
    keeper.query_drop(PATIENCE).await?;
    let backup = ["BACKUP STAGE START", "BACKUP STAGE BLOCK_COMMIT"];
    if all(keeper, &backup).await? {
        return Ok(true);
    }
    // A stage that was begun would be in the way of the table's lock.
    let _ = all(keeper, &["BACKUP STAGE END"]).await?;
    if from.table.is_none() {
        return Ok(false);
    }
    if let Some(names) = names.take() {
        let _ = names.disconnect().await;
    }
    all(keeper, &[&format!("FLUSH TABLES {} WITH READ LOCK", from.sql)]).await
}

/// Whether the server did all of it.
async fn all(conn: &mut Conn, statements: &[&str]) -> Result<bool, mysql_async::Error> {
    for statement in statements {
        match conn.query_drop(*statement).await {
            Ok(()) => {}
            Err(mysql_async::Error::Server(error)) => {
                tracing::debug!(statement, %error, "not held back so");
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

async fn begin(conn: &mut Conn) -> Result<(), mysql_async::Error> {
    conn.query_drop(BEGIN).await
}

/// How far the server's log is. Only for people: what is read does not hang on it.
async fn position(conn: &mut Conn) -> String {
    for variable in ["@@global.gtid_current_pos", "@@global.gtid_executed"] {
        if let Ok(Some(position)) =
            conn.query_first::<String, _>(format!("SELECT {variable}")).await
        {
            return position;
        }
    }
    String::new()
}

fn name(position: &str) -> String {
    let position: String =
        position.chars().filter(|c| !c.is_whitespace()).take(POSITION_LENGTH).collect();
    format!("{position}+{}", Random::from_system().nonce())
}

fn failed(server: &Server, error: mysql_async::Error) -> ExtractError {
    explain(Stage::Connecting, &format!("{}: fixing a snapshot", server.shown), error)
}

/// Refuses a table that has no snapshots: what is read of it changes while it is read.
pub(super) async fn require_snapshots(
    conn: &mut Conn,
    server: &Server,
    from: &From,
) -> Result<(), ExtractError> {
    let Some((schema, table)) = &from.table else { return Ok(()) };
    let engine: Option<Option<String>> = conn
        .exec_first(
            "SELECT engine FROM information_schema.tables \
             WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = ?",
            (schema, table),
        )
        .await
        .map_err(|error| failed(server, error))?;
    match engine.flatten() {
        Some(engine) if !["INNODB", "ROCKSDB"].contains(&engine.to_uppercase().as_str()) => {
            let what = format!(
                "{} is of the engine {engine}, which has no snapshots; only InnoDB can be read while it is written",
                from.shown
            );
            Err(ExtractError::permanent(Reason::SourceRefused, what))
        }
        _ => Ok(()),
    }
}
