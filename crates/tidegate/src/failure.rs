//! How a command ends badly: what happened, why, what to do, and the exit code.

use std::error::Error as StdError;
use std::fmt;

use tidegate_runtime::RunError;
use tidegate_source::SourceError;
use tidegate_types::Reason;
use tokio::task::JoinError;

pub(crate) use tidegate_runtime::causes;

/// The exit codes that scripts and supervisors act on.
pub(crate) mod code {
    /// `verify`: the table is damaged.
    pub(crate) const DAMAGED: u8 = 1;
    /// `verify`: nothing is wrong as far as can be seen, which is not everything.
    pub(crate) const NOT_PROVABLE: u8 = 2;
    /// The command line cannot be read.
    pub(crate) const USAGE: u8 = 64;
    /// Somebody has to change something first.
    pub(crate) const PERMANENT: u8 = 65;
    /// Trying again later may do.
    pub(crate) const RETRY: u8 = 75;
    /// Told to stop before the work that was asked for was done.
    pub(crate) const INTERRUPTED: u8 = 130;
}

/// A command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    error: anyhow::Error,
    code: u8,
    advice: Option<String>,
}

impl Failure {
    /// Somebody has to change something first.
    pub(crate) fn of(error: impl Into<anyhow::Error>) -> Self {
        Self { error: error.into(), code: code::PERMANENT, advice: None }
    }

    /// The same, from a sentence.
    pub(crate) fn says(sentence: impl Into<String>) -> Self {
        Self::of(anyhow::Error::msg(sentence.into()))
    }

    /// Says what was being done.
    pub(crate) fn during(mut self, doing: impl fmt::Display + Send + Sync + 'static) -> Self {
        self.error = self.error.context(doing);
        self
    }

    /// Trying again later may do.
    pub(crate) fn worth_retrying(self, retry: bool) -> Self {
        let code = if retry { code::RETRY } else { code::PERMANENT };
        Self { code, ..self }
    }

    /// Left because of a second signal.
    pub(crate) fn interrupted(self) -> Self {
        Self { code: code::INTERRUPTED, ..self }
    }

    /// Says what to do.
    pub(crate) fn advising(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// Takes the advice that belongs to a reason.
    pub(crate) fn because_of(mut self, reason: Reason) -> Self {
        self.advice = advice(reason).map(str::to_owned);
        self
    }

    /// What happened and why, see [`causes`].
    pub(crate) fn causes(&self) -> Vec<String> {
        causes(self.error.as_ref())
    }

    /// The process' exit code.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::of(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.causes().join("\n  because: "))?;
        match &self.advice {
            Some(advice) => write!(f, "\n  to do: {advice}"),
            None => Ok(()),
        }
    }
}

/// A worker's error with its exit code and advice.
pub(crate) fn worker_failed(error: RunError) -> Failure {
    let (retry, reason) = (error.is_transient(), error.reason());
    Failure::of(error).worth_retrying(retry).because_of(reason)
}

/// Whether the error of a bulk run may be gone the next time, on this machine: a secret that is not there
/// comes by nobody's hand but that of the person who waits.
pub(crate) fn passes_by_itself(error: &RunError) -> bool {
    error.is_transient() && error.reason() != Reason::SecretMissing
}

/// The error of a bulk run on this machine, or of whoever looks at what one stands on, with its exit code
/// and advice.
pub(crate) fn run_failed(error: RunError) -> Failure {
    let retry = passes_by_itself(&error);
    attempt_failed(error).worth_retrying(retry)
}

/// The same of an attempt in a pod, which is made again when the cluster brings what is missing.
pub(crate) fn attempt_failed(error: RunError) -> Failure {
    let of_runs = run_advice(error.reason());
    let failure = worker_failed(error);
    match of_runs {
        Some(advice) => failure.advising(advice),
        None => failure,
    }
}

/// A panic is a bug; what was committed stands, and another attempt goes on from there.
pub(crate) fn crashed(who: &str, error: JoinError) -> Failure {
    Failure::of(error)
        .during(format!("{who} crashed"))
        .worth_retrying(true)
        .advising("nothing that was committed is affected; please report this")
}

