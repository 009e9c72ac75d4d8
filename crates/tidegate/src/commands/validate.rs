//! `tidegate validate`: is this a pipeline, and can it keep what it promises?

use std::path::PathBuf;

use clap::Args;
use tidegate_api::{KIND, RUN_KIND};

use crate::documents::{ChangeArgs, Loaded, LoadedFile, load_files};
use crate::failure::{Failure, code};
use crate::feasibility::Feasibility;
use crate::output::{complain, count, say};

/// Check files with pipelines and runs: every mistake with its place and what to write instead. Of a run
/// only the shape is checked.
#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// Files with pipelines, or - for standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    changes: ChangeArgs,
}

/// Checks every file; 65 when one has a mistake.
pub(crate) fn validate(args: &ValidateArgs) -> Result<u8, Failure> {
    let mut mistakes = 0;
    let outcomes = load_files(&args.files, &args.changes)?;
    for (file, outcome) in args.files.iter().zip(outcomes) {
        match outcome {
            Ok(loaded) => {
                mistakes += tell_file(&file.display().to_string(), &loaded)?;
            }
            Err(violations) => {
                mistakes += violations.len() as u64;
                for violation in violations {
                    complain(violation.to_string())?;
                }
            }
        }
    }
    if mistakes == 0 {
        return Ok(0);
    }
    complain(count(mistakes, "mistake", "mistakes"))?;
    Ok(code::PERMANENT)
}

/// Says of everything in a file what became of it, and returns the number of mistakes.
fn tell_file(file: &str, loaded: &LoadedFile) -> Result<u64, Failure> {
    for note in &loaded.notes {
        say(note)?;
    }
    let mut mistakes = 0;
    for (name, found) in weigh(&loaded.pipelines) {
        mistakes += tell(&format!("{file}: {name}"), &found)?;
    }
    for name in &loaded.runs {
        say(format!("{file}: run {name} is valid by itself; its pipeline decides the rest"))?;
    }
    let ours = !loaded.pipelines.is_empty() || !loaded.runs.is_empty();
    if ours || !loaded.notes.is_empty() {
        return Ok(mistakes);
    }
    // Somebody wanted to know whether it is right, and it is not there.
    complain(format!("{file}: is empty; write an {KIND} or an {RUN_KIND}"))?;
    Ok(mistakes + 1)
}

fn weigh(pipelines: &Loaded) -> impl Iterator<Item = (&str, Feasibility)> {
    let streams = pipelines
        .streams
        .iter()
        .map(|one| (one.config.name.as_str(), Feasibility::of(&one.config)));
    let bulk = pipelines
        .bulk
        .iter()
        .map(|one| (one.config.name.as_str(), Feasibility::of_bulk(&one.config)));
    streams.chain(bulk)
}

/// Prints what was found about one pipeline, and returns the number of mistakes.
fn tell(place: &str, found: &Feasibility) -> Result<u64, Failure> {
    for mistake in &found.mistakes {
        complain(format!("{place}: {mistake}"))?;
    }
    for warning in &found.warnings {
        say(format!("{place}: note: {warning}"))?;
    }
    if found.mistakes.is_empty() {
        say(format!("{place} is valid"))?;
    }
    Ok(found.mistakes.len() as u64)
}
