//! A small file system that can be filled to the brim.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

/// So often in a row there must be no room.
const REFUSALS: u32 = 5;
/// In between.
const PAUSE: Duration = Duration::from_millis(20);

/// A small file system of its own; unmounted with the value.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of two megabytes; none where this process may not mount anything.
    ///
    /// # Errors
    ///
    /// When the folder cannot be made.
    pub fn mount(at: &Path) -> Result<Option<Self>> {
        fs::create_dir_all(at).with_context(|| format!("make {}", at.display()))?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(at);
        let mounted = mount.status().is_ok_and(|status| status.success());
        Ok(mounted.then(|| Self(at.to_path_buf())))
    }

    /// Takes all the space but about so many bytes.
    ///
    /// # Errors
    ///
    /// When the file that takes it cannot be made.
    pub fn fill(&self, left: u64) -> Result<()> {
        let mut filler = fs::File::create(self.filler()).context("make the file that fills")?;
        // Pages of files that somebody just closed may come free a moment later.
        for _ in 0..REFUSALS {
            while filler.write_all(&[7; 4096]).is_ok() {}
            std::thread::sleep(PAUSE);
        }
        let full = filler.metadata().context("ask how large it became")?.len();
        filler.set_len(full.saturating_sub(left)).context("leave some room")
    }

    /// Gives the space back.
    ///
    /// # Errors
    ///
    /// When it was not filled.
    pub fn free(&self) -> Result<()> {
        fs::remove_file(self.filler()).context("remove the file that fills")
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whoever still holds a file there keeps it until it ends.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
