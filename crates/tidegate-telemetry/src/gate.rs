//! What a process waits for before it is ready, and a loop that has to go round.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::{LoopState, Watched};

/// One condition of readiness, with words for what is waited for. Its silence counts from the first
/// beat on; a gate that never beats is only ready or not.
#[derive(Debug)]
pub struct Gate {
    waits_for: Mutex<String>,
    state: LoopState,
}

impl Gate {
    /// Closed.
    #[must_use]
    pub fn closed(waits_for: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { waits_for: Mutex::new(waits_for.into()), state: LoopState::new() })
    }

    /// What was waited for is there.
    pub fn open(&self) {
        self.state.set_ready(true);
    }

    /// Something is waited for.
    pub fn close(&self, waits_for: impl Into<String>) {
        *self.waits_for.lock().unwrap_or_else(PoisonError::into_inner) = waits_for.into();
        self.state.set_ready(false);
    }

    /// Whether it is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state.is_ready()
    }

    /// The loop went round.
    pub fn beat(&self) {
        self.state.beat(Instant::now());
    }

    /// The loop ended as it should.
    pub fn finish(&self) {
        self.state.finish(true);
    }
}

impl Watched for Gate {
    fn name(&self) -> String {
        self.waits_for.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn health(&self) -> &LoopState {
        &self.state
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Health;

    #[test]
    fn a_closed_gate_says_what_it_waits_for_and_only_a_beating_one_can_fall_silent() {
        let health = Health::new(Duration::from_secs(60));
        let gate = Gate::closed("the first list");
        health.watch(gate.clone());
        let later = Instant::now() + Duration::from_secs(600);
        assert_eq!(health.report(later).unready, ["the first list"]);
        gate.open();
        assert_eq!(health.report(later), crate::HealthReport::default());
        gate.close("the definition");
        assert_eq!(health.report(later).unready, ["the definition"]);
        gate.beat();
        assert_eq!(health.report(later).silent, ["the definition"]);
    }
}
