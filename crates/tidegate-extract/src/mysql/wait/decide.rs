//! Whether an interval is complete: from what was seen of statements and transactions.
//!
//! A value such as `NOW()` is as old as its *statement*, and the server says when a *transaction* first
//! touched a table. Between the two lies whatever the statement waited for: a lock on a table, a named
//! lock, a long calculation. So three things are waited for:
//!
//! - statements that began before the interval's end, and then the transaction that they leave open;
//! - transactions that are open at the first looks, whenever they began: how long their statements had
//!   waited before that nobody knows, and none has to be waited for twice;
//! - prepared transactions, of which nobody knows when they began.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use tidegate_types::DataInterval;

/// Looks that add to those who are waited for, and for which a statement that has ended is still waited
/// for. One would do by the order in which lists are taken; the second is for what moves from one list to
/// another meanwhile.
pub(super) const SETTING_LOOKS: u32 = 2;
/// A statement's age is rounded down, and so is the clock.
const ROUNDING: i64 = 2;

/// What one look at the server showed: statements first, so that one that ends meanwhile is found by its
/// transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Statements that are being executed, or wait.
    pub(super) statements: Vec<Statement>,
    /// Open transactions.
    pub(super) transactions: Vec<Transaction>,
    /// Names of prepared transactions.
    pub(super) prepared: Vec<String>,
}

/// A statement that is being executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) thread: u64,
    pub(super) user: String,
    /// Seconds since 1970, by its age; up to two more than it was.
    pub(super) began: i64,
}

/// An open transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Transaction {
    /// Its connection; 0: of none, as of prepared ones whose connection is gone.
    pub(super) thread: u64,
    pub(super) user: String,
    /// As the server writes it.
    pub(super) began: String,
    /// It can never write.
    pub(super) read_only: bool,
}

/// Something that may still bring rows of the interval.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Open {
    /// A statement of a connection.
    Statement { thread: u64, user: String },
    /// A transaction. Connection and time together are one: the same connection begins its next one at
    /// another second, or a look later.
    Transaction { thread: u64, began: String, user: String },
    /// Prepared under a name.
    Prepared(String),
}

/// Which ones matter.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    /// The interval's end, in seconds since 1970.
    pub(super) end: i64,
    /// Users that are not waited for.
    pub(super) ignored: Vec<String>,
}

impl Rule {
    pub(super) fn new(interval: DataInterval, ignored: &[String]) -> Self {
        Self { end: interval.end_second(), ignored: ignored.to_vec() }
    }

    fn statement(&self, statement: &Statement, seen: &Seen) -> bool {
        // A transaction that can only read does so by all of its statements.
        let mut reads = seen.transactions.iter().filter(|one| one.read_only);
        statement.began < self.end + ROUNDING
            && !self.ignored.contains(&statement.user)
            && !reads.any(|one| one.thread == statement.thread)
    }

    fn may_write(&self, transaction: &Transaction) -> bool {
        !transaction.read_only && !self.ignored.contains(&transaction.user)
    }
}

/// Remembers who is waited for.
#[derive(Debug)]
pub(super) struct Watch {
    rule: Rule,
    looks: u32,
    /// Transactions and prepared ones.
    awaited: BTreeSet<Open>,
    /// Connections whose statement is waited for, with how many looks did not show it any more.
    statements: BTreeMap<u64, u32>,
    /// At the last look nothing was waited for but prepared transactions, and those are prepared already:
    /// what is prepared from then on is nobody's who is waited for, and began later.
    quiet: bool,
}

impl Watch {
    pub(super) fn new(rule: Rule) -> Self {
        let (awaited, statements) = (BTreeSet::new(), BTreeMap::new());
        Self { rule, looks: 0, awaited, statements, quiet: false }
    }

