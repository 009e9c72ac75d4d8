//! What the server shows of statements and transactions, and the proof that it is not an old list.
//!
//! InnoDB renews its list of transactions only when nobody has read it for a tenth of a second. Whoever
//! reads it more often, such as a monitor, freezes it for everybody. So before each look a transaction of
//! our own is begun, or the one of the look before is ended, and a list counts only when it shows that.
//! What can only read is waited for by nobody, so several runs do not wait for each other. Nor does a list
//! count that may have been cut: [`cut`](super::cut).

use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use tidegate_runtime::Random;
use tidegate_types::Reason;
use tokio::time::{Instant, sleep};
use tracing::info;

use super::cut::{Extent, Past};
use super::decide::{Seen, Statement, Transaction};
use crate::ExtractError;
use crate::mysql::failure::{Stage, explain, lacks_rights};
use crate::mysql::server::Server;

/// Statements under way. Events are executed under the command `Connect`. One whose age is not told is old.
const STATEMENTS: &str = "\
    SELECT id, COALESCE(user, ''), COALESCE(UNIX_TIMESTAMP() - CAST(time AS SIGNED), 0) \
    FROM information_schema.processlist \
    WHERE id <> CONNECTION_ID() \
    AND command NOT IN ('Sleep', 'Daemon', 'Binlog Dump', 'Binlog Dump GTID')";
/// Open transactions.
const TRANSACTIONS: &str = "\
    SELECT t.trx_mysql_thread_id, COALESCE(p.user, ''), CAST(t.trx_started AS CHAR), t.trx_is_read_only, \
    t.trx_state = 'LOCK WAIT', COALESCE(LENGTH(t.trx_query), 0) \
    FROM information_schema.innodb_trx t \
    LEFT JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id";
/// Begins a transaction that is listed although it has read nothing.
const BEGIN: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";
/// Whether the server lists who waits behind whom.
const PAIRS: &str = "\
    SELECT COUNT(*) FROM information_schema.tables \
    WHERE table_schema = 'information_schema' AND table_name = 'INNODB_LOCK_WAITS'";
const MOST_CONNECTIONS: &str = "SHOW GLOBAL STATUS LIKE 'Max_used_connections'";
/// A fresh list is waited for so long at least.
const PATIENCE: Duration = Duration::from_secs(10);

/// The lists of one server.
pub(super) struct Lists {
    conn: Conn,
    witness: Witness,
    pace: Pace,
    past: Past,
    /// For messages.
    shown: String,
}

impl Lists {
    /// Connects.
    pub(super) async fn open(server: &Server) -> Result<Self, ExtractError> {
        let shown = server.shown.clone();
        let (mut conn, witness) = (server.connect().await?, server.connect().await?);
        let witness = Witness::new(witness).await.map_err(|error| failed(&shown, error))?;
        let past = past(&mut conn).await.map_err(|error| failed(&shown, error))?;
        Ok(Self { conn, witness, pace: Pace::new(), past, shown })
    }

    /// What is executed and open, none of it older than this call.
    ///
    /// # Errors
    ///
    /// `SourceTransactionsHidden` without the rights, `SourceTransactionsOpen` when the list of
    /// transactions is still an old one at the deadline, or one that may have been cut.
    pub(super) async fn look(&mut self, deadline: Instant) -> Result<Seen, ExtractError> {
        let shown = &self.shown;
        // Statements first: one that ends meanwhile is found by its transaction.
        let statements: Vec<(u64, String, i64)> =
            self.conn.query(STATEMENTS).await.map_err(|error| hidden(shown, "PROCESS", error))?;
        self.witness.turn().await.map_err(|error| failed(shown, error))?;
        let transactions = self.transactions(deadline.max(Instant::now() + PATIENCE)).await?;
        let prepared: Vec<(i64, i64, i64, Vec<u8>)> = self
            .conn
            .query("XA RECOVER")
            .await
            .map_err(|error| hidden(&self.shown, "XA_RECOVER_ADMIN", error))?;
        Ok(Seen {
            statements: statements.into_iter().map(statement).collect(),
            transactions,
            prepared: prepared
                .into_iter()
                .map(|(.., name)| name.escape_ascii().to_string())
                .collect(),
        })
    }

