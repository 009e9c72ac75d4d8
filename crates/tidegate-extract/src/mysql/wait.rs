//! Waiting until an interval is complete (B7).
//!
//! A row's cursor says when the row was made, and the row is seen when its transaction commits. So an
//! interval is complete when its end has passed by the server's clock, and no transaction that began
//! before the end is open or prepared. What begins later makes later rows.
//!
//! The server shows transactions from their first statement on a table. One that began and has not yet
//! touched any is not seen; `settle` has to be longer than a client thinks before its first statement.
//! A server that takes its rows from another one does not show that one's transactions at all, so an
//! interval can never be said to be complete there.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use tidegate_config::Incremental;
use tidegate_types::{DataInterval, Reason};
use tokio::time::{Instant, sleep};
use tracing::info;

use super::failure::{Stage, explain, lacks_rights};
use super::server::Server;
use crate::ExtractError;

/// Between two looks: the server shows a list that may be a tenth of a second old.
const PAUSE: Duration = Duration::from_millis(500);
/// Looks that add to those who are waited for. The second makes up for a list that was old at the first.
const SETTING_LOOKS: u32 = 2;
/// The server writes when a transaction began in its own zone, where an hour may pass twice.
const FOLD: i64 = 3_600;
/// Most transactions that a message names.
const NAMED: usize = 5;

/// Open transactions. `UNIX_TIMESTAMP` reads the server's own zone, in which they are written, because
/// the session's zone is set to it.
const OPEN: &str = "\
    SELECT t.trx_mysql_thread_id, CAST(t.trx_started AS CHAR), UNIX_TIMESTAMP(t.trx_started), \
           COALESCE(p.user, '') \
    FROM information_schema.innodb_trx t \
    LEFT JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id \
    WHERE t.trx_is_read_only = 0";
const CLOCK: &str = "SELECT UNIX_TIMESTAMP(), @@system_time_zone";

/// Threads that take rows from elsewhere.
const REPLICATING: &str = "\
    SELECT COUNT(*) FROM information_schema.processlist \
    WHERE user = 'system user' AND command NOT IN ('Daemon', 'Sleep')";

/// An open transaction that may hold rows of the interval.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Open {
    /// Of a connection. Both together are one transaction: the same connection begins its next one at
    /// another second, or a look later.
    Running {
        thread: u64,
        /// As the server writes it.
        began: String,
        user: String,
    },
    /// Prepared under a name, whoever did it and whenever.
    Prepared(String),
}

/// A transaction as the server lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    open: Open,
    /// Seconds since 1970; none of prepared ones.
    began: Option<i64>,
}

/// Waits until the interval is complete.
///
/// # Errors
///
/// `SourceTransactionsHidden` when this server cannot say, `SourceTransactionsOpen` after `maxWait`.
pub(super) async fn until_complete(
    server: &Server,
    interval: DataInterval,
    incremental: &Incremental,
) -> Result<(), ExtractError> {
    let mut conn = server.connect().await?;
    let waited = wait(&mut conn, server, interval, incremental).await;
    let _ = conn.disconnect().await;
    waited
}

async fn wait(
    conn: &mut Conn,
    server: &Server,
    interval: DataInterval,
    incremental: &Incremental,
) -> Result<(), ExtractError> {
    let doing = format!("{}: looking for open transactions", server.shown);
    let failed = |error| explain(Stage::Connecting, &doing, error);
    conn.query_drop("SET SESSION time_zone = 'SYSTEM'").await.map_err(failed)?;
    refuse_followers(conn, server).await?;
    let deadline = Instant::now() + incremental.max_wait.to_duration();
    let folds = until_over(conn, server, interval, incremental, deadline).await?;
    let mut awaited = BTreeSet::new();
    let mut looks = 0;
    loop {
        let listed = look(conn, server).await?;
        if looks < SETTING_LOOKS {
            awaited.extend(relevant(&listed, interval, incremental, folds));
            looks += 1;
        }
        let still: Vec<_> =
            listed.iter().map(|one| &one.open).filter(|one| awaited.contains(one)).collect();
        if still.is_empty() && looks == SETTING_LOOKS {
            return Ok(());
        }
        if Instant::now() >= deadline && looks == SETTING_LOOKS {
            return Err(still_open(server, interval, incremental, &still));
        }
        if !still.is_empty() {
            info!(open = still.len(), first = %still[0], "transactions that began before the interval's end are waited for");
        }
        sleep(PAUSE).await;
    }
}

/// Waits until the interval's end and `settle` have passed by the server's clock. Whether that clock's
/// zone may have an hour twice is the answer.
async fn until_over(
    conn: &mut Conn,
    server: &Server,
    interval: DataInterval,
    incremental: &Incremental,
    deadline: Instant,
) -> Result<bool, ExtractError> {
    let doing = format!("{}: reading the clock", server.shown);
    let settle = i64::try_from(incremental.settle.as_millis()).unwrap_or(i64::MAX);
    let ready = interval.end_second().saturating_mul(1_000).saturating_add(settle);
    loop {
        let row: Option<(i64, String)> = conn
            .query_first(CLOCK)
            .await
            .map_err(|error| explain(Stage::Connecting, &doing, error))?;
        let (now, zone) = row.unwrap_or_default();
        let left = ready.saturating_sub(now.saturating_mul(1_000));
        let Ok(left @ 1..) = u64::try_from(left) else { return Ok(zone != "UTC") };
        let left = Duration::from_millis(left);
        if Instant::now() + left > deadline + PAUSE {
            let what = format!(
                "{}: the interval {interval} and its settle time of {} are not over for another {left:?}",
                server.shown, incremental.settle
            );
            return Err(ExtractError::transient(Reason::SourceTransactionsOpen, what));
        }
        sleep(left.min(Duration::from_secs(10))).await;
    }
}