    /// What may still bring rows; empty when nothing may. The answer of the first looks is not final:
    /// see [`may_end`](Self::may_end).
    pub(super) fn waits_for(&mut self, seen: &Seen) -> Vec<Open> {
        self.looks = self.looks.saturating_add(1);
        if self.looks <= SETTING_LOOKS {
            self.set(seen);
        }
        if !self.quiet {
            self.awaited.extend(seen.prepared.iter().cloned().map(Open::Prepared));
            let nobodys = seen.transactions.iter().filter(|one| one.thread == 0);
            self.awaited.extend(nobodys.filter(|one| !one.read_only).map(Open::from));
        }
        let mut still = self.statements(seen);
        let listed = seen.transactions.iter().map(Open::from);
        let listed = listed.chain(seen.prepared.iter().cloned().map(Open::Prepared));
        still.extend(listed.filter(|one| self.awaited.contains(one)));
        self.quiet = self.may_end() && still.iter().all(Open::is_prepared);
        still
    }

    /// Whether enough looks were taken.
    pub(super) fn may_end(&self) -> bool {
        self.looks >= SETTING_LOOKS
    }

    fn set(&mut self, seen: &Seen) {
        let statements = seen.statements.iter().filter(|one| self.rule.statement(one, seen));
        self.statements.extend(statements.map(|one| (one.thread, 0)));
        let transactions = seen.transactions.iter().filter(|one| self.rule.may_write(one));
        self.awaited.extend(transactions.map(Open::from));
    }

    /// Those whose statement is waited for. When it has ended, its transaction is.
    fn statements(&mut self, seen: &Seen) -> Vec<Open> {
        let mut still = Vec::new();
        for (&thread, missed) in &mut self.statements {
            let running = seen.statements.iter().find(|one| one.thread == thread);
            match running.filter(|one| self.rule.statement(one, seen)) {
                Some(running) => {
                    *missed = 0;
                    still.push(Open::Statement { thread, user: running.user.clone() });
                }
                None => {
                    *missed += 1;
                    let left = seen.transactions.iter().filter(|one| one.thread == thread);
                    let left = left.filter(|one| self.rule.may_write(one));
                    self.awaited.extend(left.map(Open::from));
                    if *missed < SETTING_LOOKS {
                        still.push(Open::Statement { thread, user: String::new() });
                    }
                }
            }
        }
        self.statements.retain(|_, missed| *missed < SETTING_LOOKS);
        still
    }
}

impl Open {
    /// It can only be committed or rolled back, and is not prepared once more under another name.
    fn is_prepared(&self) -> bool {
        match self {
            Self::Prepared(_) | Self::Transaction { thread: 0, .. } => true,
            Self::Statement { .. } | Self::Transaction { .. } => false,
        }
    }
}

