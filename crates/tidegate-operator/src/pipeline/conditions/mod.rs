//! The conditions: one pure function from facts.
//!
//! Every condition that follows is always there, but for `Reconciling` and `Stalled`, which are there only
//! when True (so wants kstatus). `Unknown` means that the operator cannot tell: nobody has looked yet
//! (`Progressing`), the agent has been silent for a minute (`AgentUnreachable`; up to then what was said
//! last stands), or the pipeline is suspended and nobody looks (`Suspended`). `observedGeneration` is
//! always the resource's, `lastTransitionTime` moves with `status` alone. Messages carry no numbers that
//! move by themselves; those stand in the status beside.
//!
//! | type | True | False |
//! |---|---|---|
//! | `Ready` | it does what this generation asks for, or what the last good one asked for when this was refused (then with the reason of the refusal). Scaled to zero by lag is ready | it does not, and why; also while pods are replaced or added because of an edit, and until every partition was claimed once. Unknown when only the agent is silent |
//! | `Reconciling` | objects are made, pods replaced, new templates wait for their turn, or this generation waits for something that it names | (absent) |
//! | `Stalled` | it does not go on before somebody decides or mends something, or this generation was refused | (absent) |
//! | `SpecAccepted` | this generation is what runs | it was refused; what was accepted last goes on |
//! | `SourceReachable` | the broker answers, and the stream is there, whole, safe and the one the log knows | why not |
//! | `SourceDurable` | the broker keeps what it acknowledged when a server crashes | it may not. Never a reason not to run |
//! | `SinkReachable` | the store answers, and the table is the one the ledger knows | why not |
//! | `GuaranteeMet` | the path gives what `spec.guarantee` asks for | it does not; the message names the weakest hop |
//! | `CaughtUp` | what waits is younger than two flush intervals (at least a minute) and than `objectives.freshness` | `Behind`, or `Late` against the objective |
//! | `DeadLettering` | records became dead letters in the last fifteen minutes | none did |
//! | `ScalingActive` | the operator finds the number of workers by lag; reason and message are those of the last step | somebody else does, or nobody: `ScalingFixed`, `ScaledExternally`, `Suspended` |
//!
//! For kstatus that makes: suspended, starting and retried `InProgress`, `Stalled` `Failed`, else
//! `Current`. A pipeline that is scaled by lag stays `Current` while workers come and go.

mod path;
mod ready;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use tidegate_types::Reason;

use crate::pipeline::message::bounded;
use crate::pipeline::problems::{Problem, problems};
use crate::pipeline::scaling::is_step;
use crate::pipeline::status_facts::StatusFacts;

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It does.
    True,
    /// It does not.
    False,
    /// That is not known.
    Unknown,
}

