//! What names mean while a snapshot is taken (B5).
//!
//! A snapshot holds rows, and not which table a name stands for. Tools that alter a table online fill a copy
//! and put it in the table's place by RENAME; a snapshot from before shows the copy as it was then, without
//! the rows that it got last. So the names are pinned first: whoever renames, alters or empties one of the
//! tables waits until the run has read them.

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::failure::{Stage, explain};
use super::select::{From, select};
use super::server::Server;
use crate::ExtractError;

const BEGIN: &str = "START TRANSACTION READ ONLY";
/// How long a connection waits that need not wait, in seconds: others queue behind it.
const SHORT: &str = "SET SESSION lock_wait_timeout = 1";
const USUAL: &str = "SET SESSION lock_wait_timeout = 60";
/// The server's word for a lock that was not got in time.
const LOCK_TIMEOUT: u16 = 1205;

/// A connection that pins the names until it ends. Who alters the tables just now is waited for.
pub(super) async fn hold(server: &Server, from: &From) -> Result<Conn, ExtractError> {
    let doing = format!("{}: waiting for whoever alters {}", server.shown, from.shown);
    let mut conn = server.connect().await?;
    let held = async {
        conn.query_drop(BEGIN).await?;
        pin(&mut conn, from).await
    };
    held.await.map_err(|error| explain(Stage::Connecting, &doing, error))?;
    Ok(conn)
}

/// Pins the names for a connection whose snapshot is fixed, while another one holds them. False when
/// somebody asks for a table exclusively: he waits for us, and so we would wait for him.
pub(super) async fn join(conn: &mut Conn, from: &From) -> Result<bool, ExtractError> {
    let doing = format!("reading {}", from.shown);
    let joined = async {
        conn.query_drop(SHORT).await?;
        pin(conn, from).await?;
        conn.query_drop(USUAL).await
    };
    match joined.await {
        Ok(()) => Ok(true),
        Err(mysql_async::Error::Server(error)) if error.code == LOCK_TIMEOUT => Ok(false),
        Err(error) => Err(explain(Stage::Reading, &doing, error)),
    }
}

/// Keeps the tables' names and definitions as they are until the transaction ends. A table that was altered
/// or emptied since the snapshot is refused by the server, and never looks empty. No row is read.
async fn pin(conn: &mut Conn, from: &From) -> Result<(), mysql_async::Error> {
    conn.query_drop(select("1", from, [], "LIMIT 0").sql).await
}
