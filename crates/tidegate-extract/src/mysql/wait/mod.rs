//! Waiting until an interval is complete (B7).
//!
//! A row's cursor says when the row was made, and the row is seen when its transaction commits. So an
//! interval is complete when its end has passed by the server's clock, and no statement that began
//! before the end is being executed, and no transaction with such a statement is open or prepared. What
//! begins later makes later rows. [`decide`] has the rules.
//!
//! Not seen is what a client thinks before it writes: a transaction that was begun and has not yet
//! touched a table, a time that was asked for and is written later. `settle` has to be longer.
//! A server that takes its rows from another one does not show that one's transactions at all, so an
//! interval can never be said to be complete there: [`followers`].

mod decide;
mod followers;

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tidegate_config::Incremental;
use tidegate_types::{DataInterval, Reason};
use tokio::time::{Instant, sleep};
use tracing::info;

use self::decide::{Open, Rule, Seen, Statement, Transaction, Watch};
use super::failure::{Stage, explain, lacks_rights};
use super::server::Server;
use crate::ExtractError;

/// Between two looks: the server shows a list that may be a tenth of a second old.
const PAUSE: Duration = Duration::from_millis(500);
/// Most transactions that a message names.
const NAMED: usize = 5;

/// Statements under way. Events are executed under the command `Connect`. One whose age is not told is old.
const STATEMENTS: &str = "\
    SELECT id, COALESCE(user, ''), COALESCE(UNIX_TIMESTAMP() - CAST(time AS SIGNED), 0) \
    FROM information_schema.processlist \
    WHERE id <> CONNECTION_ID() \
    AND command NOT IN ('Sleep', 'Daemon', 'Binlog Dump', 'Binlog Dump GTID')";
/// Open transactions. `UNIX_TIMESTAMP` reads the server's own zone, in which they are written, because
/// the session's zone is set to it.
const TRANSACTIONS: &str = "\
    SELECT t.trx_mysql_thread_id, COALESCE(p.user, ''), CAST(t.trx_started AS CHAR), \
           UNIX_TIMESTAMP(t.trx_started), t.trx_is_read_only \
    FROM information_schema.innodb_trx t \
    LEFT JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id";
const CLOCK: &str = "SELECT UNIX_TIMESTAMP(), @@system_time_zone";
/// How long a statement may wait for a table before it touches it. Sessions may have a time of their own,
/// so it is an hour at least.
const LONGEST_WAIT: &str = "SELECT GREATEST(@@global.lock_wait_timeout, 3600)";

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
    followers::refuse(conn, server).await?;
    let longest: Option<i64> = conn.query_first(LONGEST_WAIT).await.map_err(failed)?;
    let deadline = Instant::now() + incremental.max_wait.to_duration();
    let folds = until_over(conn, server, interval, incremental, deadline).await?;
    let longest = longest.unwrap_or(i64::MAX / 4);
    let mut watch = Watch::new(Rule::new(interval, longest, folds, &incremental.ignore_roles));
    loop {
        let seen = look(conn, server).await?;
        let still = watch.waits_for(&seen);
        if watch.may_end() {
            if still.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(still_open(server, interval, incremental, &still));
            }
        }
        if let Some(first) = still.first() {
            info!(open = still.len(), %first, "what may still bring rows of the interval is waited for");
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

/// Statements first: one that ends meanwhile is found by its transaction.
async fn look(conn: &mut Conn, server: &Server) -> Result<Seen, ExtractError> {
    let statements: Vec<(u64, String, i64)> =
        conn.query(STATEMENTS).await.map_err(|error| hidden(server, "PROCESS", error))?;
    let transactions: Vec<(u64, String, String, Option<f64>, bool)> =
        conn.query(TRANSACTIONS).await.map_err(|error| hidden(server, "PROCESS", error))?;
    let prepared: Vec<(i64, i64, i64, Vec<u8>)> = conn
        .query("XA RECOVER")
        .await
        .map_err(|error| hidden(server, "XA_RECOVER_ADMIN", error))?;
    Ok(Seen {
        statements: statements.into_iter().map(statement).collect(),
        transactions: transactions.into_iter().map(transaction).collect(),
        prepared: prepared.into_iter().map(|(.., name)| name.escape_ascii().to_string()).collect(),
    })
}

fn statement((thread, user, began): (u64, String, i64)) -> Statement {
    Statement { thread, user, began }
}

fn transaction(
    (thread, user, began, second, read_only): (u64, String, String, Option<f64>, bool),
) -> Transaction {
    #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970 have 10 digits")]
    let second = second.map(|second| second as i64);
    Transaction { thread, user, began, second, read_only }
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
    still: &[Open],
) -> ExtractError {
    let mut named: Vec<_> = still.iter().take(NAMED).map(ToString::to_string).collect();
    if still.len() > NAMED {
        named.push(format!("{} more", still.len() - NAMED));
    }
    let what = format!(
        "{}: after {} these that may bring rows from before {} are still open: {}; end them, or name the user in bulk.incremental.ignoreRoles if it never writes such rows",
        server.shown,
        incremental.max_wait,
        interval.end(),
        named.join(", ")
    );
    ExtractError::transient(Reason::SourceTransactionsOpen, what)
}
