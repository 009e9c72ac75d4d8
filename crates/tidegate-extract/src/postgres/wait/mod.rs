//! Waiting until an interval is complete (B7): a transaction that began before its end may still add rows
//! whose cursor lies in it.
//!
//! Not waited for are connections of our own, walsenders, the server's own workers that write no rows,
//! and the roles that the pipeline leaves out. A server does not tell whether a transaction is READ ONLY:
//! roles of reports belong into `ignoreRoles`.
//!
//! On a replica the primary's transactions cannot be seen. They are looked for at the primary, under the
//! secret's `primary_uri`, and then the replica must have replayed as far as the primary had written.

mod decide;
mod position;

use std::time::Duration;

use tidegate_config::{DatabaseSource, Incremental};
use tidegate_types::{DataInterval, Reason, Span, first_names};
use tokio::time::{Instant, sleep};
use tokio_postgres::Client;
use tokio_postgres::types::PgLsn;

use self::decide::{Open, Prepared, Seen, Watch};
use self::position::end_of_records;
use super::connect::Server;
use super::failure::failed;
use crate::{ExtractError, ReadRequest};

/// Looks are few at first and then fewer.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How many transactions a message names.
const NAMED: usize = 5;
const MICROS: &str = "* 1000000)::int8";

/// How long a load that waits for nothing else waits for a replica.
const LONGEST_REPLAY: Span = Span::seconds(1800);

/// On a replica, returns when it has replayed what its primary had written, where the secret says which that
/// is: what an earlier load read from the primary would go again otherwise.
pub(super) async fn until_replayed(
    client: &Client,
    source: &DatabaseSource,
    request: &ReadRequest,
) -> Result<(), ExtractError> {
    if !scalar(client, "SELECT pg_catalog.pg_is_in_recovery()").await? {
        return Ok(());
    }
    let primary = Server::connect_primary(source, &request.secrets, &request.application).await?;
    let Some(primary) = primary else { return Ok(()) };
    require_same(client, &primary.client).await?;
    let patience = Patience { started: Instant::now(), limit: LONGEST_REPLAY };
    patience.for_replay(client, written(&primary.client).await?).await
}

async fn written(primary: &Client) -> Result<PgLsn, ExtractError> {
    let asked = "SELECT pg_catalog.pg_current_wal_insert_lsn(), \
         pg_catalog.current_setting('wal_block_size')::int8, \
         pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size'))";
    let asking = |error| failed("asking the server what it has written", error);
    let row = primary.query_one(asked, &[]).await.map_err(asking)?;
    let next: PgLsn = row.try_get(0).map_err(asking)?;
    let sizes = row.try_get(1).and_then(|page: i64| Ok((page, row.try_get(2)?)));
    Ok(end_of_records(next.into(), sizes.map_err(asking)?).into())
}

/// Returns when no transaction can add rows to the interval any more.
pub(super) async fn until_complete(
    client: &Client,
    source: &DatabaseSource,
    request: &ReadRequest,
    incremental: &Incremental,
    interval: DataInterval,
) -> Result<(), ExtractError> {
    let wait = Wait {
        incremental,
        end: interval.end_second().saturating_mul(1_000_000),
        patience: Patience { started: Instant::now(), limit: incremental.max_wait },
    };
    refuse_followers(client).await?;
    let on_replica: bool = scalar(client, "SELECT pg_catalog.pg_is_in_recovery()").await?;
    if !on_replica {
        return wait.for_transactions(client).await;
    }
    let primary = Server::connect_primary(source, &request.secrets, &request.application).await?;
    let Some(primary) = primary else {
        let what = "the source is a replica, which does not show the transactions of its primary: add the key \"primary_uri\" to the connection's secret, or read from the primary";
        return Err(ExtractError::permanent(Reason::SourceTransactionsHidden, what));
    };
    require_same(client, &primary.client).await?;
    wait.for_transactions(&primary.client).await?;
    wait.patience.for_replay(client, written(&primary.client).await?).await
}