/// A broker's error with its exit code and advice.
pub(crate) fn source_failed(error: SourceError) -> Failure {
    let (retry, reason) = (error.is_transient(), error.reason());
    Failure::of(error).worth_retrying(retry).because_of(reason)
}

/// Of two exit codes the one that needs a person: damage before everything, permanent before retry.
pub(crate) fn worse(a: u8, b: u8) -> u8 {
    const FROM_BEST: [u8; 6] =
        [0, code::NOT_PROVABLE, code::RETRY, code::PERMANENT, code::DAMAGED, code::INTERRUPTED];
    let rank = |code: u8| FROM_BEST.iter().position(|c| *c == code).unwrap_or(FROM_BEST.len());
    if rank(b) > rank(a) { b } else { a }
}

/// What to do about a reason; none where the message itself says all.
fn advice(reason: Reason) -> Option<&'static str> {
    source_advice(reason).or_else(|| sink_advice(reason)).or_else(|| process_advice(reason))
}

fn source_advice(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::SourceUnreachable => {
            "see that the broker runs, that spec.source.jetStream.servers names it, and that it takes the credentials"
        }
        Reason::StreamMissing => {
            "create the stream, or give spec.source.jetStream.subjects so that it is made"
        }
        Reason::SourceGap => {
            "find out who removed the messages; onGap: RecordAndContinue goes on without them"
        }
        Reason::SourceIdentity => {
            "if the stream was made anew on purpose, set onSourceReset: NewIncarnation"
        }
        Reason::SourceUnsafe | Reason::GuaranteeNotMet => {
            "change what is named, or ask for a weaker spec.guarantee"
        }
        Reason::SubjectsOutsidePartitions => {
            "make the partitions cover every subject of the stream"
        }
        _ => return None,
    })
}

fn sink_advice(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::SinkUnreachable => {
            "see that spec.sink.storage.url can be reached and its secret allows writing"
        }
        Reason::CommitStoreUnsafe => {
            "use a store that refuses to overwrite (conditional put), or a weaker spec.guarantee"
        }
        Reason::TableRewound => "read what changed with `tidegate verify` before going on",
        Reason::LedgerMismatch => "use another table, or set spec.sink.delta.shared",
        Reason::TableMismatch | Reason::SchemaChangeRefused => {
            "make spec.schema fit the table, or write to another table"
        }
        _ => return None,
    })
}

fn process_advice(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::BreakerOpen => {
            "look at the dead letters, then mend the senders, the schema or the breaker"
        }
        Reason::ResourceExhausted => "free disk space, or give the process more memory",
        Reason::Fenced => "see who else runs this ledger; one worker a partition is enough",
        Reason::SecretMissing => "put the secret below --secrets-dir as <name>/<key>",
        Reason::InvalidConfiguration => "run `tidegate validate` on the file",
        _ => return None,
    })
}

