//! A real MariaDB server.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::guard;
use crate::paths::{is_root, service};
use crate::ports::free_port;
use crate::secret::write_secret;
use crate::server::{ServerProcess, is_its_process};
use crate::sql_client::{self, SqlSession};

/// The account that may do everything, from loopback, over TCP.
pub const MARIADB_USER: &str = "tidegate";
/// Its password.
pub const MARIADB_PASSWORD: &str = "pass/word";
/// The database that is there from the start.
pub const MARIADB_DATABASE: &str = "shop";
/// Makes a session's zone UTC.
const UTC: &str = "SET time_zone = '+00:00'";

/// What is special about a server.
#[derive(Debug, Clone, Default)]
pub struct MariaDbOptions {
    /// More arguments, such as `--transaction-isolation=READ-COMMITTED`.
    pub arguments: Vec<String>,
    /// Variables of its environment, such as `TZ`.
    pub environment: Vec<(String, String)>,
}

/// A MariaDB server on a port of loopback that stays the same over restarts.
#[derive(Debug)]
pub struct MariaDbServer {
    process: ServerProcess,
    options: MariaDbOptions,
}

is_its_process!(MariaDbServer);

impl MariaDbServer {
    /// Starts a server whose data and logs lie in `folder`.
    ///
    /// # Errors
    ///
    /// When the programs are not installed or the server does not come up.
    pub async fn start(folder: &Path) -> Result<Self> {
        Self::start_with(folder, &MariaDbOptions::default()).await
    }

    /// Starts a server with options.
    ///
    /// # Errors
    ///
    /// When the programs are not installed or the server does not come up.
    pub async fn start_with(folder: &Path, options: &MariaDbOptions) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let process = ServerProcess::new("mariadbd", folder, free_port()?);
        let mut server = Self { process, options: options.clone() };
        // Of a server that a static owns nobody else removes it. The logs stay.
        guard::remove_at_end(&server.data());
        guard::remove_at_end(&server.temporary());
        server.install().await?;
        server.restart().await?;
        Ok(server)
    }

    /// Starts the server again, with the same port and data. One that still runs is killed first.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub async fn restart(&mut self) -> Result<()> {
        let mut command = Command::new(service("mariadbd").or_else(|_| in_sbin("mariadbd"))?);
        command
            .arg("--no-defaults")
            .args(run_as())
            .arg(format!("--datadir={}", self.data().display()))
            .arg(format!("--port={}", self.port()))
            .arg("--bind-address=127.0.0.1")
            // A path in the data's folder may be longer than a socket's name can be.
            .arg("--socket=s")
            .arg("--skip-name-resolve")
            .args(["--log-bin=bin", "--binlog-format=ROW", "--server-id=1"])
            .args(["--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M"])
            .args(&self.options.arguments)
            .env("TMPDIR", self.temporary())
            .envs(self.options.environment.clone())
            .current_dir(self.data());
        let port = self.port();
        self.process.start(command, async || listens(port).await).await
    }

    /// Runs statements in [`MARIADB_DATABASE`] with the server's own client and gives what they print:
    /// a line a row, columns between tabs. The session's zone is UTC.
    ///
    /// # Errors
    ///
    /// When a statement fails; the message is the client's.
    pub async fn sql(&self, statements: &str) -> Result<String> {
        sql_client::answer(self.client()?, &format!("{UTC};\n{statements}\n")).await
    }

    /// A connection of its own, for transactions that stay open between statements.
    ///
    /// A statement that fails ends it.
    ///
    /// # Errors
    ///
    /// When the client cannot be started.
    pub async fn session(&self) -> Result<SqlSession> {
        let mark = format!("SELECT '{}';", sql_client::DONE);
        let mut session = SqlSession::open(self.client()?, mark)?;
        session.run(UTC).await?;
        Ok(session)
    }

    /// The server's client, ready for statements on its standard input; killed when it is dropped.
    ///
    /// # Errors
    ///
    /// When it is not installed.
    pub fn client(&self) -> Result<Command> {
        let mut command = Command::new(service("mariadb")?);
        command
            .arg("--no-defaults")
            .args(["--host=127.0.0.1", "--protocol=tcp", "--default-character-set=utf8mb4"])
            .args(["--batch", "--skip-column-names", "--unbuffered"])
            .arg(format!("--port={}", self.port()))
            .arg(format!("--user={MARIADB_USER}"))
            .arg(format!("--database={MARIADB_DATABASE}"))
            .env("MYSQL_PWD", MARIADB_PASSWORD)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Ok(command)
    }

    /// Writes the secret `name` with this server's `host`, `port`, `user`, `password` and `database` below
    /// `secrets`, as it is mounted.
    ///
    /// # Errors
    ///
    /// When a file cannot be written.
    pub fn write_secret(&self, secrets: &Path, name: &str) -> Result<()> {
        let port = self.port().to_string();
        let keys = [
            ("host", "127.0.0.1"),
            ("port", &port),
            ("user", MARIADB_USER),
            ("password", MARIADB_PASSWORD),
            ("database", MARIADB_DATABASE),
        ];
        write_secret(secrets, name, &keys)
    }

    fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// A server that starts removes temporary tables of whoever shares the folder.
    fn temporary(&self) -> PathBuf {
        self.folder().join("temporary")
    }

    async fn install(&self) -> Result<()> {
        fs::create_dir_all(self.temporary()).context("make a folder for temporary tables")?;
        let first = self.folder().join("first.sql");
        let account = format!("'{MARIADB_USER}'@'127.0.0.1'");
        let text = format!(
            "FLUSH PRIVILEGES;\n\
             CREATE DATABASE {MARIADB_DATABASE} CHARACTER SET utf8mb4;\n\
             CREATE USER {account} IDENTIFIED BY '{MARIADB_PASSWORD}';\n\
             GRANT ALL ON *.* TO {account} WITH GRANT OPTION;\n"
        );
        fs::write(&first, text).context("write the first statements")?;
        let output = Command::new(service("mariadb-install-db")?)
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
            .args(run_as())
            .env("TMPDIR", self.temporary())
            .arg(format!("--datadir={}", self.data().display()))
            .arg(format!("--extra-file={}", first.display()))
            .output()
            .await
            .context("run mariadb-install-db")?;
        let [told, more] =
            [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        ensure!(output.status.success(), "mariadb-install-db failed: {told}{more}");
        Ok(())
    }
}

/// Root must say that it means it; others are who they are.
fn run_as() -> Option<&'static str> {
    is_root().then_some("--user=root")
}

/// Debian puts servers where only root looks.
fn in_sbin(program: &str) -> Result<PathBuf> {
    let path = Path::new("/usr/sbin").join(program);
    ensure!(path.is_file(), "{program} is not installed; `make setup` installs it");
    Ok(path)
}

/// The port is opened when the server is ready.
async fn listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scratch;

    #[tokio::test]
    #[ignore = "needs MariaDB; run by make test"]
    async fn a_database_is_killed_and_comes_back_with_its_rows() {
        let scratch = Scratch::new("mariadb").unwrap();
        let mut server = MariaDbServer::start(scratch.path()).await.unwrap();
        server.sql("CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2)").await.unwrap();
        server.kill().await.unwrap();
        server.restart().await.unwrap();
        assert_eq!(server.sql("SELECT a FROM t ORDER BY a").await.unwrap(), "1\n2\n");
        let error = server.sql("SELECT nothing").await.unwrap_err().to_string();
        assert!(error.contains("nothing"), "{error}");
    }
}
