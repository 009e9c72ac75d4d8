//! A table of a real Postgres that changes between any two attempts.

use std::path::Path;

use anyhow::{Context as _, Result};
use tidegate_testing::{POSTGRES_DATABASE, PostgresServer};

/// Rows of an hour at the beginning.
const ROWS: u32 = 400;

/// The server and its table `entries`.
pub(crate) struct Source {
    server: PostgresServer,
}

impl Source {
    pub(crate) async fn start(folder: &Path, hours: u32) -> Result<Self> {
        let server = PostgresServer::start(folder).await?;
        server
            .sql(&format!(
                "CREATE TABLE entries (id bigint PRIMARY KEY, at timestamptz NOT NULL, \
                 amount bigint NOT NULL, note text); \
                 INSERT INTO entries SELECT h * 1000000 + n, \
                 timestamptz '2026-01-01 00:00Z' + h * interval '1 hour' + n * interval '1 second', \
                 n, repeat('x', n % 50) \
                 FROM generate_series(0, {hours} - 1) h, generate_series(1, {ROWS}) n"
            ))
            .await?;
        Ok(Self { server })
    }

    /// The server dies and comes up again: snapshots and connections are gone.
    pub(crate) async fn kill_and_restart(&mut self) -> Result<()> {
        self.server.kill().await?;
        self.server.restart().await
    }

    pub(crate) fn url(&self) -> String {
        self.server.url(POSTGRES_DATABASE)
    }

    /// Changes, adds and takes away rows of an hour; it never shrinks by much.
    pub(crate) async fn change(&self, hour: u32) -> Result<()> {
        let inside = format!("id / 1000000 = {hour}");
        self.server
            .sql(&format!(
                "UPDATE entries SET amount = amount + 1000 WHERE {inside} AND id % 3 = 0; \
                 DELETE FROM entries WHERE id = (SELECT min(id) FROM entries WHERE {inside}); \
                 INSERT INTO entries SELECT max(id) + 1, max(at) + interval '1 millisecond', 1, NULL \
                 FROM entries WHERE {inside}"
            ))
            .await?;
        Ok(())
    }

    /// Ids and amounts of an hour.
    pub(crate) async fn rows(&self, hour: u32) -> Result<Vec<(i64, i64)>> {
        let text = self
            .server
            .sql(&format!(
                "SELECT id || ' ' || amount FROM entries WHERE id / 1000000 = {hour} ORDER BY id"
            ))
            .await?;
        let row = |line: &str| {
            let (id, amount) = line.trim().split_once(' ')?;
            Some((id.parse().ok()?, amount.parse().ok()?))
        };
        text.lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| row(line).with_context(|| format!("no row: {line}")))
            .collect()
    }
}
