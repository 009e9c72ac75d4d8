//! The conditions about the pipeline as a whole: kstatus' three and whether its spec is what runs.

use tidegate_api::ScalingMode;
use tidegate_types::Reason;

use super::{Answer, READY, SILENT, SPEC_ACCEPTED, STALLED, Scene, Verdict, answer, find, no, yes};
use crate::pipeline::outlook::Outlook;
use crate::pipeline::problems::worst;

const ROLLING: &str = "pods are being replaced by newer ones";

impl Scene<'_> {
    pub(super) fn ready(self) -> Answer {
        if let Some(deleting) = self.facts.deleting {
            return answer(Verdict::False, Reason::Deleting, deleting);
        }
        if let Some(failure) = self.facts.failure {
            let before = self.past.answer(READY);
            let lasting = failure.reason != Reason::ApiUnavailable;
            // While the API server is out of reach nothing is known to have changed.
            return before
                .filter(|_| !lasting)
                .unwrap_or_else(|| answer(Verdict::False, failure.reason, &*failure.message));
        }
        if self.facts.pipeline.is_none() {
            return match self.facts.rejection {
                Some(rejection) => answer(Verdict::False, rejection.reason, &*rejection.message),
                None => answer(Verdict::Unknown, Reason::Progressing, "not looked at yet"),
            };
        }
        if self.facts.is_suspended() {
            let goes_on = "suspended by spec.suspend; it goes on where the log stands";
            return answer(Verdict::False, Reason::Suspended, goes_on);
        }
        worst(self.wrong).map_or_else(|| self.ready_unless_under_way(), no)
    }

    /// Nothing is wrong: is it there?
    pub(super) fn ready_unless_under_way(self) -> Answer {
        let was_ready = self.past.is(READY, Verdict::True);
        let same = find(self.past.previous, READY)
            .is_some_and(|before| before.observed_generation == Some(self.facts.generation));
        if self.facts.is_rolling() && !(was_ready && same) {
            return answer(Verdict::False, Reason::RollingOut, ROLLING);
        }
        if self.facts.agent_is_lost(self.now) {
            return answer(Verdict::Unknown, Reason::AgentUnreachable, SILENT);
        }
        let arrived = self.facts.is_settled() && self.facts.agent().is_some();
        if !was_ready && !arrived {
            return answer(
                Verdict::False,
                Reason::Progressing,
                "its objects and pods are being made",
            );
        }
        self.is_ready()
    }

    pub(super) fn is_ready(self) -> Answer {
        if let Some(rejection) = self.facts.rejection {
            let message = format!(
                "runs as accepted before; the last edit was refused: {}",
                rejection.message
            );
            return answer(Verdict::True, rejection.reason, message);
        }
        match (self.facts.replicas(), self.facts.mode()) {
            (0, ScalingMode::Lag) => {
                answer(Verdict::True, Reason::ScaledToZero, "no worker runs because nothing waits")
            }
            (0, ScalingMode::Fixed) => {
                answer(Verdict::True, Reason::ScalingFixed, "spec.replicas is 0: no worker runs")
            }
            (0, ScalingMode::External) => answer(
                Verdict::True,
                Reason::ScaledExternally,
                "spec.replicas is 0: no worker runs",
            ),
            _ => yes("workers read"),
        }
    }

    pub(super) fn reconciling(self) -> Option<Answer> {
        let facts = self.facts;
        let so = |reason, message: &str| Some(answer(Verdict::True, reason, message));
        if let Some(deleting) = facts.deleting {
            return so(Reason::Deleting, deleting);
        }
        facts.pipeline?;
        if facts.is_rolling() {
            return so(Reason::RollingOut, ROLLING);
        }
        if facts.decisions.is_some_and(|decisions| decisions.hold_templates) {
            return so(
                Reason::RolloutQueued,
                "pods of the new release wait until other pipelines have theirs",
            );
        }
        if facts.is_suspended() {
            let leaving = facts.observed.workers.existing > 0 || facts.observed.agent.existing > 0;
            return leaving
                .then(|| answer(Verdict::True, Reason::Suspended, "pods commit and leave"));
        }
        let was_ready = self.past.is(READY, Verdict::True);
        let arrived = was_ready || facts.is_settled();
        (!arrived && self.wrong.is_empty()).then(|| {
            answer(Verdict::True, Reason::Progressing, "its objects and pods are being made")
        })
    }

    pub(super) fn stalled(self) -> Option<Answer> {
        if self.facts.deleting.is_some() {
            return None;
        }
        if self.facts.decisions.is_none() && self.facts.failure.is_some() {
            // It did not come so far as to look.
            return self.past.answer(STALLED);
        }
        let so = |reason, message: &str| answer(Verdict::True, reason, message);
        if let Some(problem) = worst(self.wrong).filter(|p| p.outlook() == Outlook::Stalled) {
            return Some(so(problem.reason, &problem.message));
        }
        // Whatever its reason: this generation is not run until somebody edits it or what it names.
        self.facts.rejection.map(|rejection| so(rejection.reason, &rejection.message))
    }

    pub(super) fn spec_accepted(self) -> Answer {
        match (self.facts.rejection, self.facts.pipeline) {
            (Some(rejection), _) => answer(Verdict::False, rejection.reason, &*rejection.message),
            (None, Some(_)) => yes("this generation is what runs"),
            (None, None) => self.kept(SPEC_ACCEPTED),
        }
    }
}