    /// The open transactions, of a list that is worth something.
    async fn transactions(&mut self, deadline: Instant) -> Result<Vec<Transaction>, ExtractError> {
        loop {
            let listed: Vec<Listed> = self
                .conn
                .query(TRANSACTIONS)
                .await
                .map_err(|error| hidden(&self.shown, "PROCESS", error))?;
            let (extent, listed) = taken(listed);
            let worth = self.witness.judges(&listed, extent.may_be_cut(self.past));
            self.pace.learn(worth == Worth::Whole);
            if worth == Worth::Whole {
                return Ok(listed);
            }
            if Instant::now() >= deadline {
                return Err(worthless(&self.shown, worth, extent));
            }
            info!(
                ?worth,
                "the server's list of transactions is not to be relied on; another one is waited for"
            );
            self.pause().await;
        }
    }

    /// Between two looks.
    pub(super) async fn pause(&mut self) {
        sleep(self.pace.next()).await;
    }

    /// Ends the connections.
    pub(super) async fn close(self) {
        let _ = self.conn.disconnect().await;
        let _ = self.witness.conn.disconnect().await;
    }
}

/// A connection whose transaction tells new lists from old ones.
struct Witness {
    conn: Conn,
    thread: u64,
    is_open: bool,
}

impl Witness {
    async fn new(mut conn: Conn) -> Result<Self, mysql_async::Error> {
        let thread: Option<u64> = conn.query_first("SELECT CONNECTION_ID()").await?;
        Ok(Self { conn, thread: thread.unwrap_or_default(), is_open: false })
    }

    /// Begins or ends its transaction. Only once a list has shown the turn before: lists follow each other
    /// in time, so none that shows this turn can be older than it.
    async fn turn(&mut self) -> Result<(), mysql_async::Error> {
        self.conn.query_drop(if self.is_open { "COMMIT" } else { BEGIN }).await?;
        self.is_open = !self.is_open;
        Ok(())
    }

    fn judges(&self, listed: &[Transaction], may_be_cut: bool) -> Worth {
        let is_shown = listed.iter().any(|one| one.thread == self.thread);
        judge(may_be_cut, is_shown, self.is_open)
    }
}

/// What a list of transactions is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Worth {
    /// It shows all there is.
    Whole,
    /// It is older than this look.
    Old,
    /// Something may be missing in it.
    MayBeCut,
}

fn judge(may_be_cut: bool, shows_witness: bool, witness_is_open: bool) -> Worth {
    // A list that was cut may lack the witness, too; so this comes first.
    if may_be_cut {
        Worth::MayBeCut
    } else if shows_witness != witness_is_open {
        Worth::Old
    } else {
        Worth::Whole
    }
}

/// How long to pause. Many runs that look at one server would freeze its list for each other; so they look
/// less often when it is old, and never in step.
#[derive(Debug)]
struct Pace {
    pause: Duration,
    random: Random,
}

impl Pace {
    const LEAST: Duration = Duration::from_millis(500);
    const MOST: Duration = Duration::from_secs(5);

    fn new() -> Self {
        Self { pause: Self::LEAST, random: Random::from_system() }
    }

    fn learn(&mut self, is_fresh: bool) {
        let pause = if is_fresh { self.pause / 2 } else { self.pause * 2 };
        self.pause = pause.clamp(Self::LEAST, Self::MOST);
    }

    /// Half the pause to one and a half.
    fn next(&mut self) -> Duration {
        self.pause / 2 + self.pause * self.random.up_to(1_000) / 1_000
    }
}

fn statement((thread, user, began): (u64, String, i64)) -> Statement {
    Statement { thread, user, began }
}

/// A transaction as it is listed, whether it waits for a lock, and how long its text is.
type Listed = (u64, String, String, bool, bool, u64);

fn taken(listed: Vec<Listed>) -> (Extent, Vec<Transaction>) {
    let waiting = listed.iter().filter(|one| one.4).count() as u64;
    let texts: u64 = listed.iter().map(|one| one.5).sum();
    let extent = Extent { listed: listed.len() as u64, waiting, texts };
    let transaction = |(thread, user, began, read_only, ..): Listed| Transaction {
        thread,
        user,
        began,
        read_only,
    };
    (extent, listed.into_iter().map(transaction).collect())
}

