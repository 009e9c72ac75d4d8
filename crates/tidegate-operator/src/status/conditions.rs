//! The types of conditions, and one condition.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use tidegate_types::Reason;

use crate::text::bounded;

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

/// What a condition says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) verdict: Verdict,
    pub(crate) reason: Reason,
    pub(crate) message: String,
}

/// An answer in one line.
pub(crate) fn answer(verdict: Verdict, reason: Reason, message: impl Into<String>) -> Answer {
    Answer { verdict, reason, message: message.into() }
}

/// The conditions of a generation that have an answer; since when each says so, those before it tell.
pub(crate) fn conditions_of<A: Into<Option<Answer>>>(
    answers: impl IntoIterator<Item = (&'static str, A)>,
    generation: i64,
    previous: &[Condition],
    now: Timestamp,
) -> Vec<Condition> {
    let condition = |(kind, answer): (&'static str, A)| {
        let Answer { verdict, reason, message } = answer.into()?;
        Some(Condition {
            type_: kind.to_owned(),
            status: verdict.as_str().to_owned(),
            reason: reason.as_str().to_owned(),
            message: bounded(&message),
            last_transition_time: Time(since(kind, verdict, previous, now)),
            observed_generation: Some(generation),
        })
    };
    answers.into_iter().filter_map(condition).collect()
}

fn since(kind: &str, verdict: Verdict, previous: &[Condition], now: Timestamp) -> Timestamp {
    let before = find(previous, kind).filter(|before| before.status == verdict.as_str());
    before.map_or_else(|| whole_seconds(now), |before| before.last_transition_time.0)
}

/// The condition of a type.
pub(crate) fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// Whether the condition of a type says so.
pub(crate) fn holds(conditions: &[Condition], kind: &str, verdict: Verdict) -> bool {
    find(conditions, kind).is_some_and(|condition| condition.status == verdict.as_str())
}

/// What a condition said; none when it said nothing, or that it is not known.
pub(crate) fn said_before(conditions: &[Condition], kind: &str) -> Option<Answer> {
    let before = find(conditions, kind)?;
    let verdict = [Verdict::True, Verdict::False]
        .into_iter()
        .find(|verdict| verdict.as_str() == before.status)?;
    Some(answer(verdict, Reason::from_word(&before.reason)?, &*before.message))
}

/// Kubernetes keeps whole seconds; a finer instant would differ from what is read back.
pub(crate) fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
