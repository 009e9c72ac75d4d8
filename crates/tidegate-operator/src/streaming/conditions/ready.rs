//! The conditions about the pipeline as a whole: kstatus' three and whether its spec is what runs.

use tidegate_api::ScalingMode;
use tidegate_types::Reason;

use super::evidence::{Evidence, SILENT, no, yes};
use crate::status::{
    Answer, Outlook, READY, SPEC_ACCEPTED, STALLED, Verdict, answer, find, outlook,
};
use crate::streaming::problems::worst;

const MADE: &str = "its objects and pods are being made";
const ROLLING: &str = "pods are being replaced by newer ones";

impl Evidence<'_> {
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
        if let Some(rejection) = self.facts.rejection.filter(|_| self.facts.withheld) {
            return answer(Verdict::False, rejection.reason, &*rejection.message);
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
        // Somebody else's number is a new generation each time, and no more an edit than one by lag.
        let stays = was_ready && (same || self.facts.mode() == ScalingMode::External);
        match self.outstanding().filter(|_| !stays) {
            Some(what) => answer(Verdict::False, Reason::Progressing, what),
            None => self.is_ready(),
        }
    }

    /// What has to come before a generation is ready for the first time.
    fn outstanding(self) -> Option<&'static str> {
        if !self.facts.is_settled() || self.facts.agent().is_none() {
            return Some(MADE);
        }
        let unclaimed = self.facts.replicas() > 0 && !self.facts.has_begun();
        unclaimed.then_some("the workers' first claim, which says where reading begins, is to come")
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
        if let Some(rejection) = facts.rejection.filter(|it| outlook(it.reason) != Outlook::Stalled)
        {
            return so(rejection.reason, &rejection.message);
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
        let ready = self.ready();
        let under_way = ready.verdict == Verdict::False && ready.reason == Reason::Progressing;
        (under_way && self.wrong.is_empty()).then_some(Answer { verdict: Verdict::True, ..ready })
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
        // This generation is not run until somebody edits it. One that waits for what it names is none.
        let refused = self.facts.rejection.filter(|it| outlook(it.reason) == Outlook::Stalled);
        refused.map(|rejection| so(rejection.reason, &rejection.message))
    }

    pub(super) fn spec_accepted(self) -> Answer {
        match (self.facts.rejection, self.facts.pipeline) {
            (Some(rejection), _) => answer(Verdict::False, rejection.reason, &*rejection.message),
            (None, Some(_)) => yes("this generation is what runs"),
            (None, None) => self.kept(SPEC_ACCEPTED),
        }
    }
}