/// Those of a list that are waited for.
fn relevant(
    listed: &[Listed],
    interval: DataInterval,
    incremental: &Incremental,
    folds: bool,
) -> Vec<Open> {
    let end = interval.end_second() + if folds { FOLD } else { 0 };
    let ignored = |open: &Open| matches!(open, Open::Running { user, .. } if incremental.ignore_roles.contains(user));
    listed
        .iter()
        .filter(|one| one.began.is_none_or(|began| began < end) && !ignored(&one.open))
        .map(|one| one.open.clone())
        .collect()
}

async fn look(conn: &mut Conn, server: &Server) -> Result<Vec<Listed>, ExtractError> {
    let rows: Vec<(u64, String, Option<f64>, String)> =
        conn.query(OPEN).await.map_err(|error| hidden(server, "PROCESS", error))?;
    #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970 have 10 digits")]
    let running = rows.into_iter().map(|(thread, began, second, user)| Listed {
        open: Open::Running { thread, began, user },
        began: second.map(|second| second as i64),
    });
    let mut listed: Vec<_> = running.collect();
    let prepared: Vec<(i64, i64, i64, Vec<u8>)> = conn
        .query("XA RECOVER")
        .await
        .map_err(|error| hidden(server, "XA_RECOVER_ADMIN", error))?;
    listed.extend(prepared.into_iter().map(|(.., name)| Listed {
        open: Open::Prepared(name.escape_ascii().to_string()),
        began: None,
    }));
    Ok(listed)
}

/// Whether rows come to this server from another one, whose transactions it does not show.
async fn refuse_followers(conn: &mut Conn, server: &Server) -> Result<(), ExtractError> {
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

fn hidden(server: &Server, right: &str, error: mysql_async::Error) -> ExtractError {
    if lacks_rights(&error) {
        let what = format!(
            "{} does not show other users' transactions; grant {right} to the pipeline's account",
            server.shown
        );
        ExtractError::permanent(Reason::SourceTransactionsHidden, what).because(error)
    } else {
        let doing = format!("{}: looking for open transactions", server.shown);
        explain(Stage::Connecting, &doing, error)
    }
}

fn still_open(
    server: &Server,
    interval: DataInterval,
    incremental: &Incremental,
    still: &[&Open],
) -> ExtractError {
    let mut named: Vec<_> = still.iter().take(NAMED).map(ToString::to_string).collect();
    if still.len() > NAMED {
        named.push(format!("{} more", still.len() - NAMED));
    }
    let what = format!(
        "{}: after {} these that began before {} are still open: {}",
        server.shown,
        incremental.max_wait,
        interval.end(),
        named.join(", ")
    );
    ExtractError::transient(Reason::SourceTransactionsOpen, what)
}

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running { thread: 0, began, .. } => {
                write!(f, "a prepared transaction of {began}")
            }
            Self::Running { thread, began, user } => {
                write!(f, "connection {thread} of {user} since {began}")
            }
            Self::Prepared(name) => write!(f, "prepared transaction {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tidegate_config::NullCursorPolicy;
    use tidegate_types::Span;

    use super::*;

    const END: i64 = 1_780_272_000;

    fn incremental() -> Incremental {
        Incremental {
            cursor_field: "made".into(),
            time_zone: None,
            settle: Span::seconds(0),
            max_wait: Span::seconds(60),
            ignore_roles: vec!["backup".into()],
            on_null_cursor: NullCursorPolicy::Fail,
            rerun_last: 0,
        }
    }

    fn running(user: &str, began: i64) -> Listed {
        let open = Open::Running { thread: 7, began: began.to_string(), user: user.into() };
        Listed { open, began: Some(began) }
    }

    #[test]
    fn only_those_that_began_before_the_end_are_waited_for() {
        let prepared = Listed { open: Open::Prepared("x".into()), began: None };
        let at = |second| jiff::Timestamp::from_second(second).expect("a time");
        let interval = DataInterval::new(at(END - 3_600), at(END)).expect("an interval");
        let table = [
            (running("shop", END - 1), false, true),
            (running("shop", END), false, false),
            (running("shop", END), true, true),
            (running("shop", END + FOLD), true, false),
            (running("backup", END - 1), false, false),
            (prepared, false, true),
        ];
        for (listed, folds, waited) in table {
            let found = relevant(std::slice::from_ref(&listed), interval, &incremental(), folds);
            assert_eq!(found.len() == 1, waited, "{listed:?} {folds}");
        }
    }
}
