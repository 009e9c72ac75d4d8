//! Logs: fields for machines, lines for people.

use std::io::{IsTerminal, Write};
use std::sync::Arc;

use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Our own changes of state, and only the troubles of the libraries below us. The table format's library says
/// each of its failures as an ERROR of its own before we know what it means: we tell it once, with its cause,
/// where it matters.
const DEFAULT_FILTER: &str = "warn,delta_kernel=off,tidegate=info,tidegate_worker=info,tidegate_source=info,\
                              tidegate_table=info,tidegate_telemetry=info";

/// The environment variable with the filter, in `tracing-subscriber`'s directives.
const FILTER_VARIABLE: &str = "TIDEGATE_LOG";

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// Text.
    Text,
}

/// Writes the bytes of one log line. A progress display passes one that steps aside first.
pub type LogPrinter = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// Logs could not be set up.
#[derive(Debug, Error)]
pub enum LogError {
    /// The filter in the environment cannot be read.
    #[error("{FILTER_VARIABLE}={text:?} is not a log filter; write a level, or target=level,…")]
    Filter {
        /// What stands there.
        text: String,
        /// Why it was refused.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// This process has logs already.
    #[error("logs are set up already")]
    Twice {
        /// What the subscriber said.
        #[source]
        source: tracing::subscriber::SetGlobalDefaultError,
    },
}

impl LogFormat {
    /// Whether lines are JSON, given whether they go to a terminal.
    #[must_use]
    pub fn is_json(self, terminal: bool) -> bool {
        match self {
            Self::Auto => !terminal,
            Self::Json => true,
            Self::Text => false,
        }
    }
}

/// Prints to standard error.
#[must_use]
pub fn standard_error() -> LogPrinter {
    Arc::new(|line| {
        // Nobody is left to tell when standard error is closed.
        let _ = std::io::stderr().write_all(line);
    })
}

/// Sets up the logs of the process, filtered by `TIDEGATE_LOG`.
///
/// # Errors
///
/// [`LogError`] when the filter cannot be read or logs are set up already.
pub fn init_logs(format: LogFormat, printer: LogPrinter) -> Result<(), LogError> {
    let terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter(std::env::var(FILTER_VARIABLE).ok())?)
        .with_writer(Lines(printer));
    let outcome = if format.is_json(terminal) {
        tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish())
    } else {
        let builder = builder.with_ansi(terminal).with_target(false);
        tracing::subscriber::set_global_default(builder.finish())
    };
    outcome.map_err(|source| LogError::Twice { source })
}

fn filter(text: Option<String>) -> Result<EnvFilter, LogError> {
    let text = text.filter(|text| !text.is_empty()).unwrap_or_else(|| DEFAULT_FILTER.to_owned());
    EnvFilter::try_new(&text).map_err(|source| LogError::Filter { text, source })
}

struct Lines(LogPrinter);

/// The formatter hands a whole line to one `write`.
struct Line<'a>(&'a LogPrinter);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(&self.0)
    }
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        (self.0)(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn lines_are_text_only_for_people() {
        for (format, terminal, json) in [
            (LogFormat::Auto, true, false),
            (LogFormat::Auto, false, true),
            (LogFormat::Json, true, true),
            (LogFormat::Text, false, false),
        ] {
            assert_eq!(format.is_json(terminal), json, "{format:?} {terminal}");
        }
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_quoted() {
        let error = filter(Some("tidegate=loud".to_owned())).expect_err("no such level");
        assert!(error.to_string().contains("tidegate=loud"), "{error}");
        assert!(filter(None).is_ok() && filter(Some(String::new())).is_ok());
    }

    #[test]
    fn a_json_line_reaches_the_printer_whole_and_libraries_are_quiet() {
        let seen: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let into = Arc::clone(&seen);
        let printer: LogPrinter = Arc::new(move |line| {
            into.lock().expect("one test").push(line.to_vec());
        });
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter(None).expect("the default"))
            .with_writer(Lines(printer))
            .json()
            .flatten_event(true)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "tidegate_worker", partition = 3, "claimed");
            tracing::info!(target: "async_nats", "connected");
            tracing::error!(target: "delta_kernel::snapshot", "told with its cause by whoever asked");
        });
        let seen = seen.lock().expect("one test");
        assert_eq!(seen.len(), 1, "the library's line is filtered");
        let line: serde_json::Value = serde_json::from_slice(&seen[0]).expect("a line of JSON");
        assert_eq!((&line["message"], &line["partition"]), (&"claimed".into(), &3.into()));
    }
}
