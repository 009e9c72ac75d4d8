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
//! interval can never be said to be complete there: [`followers`]. A list of transactions may be older than
//! it looks: [`lists`], or lack some: [`cut`].

mod cut;
mod decide;
mod followers;
mod lists;

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tidegate_config::Incremental;
use tidegate_types::{DataInterval, Reason};
use tokio::time::{Instant, sleep};
use tracing::info;

use self::decide::{Open, Rule, Watch};
use self::lists::Lists;
use super::failure::{Stage, explain};
use super::server::Server;
use crate::ExtractError;

/// Most transactions that a message names.
const NAMED: usize = 5;
const CLOCK: &str = "SELECT UNIX_TIMESTAMP()";
/// How much later than `maxWait` the interval may be over.
const GRACE: Duration = Duration::from_millis(500);

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
    let deadline = Instant::now() + incremental.max_wait.to_duration();
    let mut conn = server.connect().await?;
    let over = async {
        followers::refuse(&mut conn, server).await?;
        until_over(&mut conn, server, interval, incremental, deadline).await
    };
    let over = over.await;
    let _ = conn.disconnect().await;
    over?;
    let mut lists = Lists::open(server).await?;
    let waited = wait(&mut lists, server, interval, incremental, deadline).await;
    lists.close().await;
    waited
}

async fn wait(
    lists: &mut Lists,
    server: &Server,
    interval: DataInterval,
    incremental: &Incremental,
    deadline: Instant,
) -> Result<(), ExtractError> {
    let mut watch = Watch::new(Rule::new(interval, &incremental.ignore_roles));
    loop {
        let seen = lists.look(deadline).await?;
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
        lists.pause().await;
    }
}

/// Waits until the interval's end and `settle` have passed by the server's clock.
async fn until_over(
    conn: &mut Conn,
    server: &Server,
    interval: DataInterval,
    incremental: &Incremental,
    deadline: Instant,
) -> Result<(), ExtractError> {
    let doing = format!("{}: reading the clock", server.shown);
    let settle = i64::try_from(incremental.settle.as_millis()).unwrap_or(i64::MAX);
    let ready = interval.end_second().saturating_mul(1_000).saturating_add(settle);
    loop {
        let now: Option<i64> = conn
            .query_first(CLOCK)
            .await
            .map_err(|error| explain(Stage::Connecting, &doing, error))?;
        let left = ready.saturating_sub(now.unwrap_or_default().saturating_mul(1_000));
        let Ok(left @ 1..) = u64::try_from(left) else { return Ok(()) };
        let left = Duration::from_millis(left);
        if Instant::now() + left > deadline + GRACE {
            let what = format!(
                "{}: the interval {interval} and its settle time of {} are not over for another {left:?}",
                server.shown, incremental.settle
            );
            return Err(ExtractError::transient(Reason::SourceTransactionsOpen, what));
        }
        sleep(left.min(Duration::from_secs(10))).await;
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
