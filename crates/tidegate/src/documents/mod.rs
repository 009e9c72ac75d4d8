//! From files on the command line to resolved pipelines: read, change, check, resolve.

mod assignment;
mod ignored;
mod local;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::Value;
use tidegate_api::{IngestionPipelineSpec, KIND, Violation};
use tidegate_config::{PipelineConfig, TransferConfig};
use tidegate_resolve::Resolved;
use tidegate_types::Ledger;

use self::assignment::Assignment;
pub(crate) use self::ignored::notice;
use crate::bulk::RunPolicy;
use crate::failure::Failure;

/// Which pipelines, and what to change in their documents.
#[derive(Debug, Clone, Args)]
pub(crate) struct PipelineArgs {
    /// A file with pipelines, or - for standard input; may be given several times
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
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
    /// About documents that were left alone.
    pub(crate) notes: Vec<String>,
}

impl PipelineArgs {
    /// All pipelines of all files, each with a ledger of its own.
    pub(crate) fn load(&self) -> Result<Loaded, Failure> {
        let mut pipelines = Loaded::default();
        let mut violations = Vec::new();
        for file in &self.files {
            match load_file(file, &self.changes)? {
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
        Ok(pipelines)
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

    /// The bulk pipeline of that name; the only one when none is given.
    pub(crate) fn load_bulk(&self, name: Option<&str>) -> Result<LoadedBulk, Failure> {
        let bulk = self.load()?.bulk;
        let names: Vec<_> = bulk.iter().map(|pipeline| pipeline.config.name.clone()).collect();
        let mut fitting = bulk.into_iter().filter(|pipeline| pipeline.is_called(name));
        match (fitting.next(), fitting.next()) {
            (Some(only), None) => Ok(only),
            (None, _) if names.is_empty() => {
                Err(Failure::says("there is no bulk pipeline in these files"))
            }
            _ => Err(Failure::says("one bulk pipeline is wanted here")
                .advising(format!("name one of {} with --pipeline", names.join(", ")))),
        }
    }
}

impl LoadedBulk {
    /// Whether this is the name, with or without the namespace; no name is everybody's.
    fn is_called(&self, name: Option<&str>) -> bool {
        let own = self.config.name.as_str();
        let bare = own.rsplit('/').next().unwrap_or(own);
        name.is_none_or(|name| name == own || name == bare)
    }
}

impl Loaded {
    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.streams.is_empty() && self.bulk.is_empty()
    }

    /// What each pipeline says that has no effect here.
    pub(crate) fn ignored(&self) -> impl Iterator<Item = &[&'static str]> {
        let streams = self.streams.iter().map(|one| one.ignored.as_slice());
        streams.chain(self.bulk.iter().map(|one| one.ignored.as_slice()))
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

/// Reads one file. The outer error is about the file, the inner one about what stands in it.
pub(crate) fn load_file(
    file: &Path,
    changes: &ChangeArgs,
) -> Result<Result<LoadedFile, Vec<Violation>>, Failure> {
    let text = read_text(file)?;
    Ok(load_text(&file.display().to_string(), &text, changes, &changes.absolute_data_dir()?))
}

fn load_text(
    file: &str,
    text: &str,
    changes: &ChangeArgs,
    data_dir: &Path,
) -> Result<LoadedFile, Vec<Violation>> {
    let mut documents = tidegate_api::read(file, text)?;
    for document in &mut documents {
        changes.apply(document, data_dir).map_err(|problem| {
            vec![Violation::new(&name_of(document), "", problem).in_file(file)]
        })?;
    }
    let documents = tidegate_api::check(file, documents)?;
    let mut loaded = LoadedFile { pipelines: Loaded::default(), notes: documents.notes };
    let mut violations = Vec::new();
    for pipeline in &documents.pipelines {
        match tidegate_resolve::resolve(pipeline) {
            Ok(resolved) => loaded.pipelines.push(&pipeline.spec, resolved),
            Err(found) => violations.extend(found.into_iter().map(|one| one.in_file(file))),
        }
    }
    if violations.is_empty() { Ok(loaded) } else { Err(violations) }
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

fn read_text(file: &Path) -> Result<String, Failure> {
    let outcome = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    outcome.map_err(|error| Failure::of(error).during(format!("reading {}", file.display())))
}

fn name_of(document: &Value) -> String {
    document.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned()
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
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        changes: ChangeArgs,
    }

    const PIPELINE: &str = "
apiVersion: tidegate.dev/v1alpha1
kind: IngestionPipeline
metadata: {name: clicks, namespace: web}
spec:
  guarantee: AtLeastOnce
  source: {type: JetStream, jetStream: {stream: CLICKS, subjects: [\"clicks.>\"]}}
  schema: {fields: [{name: id, type: string}]}
  sink: {type: Delta, storage: {url: \"file:./lake\"}}
";

    const BULK: &str = "
apiVersion: tidegate.dev/v1alpha1
kind: IngestionPipeline
metadata: {name: orders, namespace: shop}
spec:
  source: {type: Postgres, postgres: {connection: {secretRef: {name: db}}, table: public.orders}}
  bulk:
    schedule: {cron: \"0 * * * *\", startAt: \"2026-01-01T00:00:00Z\", delay: 5m}
    incremental: {cursorField: created_at, mutability: Immutable}
    maxActiveRuns: 3
    chunking: {placement: Pods}
    runTemplate: {activeDeadlineSeconds: 3600}
  sink: {type: Delta, writeMode: ReplaceInterval, storage: {url: \"file:./lake\"}}
";

    fn loaded(text: &str, arguments: &[&str]) -> Result<LoadedFile, Vec<Violation>> {
        let cli = Cli::parse_from([&["tidegate"], arguments].concat());
        load_text("p.yaml", text, &cli.changes, Path::new("/data"))
    }

    #[test]
    fn a_document_is_changed_before_it_is_checked() {
        let set = ["--set", "sink.flush.maxInterval=7s", "--set", "suspend=true"];
        let file = loaded(PIPELINE, &set).expect("a valid pipeline");
        let [pipeline] = &file.pipelines.streams[..] else { panic!("one pipeline: {file:?}") };
        assert!(pipeline.suspended);
        assert_eq!(pipeline.config.sink.flush.max_interval.to_string(), "7s");
        let url = &pipeline.config.sink.url;
        assert!(url.starts_with("file:///") && url.ends_with("/lake"), "{url}");
    }

    #[test]
    fn a_misspelt_assignment_is_a_violation_like_any_other() {
        let found = loaded(PIPELINE, &["--set", "sink.flush.maxIntervall=7s"]).expect_err("typo");
        let text = refusal(&found).to_string();
        assert!(text.contains("p.yaml: clicks: spec.sink.flush.maxIntervall"), "{text}");
        assert!(text.contains("did you mean maxInterval?"), "{text}");
        let found = loaded(PIPELINE, &["--set", "suspend.x=1", "--set", "suspend.x.y=1"]);
        let text = refusal(&found.expect_err("no container")).to_string();
        assert!(text.contains("spec.suspend.x is a number"), "{text}");
    }

    #[test]
    fn the_local_profile_needs_no_cluster_and_can_be_overridden() {
        let set = ["--profile", "local", "--set", "source.jetStream.servers=['nats://h:1']"];
        let file = loaded(PIPELINE, &set).expect("a valid pipeline");
        let config = &file.pipelines.streams[0].config;
        assert_eq!(config.sink.url, "file:///data/tables/clicks");
        assert_eq!(config.source.servers, ["nats://h:1"]);
    }

    #[test]
    fn what_only_a_cluster_heeds_is_named_when_it_says_something() {
        let ignored = |arguments: &[&str]| {
            let mut file = loaded(PIPELINE, arguments).expect("a valid pipeline");
            file.pipelines.streams.remove(0).ignored
        };
        assert_eq!(ignored(&[]), Vec::<&str>::new());
        let defaults = ["--set", "replicas=1", "--set", "scaling.mode=Lag"];
        assert_eq!(ignored(&defaults), Vec::<&str>::new());
        for (set, field) in [
            ("replicas=2", "replicas"),
            ("scaling.mode=Fixed", "scaling"),
            ("template.labels={team: lake}", "template"),
            ("serviceAccountName=writer", "serviceAccountName"),
            ("deletionPolicy.stream=Delete", "deletionPolicy"),
        ] {
            assert_eq!(ignored(&["--set", set]), [field]);
        }
    }

    #[test]
    fn documents_of_other_kinds_are_left_alone() {
        let other = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: c}\n---\n";
        let file = loaded(&format!("{other}{PIPELINE}"), &["--set", "suspend=true"]);
        let file = file.expect("a valid pipeline");
        assert_eq!((file.pipelines.streams.len(), file.notes.len()), (1, 1));
    }

    #[test]
    fn a_bulk_pipeline_comes_with_how_its_runs_are_made() {
        let file = loaded(&format!("{PIPELINE}---{BULK}"), &[]).expect("valid pipelines");
        assert_eq!(file.pipelines.streams.len(), 1);
        let [bulk] = &file.pipelines.bulk[..] else { panic!("one bulk pipeline: {file:?}") };
        assert_eq!(bulk.config.name, "shop/orders");
        assert_eq!(bulk.policy.max_active, 3);
        assert_eq!(bulk.policy.delay.as_secs(), 300);
        let start = bulk.policy.start_at.expect("it is given").to_string();
        assert_eq!(start, "2026-01-01T00:00:00Z");
        let ignored = ["bulk.chunking.placement", "bulk.runTemplate.activeDeadlineSeconds"];
        assert_eq!(bulk.ignored, ignored);
        for (name, called) in
            [(None, true), (Some("orders"), true), (Some("shop/orders"), true), (Some("x"), false)]
        {
            assert_eq!(bulk.is_called(name), called, "{name:?}");
        }
    }

    #[test]
    fn the_local_profile_moves_the_table_of_a_bulk_pipeline_and_leaves_its_source() {
        let file = loaded(BULK, &["--profile", "local"]).expect("a valid pipeline");
        let config = &file.pipelines.bulk[0].config;
        assert_eq!(config.sink.url, "file:///data/tables/orders");
        assert!(matches!(config.source, tidegate_config::BulkSource::Postgres(_)));
    }

    #[test]
    fn two_pipelines_with_one_ledger_are_refused() {
        let mut pipelines = loaded(PIPELINE, &[]).expect("a valid pipeline").pipelines;
        assert!(refuse_shared_ledgers(&pipelines).is_ok());
        let mut other = pipelines.streams[0].clone();
        other.config.name = "web/other".to_owned();
        pipelines.streams.push(other);
        let text = refuse_shared_ledgers(&pipelines).expect_err("one ledger").to_string();
        assert!(text.contains("web/clicks and web/other have the same ledger"), "{text}");
    }
}
