//! A real PostgreSQL server.

mod programs;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;
use tokio::process::Command;

use self::programs::{binary, finished, program, system_user};
use crate::guard;
use crate::paths::is_root;
use crate::ports::free_port;
use crate::server::{ServerProcess, is_its_process};
use crate::sql_client::{self, SqlSession};

/// The superuser of every server.
pub const POSTGRES_USER: &str = "tidegate";
/// Its password.
pub const POSTGRES_PASSWORD: &str = "pg-canary";
/// The database that is there from the beginning.
pub const POSTGRES_DATABASE: &str = "postgres";

/// What is special about a server.
#[derive(Debug, Clone, Default)]
pub struct PostgresOptions {
    /// More lines for `postgresql.conf`.
    pub configuration: String,
    /// Certificate and key (PEM), to offer TLS.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// A server on a port of loopback that stays the same over restarts.
#[derive(Debug)]
pub struct PostgresServer {
    /// Before its home, so that it is gone when that is removed.
    process: ServerProcess,
    /// Data and socket; in the system's folder for such things, where another user may enter.
    home: TempDir,
}

is_its_process!(PostgresServer);

impl PostgresServer {
    /// Starts a server whose logs lie in `folder`.
    ///
    /// # Errors
    ///
    /// When the program is not installed or does not come up.
    pub async fn start(folder: &Path) -> Result<Self> {
        Self::start_with(folder, &PostgresOptions::default()).await
    }

    /// Starts a server with options.
    ///
    /// # Errors
    ///
    /// When the program is not installed or does not come up.
    pub async fn start_with(folder: &Path, options: &PostgresOptions) -> Result<Self> {
        let mut server = Self::prepare(folder)?;
        server.initialise().await?;
        let tls = server.install_tls(options)?;
        let settings = format!("{}{tls}{}\n", server.settings(), options.configuration);
        server.configure(&settings)?;
        server.restart().await?;
        Ok(server)
    }

    /// Starts a replica that follows this server.
    ///
    /// # Errors
    ///
    /// When the data cannot be copied, or the replica does not come up.
    pub async fn replica(&self, folder: &Path) -> Result<Self> {
        let mut replica = Self::prepare(folder)?;
        let mut copy = program("pg_basebackup")?;
        copy.env("PGPASSWORD", POSTGRES_PASSWORD)
            .args(["-h", "127.0.0.1", "-p", &self.port().to_string(), "-U", POSTGRES_USER])
            .args(["--checkpoint=fast", "--wal-method=stream", "--write-recovery-conf", "-D"])
            .arg(replica.data());
        finished(copy, "pg_basebackup").await?;
        // The last word on a setting counts.
        replica.configure(&replica.settings())?;
        replica.restart().await?;
        Ok(replica)
    }

    /// Starts the server again, with the same port and data. One that still runs is killed first.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub async fn restart(&mut self) -> Result<()> {
        let mut command = program("postgres")?;
        command.arg("-D").arg(self.data());
        let (asks, port) = (binary("pg_isready")?, self.port().to_string());
        let is_up = async || {
            let mut ask = Command::new(&asks);
            ask.args(["-q", "-h", "127.0.0.1", "-p", &port]);
            ask.status().await.is_ok_and(|status| status.success())
        };
        self.process.start(command, is_up).await
    }

    /// Runs statements as the superuser, each in a transaction of its own; what they answer, unaligned.
    ///
    /// # Errors
    ///
    /// When one of them fails; the message has the server's words.
    pub async fn sql(&self, statements: &str) -> Result<String> {
        self.sql_in(POSTGRES_DATABASE, statements).await
    }

    /// The same in another database.
    ///
    /// # Errors
    ///
    /// When one of them fails; the message has the server's words.
    pub async fn sql_in(&self, database: &str, statements: &str) -> Result<String> {
        let mut command = self.psql(database)?;
        command.args(["-v", "ON_ERROR_STOP=1", "-f", "-"]);
        let answer = sql_client::answer(command, statements).await?;
        Ok(answer.trim_end().to_owned())
    }

    /// Opens a session that stays, for transactions that are open for a while.
    ///
    /// # Errors
    ///
    /// When psql cannot be started.
    pub fn session(&self, database: &str) -> Result<SqlSession> {
        SqlSession::open(self.psql(database)?, format!("\\echo {}", sql_client::DONE))
    }

