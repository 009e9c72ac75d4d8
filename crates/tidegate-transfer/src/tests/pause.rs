//! A run that waits at a step until it is told to go on.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// A wait, the first time that the step is reached.
#[derive(Debug)]
pub(crate) struct Pause {
    at: &'static str,
    passed: AtomicBool,
    reached: Notify,
    go: Notify,
}

impl Pause {
    pub(crate) fn at(step: &'static str) -> Self {
        Self { at: step, passed: AtomicBool::new(false), reached: Notify::new(), go: Notify::new() }
    }

    /// A run reaches a step.
    pub(crate) async fn reach(&self, step: &'static str) {
        if self.at == step && !self.passed.swap(true, Ordering::SeqCst) {
            self.reached.notify_one();
            self.go.notified().await;
        }
    }

    /// Waits until the run does.
    pub(super) async fn reached(&self) {
        self.reached.notified().await;
    }

    /// Lets it go on.
    pub(super) fn go(&self) {
        self.go.notify_one();
    }
}