/// Rows that come from another database come in its transactions, which cannot be seen here.
async fn refuse_followers(client: &Client) -> Result<(), ExtractError> {
    let fed = "SELECT EXISTS (SELECT FROM pg_catalog.pg_subscription_rel) \
               OR EXISTS (SELECT FROM pg_catalog.pg_foreign_table)";
    if !scalar(client, fed).await? {
        return Ok(());
    }
    let what = "rows come to this database from another one (a subscription or foreign tables), whose transactions it does not show: read intervals from there, or load the table whole";
    Err(ExtractError::permanent(Reason::SourceTransactionsHidden, what))
}

/// A primary of something else would show other transactions.
async fn require_same(replica: &Client, primary: &Client) -> Result<(), ExtractError> {
    let name = "SELECT pg_catalog.current_database()::text || ' of ' || \
                (SELECT system_identifier FROM pg_catalog.pg_control_system())";
    let (here, there): (String, String) =
        (scalar(replica, name).await?, scalar(primary, name).await?);
    if here == there {
        return Ok(());
    }
    let what = format!(
        "the secret's \"primary_uri\" leads to database {there}, and the source is {here}: name the replica's own primary and the same database"
    );
    Err(ExtractError::permanent(Reason::InvalidConfiguration, what))
}

/// A session that does not track what it does shows no transaction.
async fn refuse_untracked(client: &Client, ignored: &[String]) -> Result<(), ExtractError> {
    let blind = "SELECT pid, coalesce(usename::text, '') FROM pg_catalog.pg_stat_activity \
                 WHERE datname = pg_catalog.current_database() AND state = 'disabled' \
                 AND NOT coalesce(usename::text = ANY ($1), false) LIMIT 1";
    let found = client.query_opt(blind, &[&ignored]).await;
    let Some(row) = found.map_err(|error| failed("asking for sessions", error))? else {
        return Ok(());
    };
    let (pid, role): (i32, String) = (row.get(0), row.get(1));
    let what = format!(
        "pid {pid} (role {role}) has track_activities off, so that its transactions cannot be seen: switch it on, or name the role in bulk.incremental.ignoreRoles if it never writes such rows"
    );
    Err(ExtractError::permanent(Reason::SourceTransactionsHidden, what))
}

struct Wait<'a> {
    incremental: &'a Incremental,
    /// The interval's end in microseconds since 1970.
    end: i64,
    patience: Patience,
}

/// How long it may take.
struct Patience {
    started: Instant,
    limit: Span,
}

impl Wait<'_> {
    async fn for_transactions(&self, client: &Client) -> Result<(), ExtractError> {
        may_see(client).await?;
        self.for_settling(client).await?;
        let (mut watch, mut pause) = (Watch::default(), FIRST_PAUSE);
        loop {
            refuse_untracked(client, &self.incremental.ignore_roles).await?;
            let seen = look(client, &self.incremental.ignore_roles).await?;
            let waits_for = watch.waits_for(self.end, &seen);
            if waits_for.is_empty() {
                return Ok(());
            }
            if pause == FIRST_PAUSE {
                tracing::info!(transactions = %first_names(&waits_for, NAMED), "transactions that began before the interval's end are still open");
            }
            self.patience.pause(&mut pause, || {
                let many = waits_for.len();
                format!(
                    "{many} {} that began before the interval's end still open: {}; end them, or name the role in bulk.incremental.ignoreRoles if it never writes such rows",
                    if many == 1 { "transaction is" } else { "transactions are" },
                    first_names(&waits_for, NAMED)
                )
            })
            .await?;
        }
    }

    /// The server's clock decides: it writes the cursors.
    async fn for_settling(&self, client: &Client) -> Result<(), ExtractError> {
        let settled = self.end.saturating_add(self.incremental.settle.as_micros());
        let clock = format!("SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) {MICROS}");
        loop {
            let now: i64 = scalar(client, &clock).await?;
            let left = u64::try_from(settled.saturating_sub(now)).unwrap_or(0);
            if left == 0 {
                return Ok(());
            }
            let left = Duration::from_micros(left);
            if left > self.patience.left() {
                let what = format!(
                    "by the source's clock, the interval has ended and settled (bulk.incremental.settle) only in {}, and bulk.incremental.maxWait is shorter",
                    in_seconds(left)
                );
                return Err(ExtractError::transient(Reason::SourceTransactionsOpen, what));
            }
            sleep(left.clamp(Duration::from_millis(1), LONGEST_PAUSE)).await;
        }
    }
}

