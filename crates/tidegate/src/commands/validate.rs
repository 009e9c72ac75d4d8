//! `tidegate validate`: is this a pipeline, and can it keep what it promises?

use std::path::PathBuf;

use clap::Args;

use crate::documents::{ChangeArgs, load_file};
use crate::failure::{Failure, code};
use crate::output::{complain, count, say};

/// Check files with pipelines: every mistake with its place and what to write instead.
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
    for file in &args.files {
        match load_file(file, &args.changes)? {
            Ok(loaded) => {
                for note in &loaded.notes {
                    say(note)?;
                }
                for pipeline in &loaded.pipelines {
                    say(format!("{}: {} is valid", file.display(), pipeline.config.name))?;
                }
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
