//! What conditions are made from, and what is said without news.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use tidegate_types::Reason;

use crate::status::{Answer, SCALING_ACTIVE, Verdict, answer, holds, said_before};
use crate::streaming::problems::Problem;
use crate::streaming::status_facts::StatusFacts;

pub(super) fn yes(message: &str) -> Answer {
    answer(Verdict::True, Reason::Ok, message)
}

pub(super) fn no(problem: &Problem) -> Answer {
    answer(Verdict::False, problem.reason, &*problem.message)
}

/// What was said before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Past<'a> {
    pub(super) previous: &'a [Condition],
}

impl Past<'_> {
    pub(super) fn is(self, kind: &str, verdict: Verdict) -> bool {
        holds(self.previous, kind, verdict)
    }

    /// What a condition said, when it said something.
    pub(super) fn answer(self, kind: &str) -> Option<Answer> {
        said_before(self.previous, kind)
    }
}

/// All that conditions are made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Evidence<'a> {
    pub(super) facts: &'a StatusFacts<'a>,
    pub(super) past: Past<'a>,
    pub(super) wrong: &'a [Problem],
    pub(super) now: Timestamp,
}

impl Evidence<'_> {
    pub(super) fn scaling_active(self) -> Answer {
        let Some(decisions) = self.facts.decisions else { return self.kept(SCALING_ACTIVE) };
        let (reason, message) = (decisions.scaling.reason, &*decisions.scaling.message);
        if decisions.scaling.is_step() {
            return answer(Verdict::True, reason, message);
        }
        if decisions.scaling.memory.is_none() || self.facts.is_suspended() {
            return answer(Verdict::False, reason, message);
        }
        if self.facts.agent_is_lost(self.now) {
            let stays = "what waits is not known: the number of workers stays";
            return answer(Verdict::Unknown, Reason::AgentUnreachable, stays);
        }
        // While the number stays, the last step's inputs and answer stay too.
        let last = self.past.answer(SCALING_ACTIVE).filter(|last| last.verdict == Verdict::True);
        last.unwrap_or_else(|| yes("the messages that wait decide"))
    }

    /// Nobody looks, or nobody has been heard for too long.
    pub(super) fn is_blind(self) -> bool {
        self.facts.deleting.is_none()
            && (self.facts.is_suspended() || self.facts.agent_is_lost(self.now))
    }

    /// What to say without news: what was said last, for as long as that can be taken for true.
    pub(super) fn kept(self, kind: &str) -> Answer {
        if self.facts.deleting.is_none() {
            if self.facts.is_suspended() {
                return answer(Verdict::Unknown, Reason::Suspended, "nobody looks while suspended");
            }
            if self.facts.agent_is_lost(self.now) {
                return answer(Verdict::Unknown, Reason::AgentUnreachable, SILENT);
            }
        }
        let unknown = || answer(Verdict::Unknown, Reason::Progressing, "not looked at yet");
        self.past.answer(kind).unwrap_or_else(unknown)
    }
}

/// Said when the agent is silent.
pub(super) const SILENT: &str = "the agent has not answered for a minute";