/// What to do about a reason when it is a run's; none where it is the same for all.
fn run_advice(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::SourceUnreachable => {
            "see that the source answers at the address in its secret; `tidegate doctor` looks at all of it"
        }
        Reason::SourceRefused | Reason::SourceTransactionsHidden => {
            "mend what is named at the source or in spec.source; `tidegate doctor` looks at all of it"
        }
        Reason::SourceTransactionsOpen => {
            "see what the transactions wait for; spec.bulk.incremental.ignoreRoles leaves out roles that never write here"
        }
        Reason::IntervalConflict => "run the interval that is named again, or one that contains it",
        Reason::IntervalShrank => {
            "see that the source still has its rows; with --set bulk.allowShrink=true it is done all the same"
        }
        Reason::GenerationLost => {
            "nothing, when the newer attempt is yours; else see who else runs it"
        }
        Reason::CountMismatch => "run it again; if it stays so, please report this",
        Reason::UnsupportedType => {
            "name the columns that are wanted in spec.schema.fields, or write a query"
        }
        Reason::SecretMissing => {
            "put the secret below --secrets-dir as <name>/<key>; of a database the key is uri (or host and user, beside port, password and database), of S3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, of Azure AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN, of Google GOOGLE_SERVICE_ACCOUNT"
        }
        Reason::InvalidConfiguration => {
            "mend what is named; `tidegate doctor` compares the file with source, store and table"
        }
        Reason::TableMismatch => {
            "make spec.schema fit the table, or write to another table; where a repair finds none, run the streamed pipeline first"
        }
        Reason::NullCursor => {
            "give the rows a cursor, or leave them out with spec.bulk.incremental.onNullCursor: Ignore"
        }
        Reason::TooManyDeadLetters => {
            "look at what the files hold, or give spec.schema.fields that fit them"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_not_told_to_look_for_a_broker() {
        let error = || RunError::transient(Reason::SourceUnreachable, "no answer");
        let (run, worker) = (run_failed(error()), worker_failed(error()));
        assert_eq!((run.code(), worker.code()), (75, 75));
        assert!(run.to_string().contains("the address in its secret"), "{run}");
        let other = run_failed(RunError::permanent(Reason::SecretMissing, "no key"));
        assert!(other.to_string().contains("to do: put the secret below"), "{other}");
    }

    #[test]
    fn what_only_the_source_or_the_table_can_tell_is_not_looked_for_in_the_file_alone() {
        let cursor = RunError::permanent(Reason::InvalidConfiguration, "the cursor does not exist");
        let cursor = run_failed(cursor).to_string();
        assert!(cursor.contains("tidegate doctor") && !cursor.contains("validate"), "{cursor}");
        let table = run_failed(RunError::permanent(Reason::TableMismatch, "there is no table"));
        assert!(table.to_string().contains("run the streamed pipeline first"), "{table}");
    }

    #[test]
    fn a_missing_secret_waits_for_a_person_here_and_for_the_cluster_in_a_pod() {
        let missing = || RunError::transient(Reason::SecretMissing, "no key");
        assert_eq!((run_failed(missing()).code(), attempt_failed(missing()).code()), (65, 75));
        assert!(!passes_by_itself(&missing()));
        assert!(passes_by_itself(&RunError::transient(Reason::SourceUnreachable, "no answer")));
    }

    #[test]
    fn a_failure_is_told_with_its_causes_and_what_to_do() {
        let cause = std::io::Error::new(std::io::ErrorKind::NotFound, "no such file");
        let failure = Failure::of(cause).during("reading pipeline.yaml").advising("check the path");
        assert_eq!(
            failure.to_string(),
            "error: reading pipeline.yaml\n  because: no such file\n  to do: check the path"
        );
    }

    #[test]
    fn a_cause_is_not_told_twice() {
        let failure = Failure::says("refused").during("IO error: refused").during("connecting");
        assert_eq!(failure.causes(), ["connecting", "IO error: refused"]);
    }

    #[test]
    fn exit_codes_say_whether_to_try_again() {
        assert_eq!(Failure::says("x").code(), 65);
        assert_eq!(Failure::says("x").worth_retrying(true).code(), 75);
        assert_eq!(Failure::says("x").worth_retrying(false).code(), 65);
    }

    #[test]
    fn of_several_endings_the_one_that_needs_a_person_counts() {
        for (codes, worst) in [
            (vec![], 0),
            (vec![0, 0], 0),
            (vec![0, 75], 75),
            (vec![75, 65, 0], 65),
            (vec![2, 0], 2),
            (vec![2, 1, 0], 1),
            (vec![1, 65], 1),
            (vec![65, 130], 130),
        ] {
            assert_eq!(codes.iter().copied().fold(0, worse), worst, "{codes:?}");
            assert_eq!(codes.iter().rev().copied().fold(0, worse), worst, "{codes:?} reversed");
        }
    }

    #[test]
    fn a_worker_error_keeps_its_exit_code_and_gets_advice() {
        let retry = worker_failed(RunError::transient(Reason::SourceUnreachable, "no answer"));
        assert_eq!(retry.code(), 75);
        assert!(retry.to_string().contains("to do: see that the broker runs"), "{retry}");
        let halt = worker_failed(RunError::permanent(Reason::SourceGap, "4..9 are gone"));
        assert_eq!(halt.code(), 65);
    }

    #[test]
    fn reasons_that_need_a_person_come_with_advice() {
        let failure = Failure::says("stream CLICKS lost 4..9").because_of(Reason::SourceGap);
        assert!(failure.to_string().contains("to do: find out who removed"));
        assert!(advice(Reason::Ok).is_none());
    }
}