impl Verdict {
    /// The word in the condition.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// The types, in the order in which they stand in the status.
pub(crate) const READY: &str = "Ready";
pub(crate) const RECONCILING: &str = "Reconciling";
pub(crate) const STALLED: &str = "Stalled";
pub(crate) const SPEC_ACCEPTED: &str = "SpecAccepted";
pub(crate) const SOURCE_REACHABLE: &str = "SourceReachable";
pub(crate) const SOURCE_DURABLE: &str = "SourceDurable";
pub(crate) const SINK_REACHABLE: &str = "SinkReachable";
pub(crate) const GUARANTEE_MET: &str = "GuaranteeMet";
pub(crate) const CAUGHT_UP: &str = "CaughtUp";
/// Of runs and bulk pipelines alone.
pub(crate) const INTERVALS_CURRENT: &str = "IntervalsCurrent";
pub(crate) const DEAD_LETTERING: &str = "DeadLettering";
pub(crate) const SCALING_ACTIVE: &str = "ScalingActive";

/// All conditions of a pipeline. See the module for what each one means.
pub(crate) fn conditions(
    facts: &StatusFacts<'_>,
    previous: &[Condition],
    now: Timestamp,
) -> Vec<Condition> {
    let past = Past { previous };
    let patient = past.is(READY, Verdict::True);
    let wrong = problems(facts, patient, now);
    let scene = Scene { facts, past, wrong: &wrong, now };
    let stalled = scene.stalled();
    let found = [
        (READY, Some(scene.ready())),
        // kstatus looks at Reconciling first: it would hide that nothing goes on.
        (RECONCILING, if stalled.is_none() { scene.reconciling() } else { None }),
        (STALLED, stalled),
        (SPEC_ACCEPTED, Some(scene.spec_accepted())),
        (SOURCE_REACHABLE, Some(scene.source_reachable())),
        (SOURCE_DURABLE, Some(scene.source_durable())),
        (SINK_REACHABLE, Some(scene.sink_reachable())),
        (GUARANTEE_MET, Some(scene.guarantee_met())),
        (CAUGHT_UP, Some(scene.caught_up())),
        (DEAD_LETTERING, Some(scene.dead_lettering())),
        (SCALING_ACTIVE, Some(scene.scaling_active())),
    ];
    let present = found.into_iter().filter_map(|(kind, answer)| Some((kind, answer?)));
    present.map(|(kind, answer)| scene.condition(kind, answer)).collect()
}

/// A condition that says so of a generation; since when, the one before it tells.
pub(crate) fn condition(
    kind: &str,
    (verdict, reason, message): (Verdict, Reason, &str),
    generation: i64,
    previous: &[Condition],
    now: Timestamp,
) -> Condition {
    let status = verdict.as_str();
    let before = find(previous, kind).filter(|before| before.status == status);
    let since = before.map_or_else(|| whole_seconds(now), |before| before.last_transition_time.0);
    Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.as_str().to_owned(),
        message: bounded(message),
        last_transition_time: Time(since),
        observed_generation: Some(generation),
    }
}

/// The condition of a type.
pub(crate) fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// What a condition says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    verdict: Verdict,
    reason: Reason,
    message: String,
}

fn answer(verdict: Verdict, reason: Reason, message: impl Into<String>) -> Answer {
    Answer { verdict, reason, message: message.into() }
}

fn yes(message: &str) -> Answer {
    answer(Verdict::True, Reason::Ok, message)
}

fn no(problem: &Problem) -> Answer {
    answer(Verdict::False, problem.reason, &*problem.message)
}

/// What was said before.
#[derive(Debug, Clone, Copy)]
struct Past<'a> {
    previous: &'a [Condition],
}

impl Past<'_> {
    fn is(self, kind: &str, verdict: Verdict) -> bool {
        find(self.previous, kind).is_some_and(|condition| condition.status == verdict.as_str())
    }

    /// What a condition said, when it said something.
    fn answer(self, kind: &str) -> Option<Answer> {
        let before = find(self.previous, kind)?;
        let verdict = [Verdict::True, Verdict::False]
            .into_iter()
            .find(|verdict| verdict.as_str() == before.status)?;
        Some(answer(verdict, Reason::from_word(&before.reason)?, &*before.message))
    }
}

#[derive(Debug, Clone, Copy)]
struct Scene<'a> {
    facts: &'a StatusFacts<'a>,
    past: Past<'a>,
    wrong: &'a [Problem],
    now: Timestamp,
}

impl Scene<'_> {
    fn condition(self, kind: &str, answer: Answer) -> Condition {
        let said = (answer.verdict, answer.reason, &*answer.message);
        condition(kind, said, self.facts.generation, self.past.previous, self.now)
    }

    fn scaling_active(self) -> Answer {
        let Some(decisions) = self.facts.decisions else { return self.kept(SCALING_ACTIVE) };
        let (reason, message) = (decisions.scaling.reason, &*decisions.scaling.message);
        if is_step(reason) {
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
    fn is_blind(self) -> bool {
        self.facts.deleting.is_none()
            && (self.facts.is_suspended() || self.facts.agent_is_lost(self.now))
    }

    /// What to say without news: what was said last, for as long as that can be taken for true.
    fn kept(self, kind: &str) -> Answer {
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

const SILENT: &str = "the agent has not answered for a minute";

/// Kubernetes keeps whole seconds; a finer instant would differ from what is read back.
pub(crate) fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
mod tests;
