//! Named steps of the commit protocol at which a test can kill the process.
//!
//! `TIDEGATE_FAILPOINT=<name>[:<n>[:freeze]]` kills with SIGKILL when the step is reached for the n-th
//! time, or with `freeze` stops by SIGSTOP: a zombie that goes on at SIGCONT as if nothing had been.
//! Only builds with debug assertions look; the shipped binary has none of it.

use std::hint::black_box;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_types::Message;

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

/// Every step of a bulk run, in the order in which it meets them.
pub const RUN_STEPS: &[&str] = &[
    "run.claimed",
    "run.snapshot_opened",
    "run.planned",
    "run.chunk_read",
    "run.chunk_written",
    "run.files_finished",
    "run.before_verify",
    "run.before_put",
    "run.after_put",
    "run.before_dead_letters",
    "run.after_dead_letters",
];

struct Armed {
    step: String,
    countdown: AtomicU64,
    freeze: bool,
}

/// Dies or freezes here when the environment says so.
pub fn hit(step: &'static str) {
    let known = STEPS.contains(&step) || RUN_STEPS.contains(&step);
    debug_assert!(known, "{step} is not in the lists of steps");
    if !cfg!(debug_assertions) {
        return;
    }
    match armed().filter(|armed| armed.reached(step)) {
        Some(armed) if armed.freeze => send_self("STOP"),
        Some(_) => {
            send_self("KILL");
            std::process::abort();
        }
        None => {}
    }
}

/// Dies of a message as a decoder with a defect would. `TIDEGATE_CRASH_ON=<text>`: of one whose payload
/// holds `<text>` followed by ` abort`, ` panic`, ` memory` (asks for more than the process of its own
/// has, and where it gets that, as in a worker, the kernel kills for it) or ` loop`.
pub fn crash_on(messages: &[Message]) {
    static MARK: OnceLock<Option<String>> = OnceLock::new();
    if !cfg!(debug_assertions) {
        return;
    }
    let Some(mark) = MARK.get_or_init(|| std::env::var("TIDEGATE_CRASH_ON").ok()) else { return };
    for message in messages {
        let payload = String::from_utf8_lossy(&message.payload);
        let Some((_, rest)) = payload.split_once(mark.as_str()) else { continue };
        match rest.split(|c: char| c != ' ' && !c.is_ascii_alphabetic()).next() {
            Some(" panic") => panic!("{mark}"),
            Some(" memory") => ask_for_memory(),
            Some(" loop") => loop {
                black_box(mark);
            },
            _ => std::process::abort(),
        }
    }
}

/// Untouched, so that a machine without limits does not notice.
fn ask_for_memory() {
    let mut much = Vec::<u8>::new();
    let granted = much.try_reserve_exact(4 << 30).is_ok();
    black_box(&much);
    if granted && std::env::args().nth(1).as_deref() == Some("decode-probe") {
        return;
    }
    send_self("KILL");
    std::process::abort();
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
            let mut parts = text.split(':');
            let step = parts.next()?.to_owned();
            let count = parts.next().and_then(|count| count.parse().ok()).unwrap_or(1);
            let freeze = parts.next() == Some("freeze");
            Some(Armed { step, countdown: AtomicU64::new(count), freeze })
        })
        .as_ref()
}

/// A signal needs `unsafe` in-process, so `kill` sends it; the task that met the step waits meanwhile.
fn send_self(signal: &str) {
    let pid = std::process::id().to_string();
    let _ = std::process::Command::new("kill").args(["-s", signal, &pid]).status();
}
