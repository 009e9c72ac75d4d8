//! Folders for one test each.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::paths::workspace;

/// A folder under `target/tmp`. It goes away with the value, unless the test is failing: then it stays
/// and its path is printed, because logs and data in it tell what happened.
#[derive(Debug)]
pub struct Scratch {
    folder: Option<TempDir>,
    path: PathBuf,
}

impl Scratch {
    /// A new folder; `name` is the beginning of its name.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn new(name: &str) -> Result<Self> {
        let parent = workspace().join("target/tmp");
        fs::create_dir_all(&parent).with_context(|| format!("make {}", parent.display()))?;
        let folder = tempfile::Builder::new()
            .prefix(&format!("{name}-"))
            .tempdir_in(&parent)
            .with_context(|| format!("make a folder in {}", parent.display()))?;
        let path = folder.path().to_path_buf();
        Ok(Self { folder: Some(folder), path })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path in the folder; nothing is made.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The `file://` address of a path in the folder.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        format!("file://{}", self.join(name).display())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            let kept = folder.keep();
            #[expect(clippy::print_stderr, reason = "the test's output is where it is looked for")]
            {
                eprintln!("kept for a look: {}", kept.display());
            }
        }
    }
}

/// Copies a folder with everything in it, for backups of a store and damaged copies of a table.
///
/// # Errors
///
/// When something cannot be read or written.
pub fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scratch_folder_goes_away_with_its_value() {
        let scratch = Scratch::new("gone").unwrap();
        let path = scratch.path().to_path_buf();
        assert!(path.is_dir());
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn a_scratch_folder_stays_when_the_test_fails() {
        let path = std::thread::spawn(|| {
            let scratch = Scratch::new("kept").unwrap();
            std::panic::panic_any(scratch.path().to_path_buf());
        });
        let _ = path.join();
        let parent = workspace().join("target/tmp");
        let kept: Vec<_> = fs::read_dir(parent)
            .unwrap()
            .filter_map(Result::ok)
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("kept-"))
            .collect();
        assert!(!kept.is_empty());
        for entry in kept {
            fs::remove_dir_all(entry.path()).unwrap();
        }
    }

    #[test]
    fn a_copied_folder_has_the_same_files() {
        let scratch = Scratch::new("copy").unwrap();
        fs::create_dir_all(scratch.join("a/b")).unwrap();
        fs::write(scratch.join("a/b/c"), "text").unwrap();
        copy_folder(&scratch.join("a"), &scratch.join("z")).unwrap();
        assert_eq!(fs::read_to_string(scratch.join("z/b/c")).unwrap(), "text");
    }
}
