//! Nothing outlives the tests.
//!
//! Values that own processes end them when they are dropped. A test process that is killed, and statics,
//! drop nothing: for them a shell of its own process group listens on a pipe that only the test process
//! holds. When the pipe ends, so do the processes named in it, and folders that nobody needs are removed.

use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

/// A file in a folder that is to stay, because a test failed in it.
pub(crate) const KEEP: &str = "keep";

/// Processes are known by their number and the moment at which they began: numbers are given again, and
/// nobody else's process may die.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
watched=' ' folders=''
began() {
    read -r line < "/proc/$1/stat" || return
    # Behind the name in brackets, which may hold anything, the twentieth word.
    set -- ${line##*) }
    echo "${20}"
}
while read -r word value; do
    case $word in
        watch) watched="$watched$value " ;;
        release)
            case $watched in *" $value "*) watched="${watched%% "$value" *} ${watched#* "$value" }" ;; esac
            ;;
        remove) folders="$folders $value" ;;
    esac
done
for one in $watched; do
    [ "$(began "${one%%@*}")" != "${one##*@}" ] || kill -9 "${one%%@*}"
done
for folder in $folders; do
    # What was just killed may still be writing.
    for attempt in 1 2 3 4 5; do
        [ -e "$folder/keep" ] || rm -rf "$folder" 2>/dev/null && break
        sleep 0.2
    done
done
"#;

static PIPE: OnceLock<Option<Mutex<ChildStdin>>> = OnceLock::new();

/// A process that dies with this one, for as long as the value lives.
#[derive(Debug)]
pub(crate) struct Watched(Option<String>);

impl Watched {
    /// The process must have been started just now, and not been waited for.
    pub(crate) fn new(process_id: u32) -> Self {
        let watched = began(process_id).map(|began| format!("{process_id}@{began}"));
        if let Some(watched) = &watched {
            say(&format!("watch {watched}"));
        }
        Self(watched)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(watched) = &self.0 {
            say(&format!("release {watched}"));
        }
    }
}

/// When a process began, in the kernel's ticks; none where the kernel does not say.
fn began(process_id: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process_id}/stat")).ok()?;
    let (_, behind_the_name) = stat.rsplit_once(") ")?;
    behind_the_name.split(' ').nth(19).map(str::to_owned)
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
    async fn at_the_end_of_the_pipe_watched_processes_die_and_others_live() {
        let scratch = Scratch::new("guard").unwrap();
        let (kept, removed) = (scratch.join("kept"), scratch.join("removed"));
        for folder in [&kept, &removed] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(kept.join(KEEP), "").unwrap();
        let mut children = [(); 4].map(|()| sleeper());
        let known = children.each_ref().map(|child| {
            let id = child.id();
            format!("{id}@{}", began(id).unwrap())
        });
        let [first, released, last, another] = &mut children;
        let pipe = start().unwrap();
        for line in [
            format!("watch {}\nwatch {}\nwatch {}", known[0], known[1], known[2]),
            // The number of one that ended long ago.
            format!("watch {}@1", another.id()),
            format!("release {}", known[1]),
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
        assert!(kept.exists());
        for child in [released, another] {
            assert!(child.try_wait().unwrap().is_none());
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
