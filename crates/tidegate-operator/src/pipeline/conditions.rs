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
//! | `Ready` | it does what this generation asks for, or what the last good one asked for when this was refused (then with the reason of the refusal). Scaled to zero by lag is ready | it does not, and why; also while pods are replaced because of an edit. Unknown when only the agent is silent |
//! | `Reconciling` | objects are made, pods replaced, or new templates wait for their turn | (absent) |
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

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use tidegate_api::ScalingMode;
use tidegate_config::State;
use tidegate_types::{Reason, Span};

use super::message::bounded;
use super::outlook::{Outlook, Part, known, outlook};
use super::problems::{Problem, problems, worst, worst_of};
use super::scaling::is_step;
use super::status_facts::StatusFacts;

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
        Some(answer(verdict, known(&before.reason)?, &*before.message))
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
        let status = answer.verdict.as_str();
        let before = find(self.past.previous, kind).filter(|before| before.status == status);
        let since =
            before.map_or_else(|| whole_seconds(self.now), |before| before.last_transition_time.0);
        Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: answer.reason.as_str().to_owned(),
            message: bounded(&answer.message),
            last_transition_time: Time(since),
            observed_generation: Some(self.facts.generation),
        }
    }

    fn ready(self) -> Answer {
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
    fn ready_unless_under_way(self) -> Answer {
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

    fn is_ready(self) -> Answer {
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

    fn reconciling(self) -> Option<Answer> {
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

    fn stalled(self) -> Option<Answer> {
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

    fn spec_accepted(self) -> Answer {
        match (self.facts.rejection, self.facts.pipeline) {
            (Some(rejection), _) => answer(Verdict::False, rejection.reason, &*rejection.message),
            (None, Some(_)) => yes("this generation is what runs"),
            (None, None) => self.kept(SPEC_ACCEPTED),
        }
    }

    fn source_reachable(self) -> Answer {
        let agent = self.facts.agent();
        let found = self.reachable(
            SOURCE_REACHABLE,
            Part::Source,
            agent.and_then(|agent| agent.source.as_ref()),
            "the stream is there and whole",
        );
        // That somebody else keeps it from being trimmed does no harm now, and fills it in the end.
        let blocked = Reason::TrimBlocked;
        let trim = agent.and_then(|agent| agent.trim.as_ref());
        match trim.filter(|trim| found.reason == Reason::Ok && known(&trim.reason) == Some(blocked))
        {
            Some(trim) => answer(Verdict::True, blocked, &*trim.message),
            None => found,
        }
    }

    fn sink_reachable(self) -> Answer {
        self.reachable(
            SINK_REACHABLE,
            Part::Sink,
            self.facts.agent().and_then(|agent| agent.sink.as_ref()),
            "the table is there and the ledger's",
        )
    }

    /// The agent's word, unless somebody says that this very part is wrong.
    fn reachable(self, kind: &str, about: Part, state: Option<&State>, well: &str) -> Answer {
        if let Some(problem) = worst_of(self.wrong, about) {
            return no(problem);
        }
        match state.and_then(|state| Some((known(&state.reason)?, &state.message))) {
            Some(_) if self.is_blind() => self.kept(kind),
            None => self.kept(kind),
            Some((Reason::Ok, _)) => yes(well),
            Some((reason, message)) if outlook(reason) == Outlook::Well => {
                answer(Verdict::True, reason, &**message)
            }
            Some((reason, message)) => answer(Verdict::False, reason, &**message),
        }
    }

    fn source_durable(self) -> Answer {
        let state = self.facts.agent().and_then(|agent| agent.durable.as_ref());
        match state.and_then(|state| Some((known(&state.reason)?, &state.message))) {
            Some(_) if self.is_blind() => self.kept(SOURCE_DURABLE),
            None => self.kept(SOURCE_DURABLE),
            Some((Reason::Ok, _)) => yes("the broker keeps what it acknowledged"),
            Some((reason, message)) => answer(Verdict::False, reason, &**message),
        }
    }

    fn guarantee_met(self) -> Answer {
        if let Some(problem) = worst_of(self.wrong, Part::Guarantee) {
            return no(problem);
        }
        let report = self.facts.agent().and_then(|agent| agent.guarantee.as_ref());
        match report {
            Some(_) if !self.is_blind() => yes("the path gives what is asked for"),
            _ => self.kept(GUARANTEE_MET),
        }
    }

    fn caught_up(self) -> Answer {
        let lag = self.facts.agent().and_then(|agent| Some((agent.lag?, agent.lag_seconds?)));
        let Some((messages, seconds)) = lag.filter(|_| !self.is_blind()) else {
            // The agent answers and cannot count, because what it would count is out of reach.
            let source =
                worst_of(self.wrong, Part::Source).filter(|_| self.facts.agent().is_some());
            return source.map_or_else(
                || self.kept(CAUGHT_UP),
                |problem| answer(Verdict::Unknown, problem.reason, &*problem.message),
            );
        };
        let objective = self.facts.pipeline.and_then(|pipeline| pipeline.spec.objectives.freshness);
        let old = |limit: Span| messages > 0 && seconds > limit.to_duration().as_secs();
        if let Some(freshness) = objective.filter(|freshness| old(*freshness)) {
            let message =
                format!("messages wait for longer than objectives.freshness, {freshness}");
            return answer(Verdict::False, Reason::Late, message);
        }
        if messages > 0 && seconds > self.facts.usual_delay().as_secs() {
            let message = "messages wait for longer than until the next commit; see status.lag";
            return answer(Verdict::False, Reason::Behind, message);
        }
        yes("what is published is soon in the table")
    }

    fn dead_lettering(self) -> Answer {
        match self.facts.memory.writes_dead_letters(self.now) {
            Some(_) if self.is_blind() => self.kept(DEAD_LETTERING),
            None => self.kept(DEAD_LETTERING),
            Some(true) => {
                let message = "records became dead letters in the last 15 minutes; \
                               <table>/_dead_letters says which and why";
                answer(Verdict::True, Reason::DeadLettersWritten, message)
            }
            Some(false) => {
                answer(Verdict::False, Reason::Ok, "no dead letter in the last 15 minutes")
            }
        }
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

const ROLLING: &str = "pods are being replaced by newer ones";
const SILENT: &str = "the agent has not answered for a minute";

/// Kubernetes keeps whole seconds; a finer instant would differ from what is read back.
pub(super) fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

#[cfg(test)]
#[path = "conditions_tests.rs"]
mod tests;