/// What the server's lists have been through.
async fn past(conn: &mut Conn) -> Result<Past, mysql_async::Error> {
    let pairs: Option<u64> = conn.query_first(PAIRS).await?;
    let connections: Option<(String, String)> = conn.query_first(MOST_CONNECTIONS).await?;
    Ok(Past {
        has_pairs: pairs != Some(0),
        connections: connections.and_then(|(_, most)| most.parse().ok()).unwrap_or(u64::MAX),
    })
}

fn failed(shown: &str, error: mysql_async::Error) -> ExtractError {
    explain(Stage::Connecting, &format!("{shown}: looking for open transactions"), error)
}

fn hidden(shown: &str, right: &str, error: mysql_async::Error) -> ExtractError {
    if !lacks_rights(&error) {
        return failed(shown, error);
    }
    let what = format!(
        "{shown} does not show other users' transactions; grant {right} to the pipeline's account"
    );
    ExtractError::permanent(Reason::SourceTransactionsHidden, what).because(error)
}

fn worthless(shown: &str, worth: Worth, extent: Extent) -> ExtractError {
    let Extent { listed, waiting, .. } = extent;
    let what = match worth {
        Worth::MayBeCut => format!(
            "{shown}: its list of open transactions, {listed} of which {waiting} wait for a lock, may be cut, as InnoDB has 16 MiB for it and leaves out what does not fit; let the run look when fewer are open, or end those that nobody needs"
        ),
        Worth::Old | Worth::Whole => format!(
            "{shown}: its list of open transactions stayed an old one, as it does while somebody reads information_schema.innodb_trx more often than every 100 ms; let the monitor that does so read it less often"
        ),
    };
    ExtractError::transient(Reason::SourceTransactionsOpen, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_lists_are_looked_at_less_often_and_never_in_step() {
        let mut pace = Pace::new();
        let within = |pace: &mut Pace, milliseconds: u64| {
            let pause = Duration::from_millis(milliseconds);
            (0..50).all(|_| (pause / 2..=pause * 3 / 2).contains(&pace.next()))
        };
        pace.learn(true);
        assert!((0..50).all(|_| pace.next() >= Duration::from_millis(250)), "a list is renewed");
        for pause in [1_000, 2_000, 4_000, 5_000, 5_000] {
            pace.learn(false);
            assert!(within(&mut pace, pause), "{pause} {pace:?}");
        }
        let pauses: std::collections::BTreeSet<_> = (0..20).map(|_| pace.next()).collect();
        assert!(pauses.len() > 10, "{pauses:?}");
        pace.learn(true);
        assert!(within(&mut pace, 2_500), "{pace:?}");
    }

    #[test]
    fn a_list_counts_when_it_shows_the_witness_as_it_is_and_cannot_have_been_cut() {
        let row = |thread, waits| (thread, "shop".to_owned(), String::new(), false, waits, 100);
        let past = Past { has_pairs: true, connections: 10 };
        let few = || vec![row(7, true), row(8, false)];
        // As many as wait for one row on a bad day, the witness among them.
        let many = || (1..=200).map(|thread| row(thread, thread > 20)).collect::<Vec<_>>();
        for (listed, witness, is_open, expected) in [
            (few(), 7, true, Worth::Whole),
            (few(), 9, false, Worth::Whole),
            (few(), 9, true, Worth::Old),
            (few(), 7, false, Worth::Old),
            (many(), 7, true, Worth::MayBeCut),
            (many(), 999, true, Worth::MayBeCut),
        ] {
            let (extent, listed) = taken(listed);
            let shown = listed.iter().any(|one| one.thread == witness);
            let found = judge(extent.may_be_cut(past), shown, is_open);
            assert_eq!(found, expected, "{extent:?} {witness} {is_open}");
        }
        let told =
            |worth| worthless("MySQL at db", worth, Extent { listed: 200, waiting: 180, texts: 0 });
        let cut = told(Worth::MayBeCut).to_string();
        assert!(cut.contains("200 of which 180 wait") && cut.contains("16 MiB"), "{cut}");
        assert!(told(Worth::Old).to_string().contains("information_schema.innodb_trx"));
    }
}