impl Patience {
    async fn for_replay(&self, client: &Client, written: PgLsn) -> Result<(), ExtractError> {
        let mut pause = FIRST_PAUSE;
        loop {
            let replayed = "SELECT pg_catalog.pg_last_wal_replay_lsn()";
            let replayed: Option<PgLsn> = scalar(client, replayed).await?;
            // Recovery that has ended: the replica was promoted and holds what it will ever hold.
            if replayed.is_none_or(|replayed| replayed >= written) {
                return Ok(());
            }
            self.pause(&mut pause, || {
                "the replica has not yet replayed what its primary had written by then".to_owned()
            })
            .await?;
        }
    }

    fn left(&self) -> Duration {
        self.limit.to_duration().saturating_sub(self.started.elapsed())
    }

    async fn pause(
        &self,
        pause: &mut Duration,
        why: impl FnOnce() -> String,
    ) -> Result<(), ExtractError> {
        let left = self.left();
        if left.is_zero() {
            let what = format!("{} (waited for {})", why(), self.limit);
            return Err(ExtractError::transient(Reason::SourceTransactionsOpen, what));
        }
        sleep((*pause).min(left)).await;
        *pause = (*pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}

fn in_seconds(span: Duration) -> String {
    format!("{} s", span.as_secs().max(1))
}

/// Without the right other roles' transactions show no beginning, and would be missed.
async fn may_see(client: &Client) -> Result<(), ExtractError> {
    let may = "SELECT pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')";
    if scalar(client, may).await? {
        return Ok(());
    }
    let role: String = scalar(client, "SELECT current_user::text").await?;
    let what = format!(
        "role {role:?} does not see other roles' transactions, and an interval cannot be known to be complete: GRANT pg_read_all_stats TO {role:?}"
    );
    Err(ExtractError::permanent(Reason::SourceTransactionsHidden, what))
}

/// Open ones first: what is prepared between the two looks is seen by the second.
async fn look(client: &Client, ignored: &[String]) -> Result<Seen, ExtractError> {
    let looking = |error| failed("looking for open transactions", error);
    let open = format!(
        "SELECT pid, coalesce(usename::text, backend_type), (extract(epoch FROM xact_start) {MICROS} \
         FROM pg_catalog.pg_stat_activity \
         WHERE datname = pg_catalog.current_database() AND xact_start IS NOT NULL \
         AND pid <> pg_catalog.pg_backend_pid() \
         AND application_name NOT LIKE 'tidegate/%' \
         AND backend_type NOT IN ('walsender', 'autovacuum worker', 'autovacuum launcher', 'parallel worker') \
         AND NOT coalesce(usename::text = ANY ($1), false)"
    );
    let open = client.query(&open, &[&ignored]).await.map_err(looking)?;
    let clock = format!("SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) {MICROS}");
    let at = scalar(client, &clock).await?;
    let prepared = format!(
        "SELECT gid, owner::text, (extract(epoch FROM prepared) {MICROS} \
         FROM pg_catalog.pg_prepared_xacts \
         WHERE database = pg_catalog.current_database() AND NOT owner::text = ANY ($1)"
    );
    let prepared = client.query(&prepared, &[&ignored]).await.map_err(looking)?;
    Ok(Seen {
        at,
        open: open
            .iter()
            .map(|row| Open { pid: row.get(0), role: row.get(1), since: row.get(2) })
            .collect(),
        prepared: prepared
            .iter()
            .map(|row| Prepared { name: row.get(0), role: row.get(1), at: row.get(2) })
            .collect(),
    })
}

async fn scalar<T>(client: &Client, query: &str) -> Result<T, ExtractError>
where
    T: tokio_postgres::types::FromSqlOwned,
{
    let failed = |error| failed("asking the server for its state", error);
    let row = client.query_one(query, &[]).await.map_err(failed)?;
    row.try_get(0).map_err(failed)
}
