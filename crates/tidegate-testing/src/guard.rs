//! Nothing outlives the tests.
//!
//! Values that own processes end them when they are dropped. A test process that is killed, and statics,
//! drop nothing: for them a shell of its own process group listens on a pipe that only the test process
//! holds. When the pipe ends, so do the processes named in it, and folders that nobody needs are removed.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

/// A file in a folder that is to stay, because a test failed in it.
pub(crate) const KEEP: &str = "keep";

const SCRIPT: &str = r#"
trap '' INT TERM HUP
pids=' ' folders=''
while read -r word value; do
    case $word in
        watch) pids="$pids$value " ;;
        release) case $pids in *" $value "*) pids="${pids%% "$value" *} ${pids#* "$value" }" ;; esac ;;
        remove) folders="$folders $value" ;;
    esac
done
[ "$pids" = ' ' ] || kill -9 $pids 2>/dev/null
for folder in $folders; do
    # What was just killed may still be writing.
    for attempt in 1 2 3 4 5; do
        [ -e "$folder/keep" ] || rm -rf "$folder" 2>/dev/null && break
        sleep 0.2
    done
done
"#;

static PIPE: OnceLock<Option<Mutex<ChildStdin>>> = OnceLock::new();

/// From now on the process dies with this one.
pub(crate) fn watch(process_id: u32) {
    say(&format!("watch {process_id}"));
}

/// The process has ended; another one may get its number.
pub(crate) fn release(process_id: u32) {
    say(&format!("release {process_id}"));
}

/// The folder is removed at the end of this process, unless a file [`KEEP`] stands in it.
pub(crate) fn remove_at_end(folder: &Path) {
    say(&format!("remove {}", folder.display()));
}

fn say(line: &str) {
    let Some(pipe) = PIPE.get_or_init(start) else { return };
    let mut pipe = pipe.lock().unwrap_or_else(PoisonError::into_inner);
    // Without the guard the tests still run; only what they leave behind is more.
    let _ = writeln!(pipe, "{line}");
}

fn start() -> Option<Mutex<ChildStdin>> {
    let guard = Command::new("sh")
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl-C in a terminal reaches the group of the tests, not this one.
        .process_group(0)
        .spawn();
    guard.ok()?.stdin.map(Mutex::new)
}

#[cfg(test)]
mod tests {
    use std::process::Child;
    use std::time::Duration;

    use super::*;
    use crate::{Scratch, eventually};

    fn sleeper() -> Child {
        Command::new("sleep").arg("1000").spawn().unwrap()
    }

    #[tokio::test]
    async fn at_the_end_of_the_pipe_watched_processes_die_and_released_ones_live() {
        let scratch = Scratch::new("guard").unwrap();
        let (kept, removed) = (scratch.join("kept"), scratch.join("removed"));
        for folder in [&kept, &removed] {
            std::fs::create_dir(folder).unwrap();
        }
        std::fs::write(kept.join(KEEP), "").unwrap();
        let (mut first, mut released, mut last) = (sleeper(), sleeper(), sleeper());
        let pipe = start().unwrap();
        let ids = [first.id(), released.id(), last.id()];
        for line in [
            format!("watch {}\nwatch {}\nwatch {}", ids[0], ids[1], ids[2]),
            format!("release {}", ids[1]),
            format!("remove {}\nremove {}", kept.display(), removed.display()),
        ] {
            writeln!(pipe.lock().unwrap(), "{line}").unwrap();
        }
        drop(pipe);
        let gone = async || {
            first.try_wait().unwrap().is_some()
                && last.try_wait().unwrap().is_some()
                && !removed.exists()
        };
        eventually("the guard has done its work", Duration::from_secs(20), gone).await.unwrap();
        assert!(released.try_wait().unwrap().is_none() && kept.exists());
        released.kill().unwrap();
        released.wait().unwrap();
    }
}