impl From<&Transaction> for Open {
    fn from(transaction: &Transaction) -> Self {
        let Transaction { thread, began, user, .. } = transaction;
        Self::Transaction { thread: *thread, began: began.clone(), user: user.clone() }
    }
}

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Statement { thread, user } if user.is_empty() => {
                write!(f, "a statement of connection {thread} that has just ended")
            }
            Self::Statement { thread, user } => {
                write!(f, "a statement of connection {thread} of {user}")
            }
            Self::Transaction { thread: 0, began, .. } => {
                write!(f, "a prepared transaction of {began}")
            }
            Self::Transaction { thread, began, user } => {
                write!(f, "connection {thread} of {user} since {began}")
            }
            Self::Prepared(name) => write!(f, "prepared transaction {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: i64 = 1_780_272_000;

    fn watch() -> Watch {
        Watch::new(Rule { end: END, ignored: vec!["backup".to_owned()] })
    }

    fn statement(thread: u64, began: i64) -> Statement {
        Statement { thread, user: "shop".into(), began }
    }

    fn transaction(thread: u64, began: i64) -> Transaction {
        Transaction { thread, user: "shop".into(), began: began.to_string(), read_only: false }
    }

    fn of(statements: &[Statement], transactions: &[Transaction], prepared: &[&str]) -> Seen {
        Seen {
            statements: statements.to_vec(),
            transactions: transactions.to_vec(),
            prepared: prepared.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    /// What is waited for at each look.
    fn waits(watch: &mut Watch, looks: &[Seen]) -> Vec<String> {
        let told = |open: Vec<Open>| open.iter().map(ToString::to_string).collect::<Vec<_>>();
        looks.iter().map(|seen| told(watch.waits_for(seen)).join(", ")).collect()
    }

    #[test]
    fn transactions_that_may_write_are_waited_for_whenever_they_began() {
        let began = |began| transaction(7, began);
        let by = |user: &str, one: Transaction| Transaction { user: user.into(), ..one };
        for (listed, waited) in [
            (began(END - 1), true),
            // Its first statement may have waited for a lock, as long as its session lets it.
            (began(END + 400 * 86_400), true),
            (Transaction { read_only: true, ..began(END - 1) }, false),
            (by("backup", began(END - 1)), false),
        ] {
            let found = watch().waits_for(&of(&[], std::slice::from_ref(&listed), &[]));
            assert_eq!(found.len() == 1, waited, "{listed:?}");
        }
    }

    #[test]
    fn a_statement_that_began_before_the_end_is_waited_for_and_then_its_transaction() {
        let waiting = of(&[statement(7, END - 1)], &[], &[]);
        let late = transaction(7, END + 109);
        let open = of(&[], std::slice::from_ref(&late), &[]);
        let told = waits(&mut watch(), &[waiting.clone(), waiting, open.clone(), open]);
        let running = "a statement of connection 7 of shop";
        let transaction = format!("connection 7 of shop since {}", END + 109);
        let ended = format!("a statement of connection 7 that has just ended, {transaction}");
        assert_eq!(told, [running, running, &ended, &transaction]);
    }

    #[test]
    fn what_begins_after_the_first_looks_is_not_waited_for() {
        let mut watch = watch();
        let waiting = of(&[statement(7, END - 1)], &[], &[]);
        waits(&mut watch, &[waiting.clone(), waiting]);
        // The same connection goes on with statements that are younger.
        let next = of(&[statement(7, END + 60)], &[transaction(8, END + 60)], &[]);
        let told = waits(&mut watch, &[next.clone(), next]);
        assert_eq!(told, ["a statement of connection 7 that has just ended", ""]);
    }

    #[test]
    fn statements_that_are_younger_or_only_read_or_are_left_out_are_not_waited_for() {
        let reading = Transaction { read_only: true, ..transaction(7, END - 1) };
        let backup = Statement { user: "backup".into(), ..statement(8, END - 1) };
        let seen =
            of(&[statement(7, END - 1), backup, statement(9, END + ROUNDING)], &[reading], &[]);
        let told = waits(&mut watch(), &[seen.clone(), seen]);
        assert_eq!(told, ["", ""]);
    }

    #[test]
    fn what_is_prepared_while_anything_was_waited_for_is_waited_for() {
        let open = of(&[], &[transaction(7, END - 1)], &[]);
        // Its connection is gone, too.
        let prepared = of(&[], &[transaction(0, END - 1)], &["transfer"]);
        let mut watch = watch();
        let told = waits(&mut watch, &[open.clone(), open, prepared, of(&[], &[], &["transfer"])]);
        assert!(told[2].contains("prepared transaction transfer"), "{told:?}");
        assert_eq!(told[3], "prepared transaction transfer");
        assert_eq!(waits(&mut watch, &[of(&[], &[], &[])]), [""]);
    }

    /// Otherwise an interval never ends on a server where something is prepared at any time.
    #[test]
    fn what_is_prepared_once_only_prepared_ones_are_waited_for_is_not_waited_for() {
        let names = |names: &[&str]| of(&[], &[transaction(0, END + 60)], names);
        let looks = [names(&["a"]), names(&["a"]), names(&["a", "b"]), of(&[], &[], &["b"])];
        let told = waits(&mut watch(), &looks);
        assert!(told[2].contains("prepared transaction a"), "{told:?}");
        assert!(!told[2].contains("prepared transaction b"), "{told:?}");
        assert_eq!(told[3], "");
        // While a transaction is open that may still be prepared, new names are its names.
        let open = of(&[], &[transaction(7, END - 1)], &["a"]);
        let looks = [open.clone(), open, names(&["a", "b"]), of(&[], &[], &["b", "c"])];
        let told = waits(&mut watch(), &looks);
        assert_eq!(told[3], "prepared transaction b", "{told:?}");
    }

    #[test]
    fn one_look_is_never_enough() {
        let mut watch = watch();
        assert!(watch.waits_for(&Seen::default()).is_empty() && !watch.may_end());
        let late = of(&[], &[transaction(7, END - 1)], &[]);
        assert_eq!(watch.waits_for(&late).len(), 1, "the second look adds");
        assert!(watch.may_end());
    }
}