    /// The address of a database, with user and password.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.url_as(POSTGRES_USER, POSTGRES_PASSWORD, database)
    }

    /// The same as somebody else.
    #[must_use]
    pub fn url_as(&self, user: &str, password: &str, database: &str) -> String {
        format!("postgresql://{user}:{password}@127.0.0.1:{}/{database}", self.port())
    }

    /// The folder in which its socket stands.
    #[must_use]
    pub fn socket_folder(&self) -> &Path {
        self.home.path()
    }

    fn prepare(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let home = tempfile::Builder::new().prefix("tg-pg-").tempdir().context("make a folder")?;
        guard::remove_at_end(home.path());
        // The tests' own user looks for the socket there.
        fs::set_permissions(home.path(), Permissions::from_mode(0o755))
            .context("open the folder")?;
        // Not TERM, which waits for whoever is connected.
        let process = ServerProcess::new("postgres", folder, free_port()?).ending_by("INT");
        let server = Self { process, home };
        server.give_away(server.home.path())?;
        Ok(server)
    }

    async fn initialise(&self) -> Result<()> {
        let password = self.home.path().join("password");
        fs::write(&password, POSTGRES_PASSWORD).context("write the password")?;
        self.give_away(&password)?;
        let mut command = program("initdb")?;
        command
            .args(["-U", POSTGRES_USER, "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale"])
            .arg("--no-sync")
            .arg(format!("--pwfile={}", password.display()))
            .arg("-D")
            .arg(self.data());
        finished(command, "initdb").await
    }

    fn settings(&self) -> String {
        format!(
            "port = {}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\n\
             fsync = off\nfull_page_writes = off\nmax_connections = 60\n\
             max_prepared_transactions = 10\nwal_level = replica\nhot_standby_feedback = on\n",
            self.port(),
            self.home.path().display()
        )
    }

    fn configure(&self, lines: &str) -> Result<()> {
        let path = self.data().join("postgresql.conf");
        let text = fs::read_to_string(&path).context("read postgresql.conf")?;
        fs::write(&path, format!("{text}\n{lines}")).context("write postgresql.conf")
    }

    fn install_tls(&self, options: &PostgresOptions) -> Result<String> {
        let Some((certificate, key)) = &options.tls else { return Ok(String::new()) };
        for (from, name) in [(certificate, "server.crt"), (key, "server.key")] {
            let to = self.data().join(name);
            fs::copy(from, &to).with_context(|| format!("copy {}", from.display()))?;
            fs::set_permissions(&to, Permissions::from_mode(0o600)).context("close the key")?;
            self.give_away(&to)?;
        }
        Ok("ssl = on\nssl_cert_file = 'server.crt'\nssl_key_file = 'server.key'\n".to_owned())
    }

    /// To the user that the server runs as.
    fn give_away(&self, path: &Path) -> Result<()> {
        if !is_root() {
            return Ok(());
        }
        let (user, group) = system_user()?;
        chown(path, Some(user), Some(group)).with_context(|| format!("chown {}", path.display()))
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn psql(&self, database: &str) -> Result<Command> {
        let mut command = Command::new(binary("psql")?);
        command
            .env("PGPASSWORD", POSTGRES_PASSWORD)
            .args(["-X", "-q", "-A", "-t", "-h", "127.0.0.1", "-p", &self.port().to_string()])
            .args(["-U", POSTGRES_USER, "-d", database]);
        Ok(command)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Scratch, eventually};

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    #[ignore = "needs postgres; run by make test"]
    async fn a_database_is_killed_and_comes_back_with_what_was_committed() {
        let scratch = Scratch::new("postgres").unwrap();
        let mut server = PostgresServer::start(scratch.path()).await.unwrap();
        server.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)").await.unwrap();
        server.kill().await.unwrap();
        assert!(server.sql("SELECT 1").await.is_err());
        server.restart().await.unwrap();
        assert_eq!(server.sql("SELECT sum(a) FROM t").await.unwrap(), "3");
        let error = server.sql("SELECT * FROM missing").await.unwrap_err().to_string();
        assert!(error.contains("does not exist"), "{error}");
        server.stop().await.unwrap();
    }

    #[tokio::test]
    #[ignore = "needs postgres; run by make test"]
    async fn a_session_keeps_its_transaction_open() {
        let scratch = Scratch::new("postgres").unwrap();
        let server = PostgresServer::start(scratch.path()).await.unwrap();
        server.sql("CREATE TABLE t (a int)").await.unwrap();
        let mut session = server.session(POSTGRES_DATABASE).unwrap();
        let answer = session.run("BEGIN; INSERT INTO t VALUES (1); SELECT sum(a) FROM t").await;
        assert_eq!(answer.unwrap(), ["1"]);
        assert_eq!(server.sql("SELECT count(*) FROM t").await.unwrap(), "0");
        session.run("COMMIT").await.unwrap();
        assert_eq!(server.sql("SELECT count(*) FROM t").await.unwrap(), "1");
    }

    #[tokio::test]
    #[ignore = "needs postgres; run by make test"]
    async fn a_replica_follows() {
        let scratch = Scratch::new("postgres").unwrap();
        let server = PostgresServer::start(&scratch.join("primary")).await.unwrap();
        let replica = server.replica(&scratch.join("replica")).await.unwrap();
        server.sql("CREATE TABLE t (a int)").await.unwrap();
        let follows = async || replica.sql("SELECT count(*) FROM t").await.is_ok();
        eventually("the replica has the table", LONG, follows).await.unwrap();
        assert!(replica.sql("INSERT INTO t VALUES (1)").await.is_err());
    }
}
