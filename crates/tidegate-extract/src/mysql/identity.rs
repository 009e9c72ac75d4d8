//! Which server a connection has reached.
//!
//! Behind one address there may be several servers. Snapshots of two of them are not one, and what one says
//! of its transactions says nothing of the other's rows. So all connections of a run must reach the same.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use mysql_async::Conn;
use mysql_async::prelude::Queryable;

/// What tells servers apart. Each has some of these, and shows them to everybody.
const NAMES: &str = "SHOW GLOBAL VARIABLES WHERE variable_name IN \
    ('hostname', 'port', 'server_id', 'server_uuid', 'server_uid')";
const UPTIME: &str = "SHOW GLOBAL STATUS LIKE 'Uptime'";
const CLOCK: &str = "SELECT UNIX_TIMESTAMP()";
/// Seconds that are lost by rounding.
const ROUNDING: i64 = 2;

/// What is known of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    names: BTreeMap<String, String>,
    /// When it was started, in seconds since 1970 by its own clock.
    started: RangeInclusive<i64>,
}

impl Identity {
    /// Asks the server.
    pub(super) async fn of(conn: &mut Conn) -> Result<Self, mysql_async::Error> {
        let names: Vec<(String, String)> = conn.query(NAMES).await?;
        let before: i64 = conn.query_first(CLOCK).await?.unwrap_or_default();
        let uptime: Option<(String, i64)> = conn.query_first(UPTIME).await?;
        let after: i64 = conn.query_first(CLOCK).await?.unwrap_or_default();
        let uptime = uptime.map_or(0, |(_, seconds)| seconds);
        Ok(Self::new(names, before.saturating_sub(uptime)..=after.saturating_sub(uptime)))
    }

    fn new(
        names: impl IntoIterator<Item = (String, String)>,
        started: RangeInclusive<i64>,
    ) -> Self {
        let names = names.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
        Self { names, started }
    }

    /// Whether both are of one server, and of one life of it.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let apart = |one: &Self, two: &Self| {
            two.started.start().saturating_sub(*one.started.end()) > ROUNDING
        };
        self.names == other.names && !apart(self, other) && !apart(other, self)
    }

    /// For messages: `db-0:3306`.
    pub(super) fn shown(&self) -> String {
        let named = |name: &str| self.names.get(name).map_or("?", String::as_str);
        format!("{}:{}, server_id {}", named("hostname"), named("port"), named("server_id"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(host: &str, started: RangeInclusive<i64>) -> Identity {
        let names = [("Hostname", host), ("port", "3306"), ("server_id", "1")];
        Identity::new(names.map(|(name, value)| (name.to_owned(), value.to_owned())), started)
    }

    #[test]
    fn a_server_is_known_again_however_slowly_it_answers() {
        let one = server("db-0", 100..=101);
        for started in [100..=100, 99..=99, 103..=103, 70..=130, 90..=98] {
            assert!(one.is_same(&server("db-0", started.clone())), "{started:?}");
            assert!(server("db-0", started.clone()).is_same(&one), "{started:?}");
        }
    }

    #[test]
    fn servers_differ_by_name_or_by_when_they_were_started() {
        let one = server("db-0", 100..=101);
        for other in [server("db-1", 100..=101), server("db-0", 97..=97), server("db-0", 104..=200)]
        {
            assert!(!one.is_same(&other) && !other.is_same(&one), "{other:?}");
        }
        assert_eq!(one.shown(), "db-0:3306, server_id 1");
    }
}
