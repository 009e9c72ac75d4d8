//! From files on the command line to resolved pipelines: read, change, check, resolve.

mod assignment;
mod files;
mod ignored;
mod local;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::Value;
use tidegate_api::{IngestionPipelineSpec, KIND, Violation};
use tidegate_config::{PipelineConfig, TransferConfig};
use tidegate_resolve::Resolved;
use tidegate_types::Ledger;

use self::assignment::Assignment;
pub(crate) use self::files::load_files;
pub(crate) use self::ignored::notice;
use crate::failure::Failure;
use crate::run_policy::RunPolicy;

/// Which pipelines, and what to change in their documents.
#[derive(Debug, Clone, Args)]
pub(crate) struct PipelineArgs {
    /// A file with pipelines, or - for standard input; may be given several times
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Only this one of the files' pipelines, by its name; may be given several times
    #[arg(long = "pipeline", value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    pub(crate) changes: ChangeArgs,
}

/// Changes to documents before they are checked.
#[derive(Debug, Clone, Args)]
pub(crate) struct ChangeArgs {
    /// Set a field of every pipeline, such as sink.flush.maxInterval=5s; the value is YAML, null
    /// removes the field
    #[arg(long = "set", value_name = "PATH=VALUE")]
    assignments: Vec<Assignment>,
    /// local: the table is a folder below --data-dir and the stream comes from the embedded server
    #[arg(long, value_enum)]
    profile: Option<Profile>,
    /// Where the embedded server, spilled windows and the tables of --profile local live
    #[arg(long, value_name = "DIR", default_value = ".tidegate")]
    pub(crate) data_dir: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Profile {
    Local,
}

/// One pipeline of a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LoadedPipeline {
    /// The resolved configuration.
    pub(crate) config: PipelineConfig,
    /// Whether it asks not to be run.
    pub(crate) suspended: bool,
    /// Fields that say something and that only a cluster heeds.
    pub(crate) ignored: Vec<&'static str>,
}

/// One bulk pipeline of a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LoadedBulk {
    /// The resolved configuration.
    pub(crate) config: TransferConfig,
    /// How its runs are made here.
    pub(crate) policy: RunPolicy,
    /// Whether it asks not to be run.
    pub(crate) suspended: bool,
    /// Fields that say something and that only a cluster heeds.
    pub(crate) ignored: Vec<&'static str>,
}

/// All pipelines of some files.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Loaded {
    /// Those that read a stream.
    pub(crate) streams: Vec<LoadedPipeline>,
    /// Those that are made of runs.
    pub(crate) bulk: Vec<LoadedBulk>,
}

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct LoadedFile {
    pub(crate) pipelines: Loaded,
    /// The names of the runs in it, which were checked for their shape and nothing else.
    pub(crate) runs: Vec<String>,
    /// About documents that were left alone.
    pub(crate) notes: Vec<String>,
}

impl PipelineArgs {
    /// The pipelines that are wanted of all files, each with a ledger of its own. All are checked: one may
    /// name another.
    pub(crate) fn load(&self) -> Result<Loaded, Failure> {
        let mut pipelines = Loaded::default();
        let mut violations = Vec::new();
        for loaded in load_files(&self.files, &self.changes)? {
            match loaded {
                Ok(loaded) => {
                    loaded.notes.iter().for_each(|note| tracing::info!("{note}"));
                    pipelines.streams.extend(loaded.pipelines.streams);
                    pipelines.bulk.extend(loaded.pipelines.bulk);
                }
                Err(found) => violations.extend(found),
            }
        }
        if !violations.is_empty() {
            return Err(refusal(&violations));
        }
        if pipelines.is_empty() {
            return Err(Failure::says(format!("there is no {KIND} in these files")));
        }
        refuse_shared_ledgers(&pipelines)?;
        pipelines.choose(&self.names)
    }

    /// The only pipeline that reads a stream, for commands that work on one.
    pub(crate) fn load_stream(&self) -> Result<LoadedPipeline, Failure> {
        let mut streams = self.load()?.streams;
        let many = streams.len();
        match (streams.pop(), many) {
            (Some(only), 1) => Ok(only),
            _ => Err(Failure::says(format!(
                "one pipeline that reads a stream is wanted here, the files hold {many}"
            ))),
        }
    }

