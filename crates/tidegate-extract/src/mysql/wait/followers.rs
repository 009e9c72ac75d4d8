//! Servers that take rows from others, whose transactions they do not show (B7).

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use tidegate_types::Reason;

use crate::ExtractError;
use crate::mysql::failure::{Stage, explain, lacks_rights};
use crate::mysql::server::Server;

/// Threads that take rows from elsewhere.
const REPLICATING: &str = "\
    SELECT COUNT(*) FROM information_schema.processlist \
    WHERE user = 'system user' AND command NOT IN ('Daemon', 'Sleep')";

/// Refuses a server to which rows come from another one.
///
/// # Errors
///
/// `SourceTransactionsHidden`, and what the server says when it cannot be asked.
pub(super) async fn refuse(conn: &mut Conn, server: &Server) -> Result<(), ExtractError> {
    let doing = format!("{}: asking what the server is", server.shown);
    let failed = |error| explain(Stage::Connecting, &doing, error);
    let read_only: Option<bool> = conn
        .query_first("SELECT @@global.read_only OR @@global.innodb_read_only")
        .await
        .map_err(failed)?;
    let cluster: Option<(String, i64)> =
        conn.query_first("SHOW STATUS LIKE 'wsrep_cluster_size'").await.map_err(failed)?;
    let writers = "SHOW VARIABLES LIKE 'group_replication_single_primary_mode'";
    let group: Option<(String, String)> = conn.query_first(writers).await.map_err(failed)?;
    let why = if read_only == Some(true) {
        "it is read-only"
    } else if cluster.is_some_and(|(_, nodes)| nodes > 1)
        || group.is_some_and(|(_, single)| single == "OFF")
    {
        "it is a node of a cluster that is written to everywhere"
    } else if replicates(conn, server).await? {
        "it is a replica"
    } else {
        return Ok(());
    };
    let what = format!(
        "{} does not show the transactions of the server that its rows come from, since {why}; read intervals \
         from the primary, or load the table whole",
        server.shown
    );
    Err(ExtractError::permanent(Reason::SourceTransactionsHidden, what))
}

/// Whether replication is set up, running or not. Without the right to ask, its threads have to do.
async fn replicates(conn: &mut Conn, server: &Server) -> Result<bool, ExtractError> {
    let doing = format!("{}: asking for replication", server.shown);
    let failed = |error| explain(Stage::Connecting, &doing, error);
    for statement in ["SHOW REPLICA STATUS", "SHOW SLAVE STATUS"] {
        match conn.query::<Row, _>(statement).await {
            Ok(channels) => return Ok(channels.iter().any(brings_rows)),
            Err(error) if lacks_rights(&error) => break,
            // An older server does not know the newer word.
            Err(mysql_async::Error::Server(_)) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    let threads: Option<u64> = conn.query_first(REPLICATING).await.map_err(failed)?;
    Ok(threads.is_some_and(|threads| threads > 0))
}

/// Whether a channel of replication brings rows from a server whose transactions are not shown here.
/// Those of a group bring none to its only primary; whoever else is in the group is read-only.
fn brings_rows(channel: &Row) -> bool {
    let name: Option<Option<String>> = channel.get_opt("Channel_Name").and_then(Result::ok);
    !name.flatten().is_some_and(|name| name.starts_with("group_replication_"))
}
