//! Named steps of the commit protocol at which a test can kill the process.
//!
//! `TIDEGATE_FAILPOINT=<name>[:<n>]` kills with SIGKILL when the step is reached for the n-th time.
//! Only builds with debug assertions look; the shipped binary has none of it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Every step, in the order in which a batch meets them.
pub const STEPS: &[&str] = &[
    "claim.before_put",
    "claim.after_put",
    "window.loaded",
    "batch.judged",
    "batch.sealed",
    "files.before_finish",
    "files.after_finish",
    "dead_letters.file_written",
    "window.snapshot_written",
    "commit.before_put",
    "commit.after_put",
    "dead_letters.before_commit",
    "dead_letters.after_commit",
    "checkpoint.before",
    "checkpoint.after",
    "release.before_put",
    "release.after_put",
    "trim.before",
    "trim.after",
];

struct Armed {
    step: String,
    countdown: AtomicU64,
}

/// Dies here when the environment says so.
pub fn hit(step: &'static str) {
    debug_assert!(STEPS.contains(&step), "{step} is not in the list of steps");
    if cfg!(debug_assertions) && armed().is_some_and(|armed| armed.reached(step)) {
        kill_self();
    }
}

impl Armed {
    fn reached(&self, step: &str) -> bool {
        self.step == step && self.countdown.fetch_sub(1, Ordering::SeqCst) == 1
    }
}

fn armed() -> Option<&'static Armed> {
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    ARMED
        .get_or_init(|| {
            let text = std::env::var("TIDEGATE_FAILPOINT").ok()?;
            let (step, count) = text.split_once(':').unwrap_or((&text, "1"));
            let countdown = AtomicU64::new(count.parse().unwrap_or(1));
            Some(Armed { step: step.to_owned(), countdown })
        })
        .as_ref()
}

/// SIGKILL needs `unsafe` in-process, so `kill` sends it; nothing of ours runs meanwhile.
fn kill_self() {
    let pid = std::process::id().to_string();
    let _ = std::process::Command::new("kill").args(["-9", &pid]).status();
    std::process::abort();
}