    /// The only bulk pipeline, for commands that work on one.
    pub(crate) fn load_bulk(&self) -> Result<LoadedBulk, Failure> {
        let mut bulk = self.load()?.bulk;
        match (bulk.pop(), bulk.as_slice()) {
            (Some(only), []) => Ok(only),
            (None, _) => Err(Failure::says("there is no bulk pipeline in these files")),
            (Some(last), others) => {
                let all = others.iter().chain([&last]);
                let names: Vec<_> = all.map(|one| one.config.name.as_str()).collect();
                let there = names.join(", ");
                Err(Failure::says("one bulk pipeline is wanted here")
                    .advising(format!("name one of {there} with --pipeline")))
            }
        }
    }
}

/// Whether `wanted` is the pipeline's name, with or without its namespace.
fn is_called(name: &str, wanted: &str) -> bool {
    let bare = name.rsplit('/').next().unwrap_or(name);
    wanted == name || wanted == bare
}

impl Loaded {
    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.streams.is_empty() && self.bulk.is_empty()
    }

    /// What each pipeline says that has no effect here.
    pub(crate) fn ignored(&self) -> impl Iterator<Item = &[&'static str]> {
        let streams = self.streams.iter().map(|one| one.ignored.as_slice());
        streams.chain(self.bulk.iter().map(|one| one.ignored.as_slice()))
    }

    /// Those of these names; all when there are none.
    fn choose(mut self, names: &[String]) -> Result<Self, Failure> {
        let there: Vec<String> = self.ledgers().map(|(_, name)| name.to_owned()).collect();
        let unknown = names.iter().find(|name| !there.iter().any(|one| is_called(one, name)));
        if let Some(name) = unknown {
            let problem = format!("there is no pipeline {name:?} in these files");
            let advice = format!("name one that is there with --pipeline: {}", there.join(", "));
            return Err(Failure::says(problem).advising(advice));
        }
        let wanted = |name: &str| names.is_empty() || names.iter().any(|one| is_called(name, one));
        self.streams.retain(|one| wanted(&one.config.name));
        self.bulk.retain(|one| wanted(&one.config.name));
        Ok(self)
    }

    fn push(&mut self, spec: &IngestionPipelineSpec, resolved: Resolved) {
        let (suspended, ignored) = (spec.suspend, ignored::ignored(spec));
        match resolved {
            Resolved::Stream(config) => {
                self.streams.push(LoadedPipeline { config: *config, suspended, ignored });
            }
            Resolved::Bulk(config) => {
                let policy = RunPolicy::of(spec, &config);
                self.bulk.push(LoadedBulk { config: *config, policy, suspended, ignored });
            }
        }
    }

    /// Every pipeline's ledger and name.
    fn ledgers(&self) -> impl Iterator<Item = (&Ledger, &str)> {
        let streams = self.streams.iter().map(|one| (&one.config.ledger, one.config.name.as_str()));
        streams.chain(self.bulk.iter().map(|one| (&one.config.ledger, one.config.name.as_str())))
    }
}

impl ChangeArgs {
    /// The data folder as an absolute path.
    pub(crate) fn absolute_data_dir(&self) -> Result<PathBuf, Failure> {
        let doing = format!("finding the folder {}", self.data_dir.display());
        std::path::absolute(&self.data_dir).map_err(|error| Failure::of(error).during(doing))
    }

    fn apply(&self, document: &mut Value, data_dir: &Path) -> Result<(), String> {
        if document.get("kind").and_then(Value::as_str) != Some(KIND) {
            return Ok(());
        }
        if self.profile == Some(Profile::Local) {
            local::apply_local_profile(document, data_dir);
        }
        for assignment in &self.assignments {
            assignment.apply(document).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// All violations as one failure.
pub(crate) fn refusal(violations: &[Violation]) -> Failure {
    let mut text = "the pipeline cannot be used".to_owned();
    for violation in violations {
        // Writing to a string does not fail.
        let _ = write!(text, "\n  - {violation}");
    }
    Failure::says(text)
}

fn refuse_shared_ledgers(pipelines: &Loaded) -> Result<(), Failure> {
    let mut seen: BTreeMap<&Ledger, &str> = BTreeMap::new();
    for (ledger, name) in pipelines.ledgers() {
        if let Some(other) = seen.insert(ledger, name) {
            let problem = format!("{other} and {name} have the same ledger {ledger}");
            return Err(Failure::says(problem).advising("give one of them another spec.ledger"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
