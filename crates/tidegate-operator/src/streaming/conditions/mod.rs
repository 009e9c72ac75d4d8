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

mod evidence;
mod path;
mod ready;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use self::evidence::{Evidence, Past};
use super::problems::problems;
use super::status_facts::StatusFacts;
use crate::status::{
    CAUGHT_UP, DEAD_LETTERING, GUARANTEE_MET, READY, RECONCILING, SCALING_ACTIVE, SINK_REACHABLE,
    SOURCE_DURABLE, SOURCE_REACHABLE, SPEC_ACCEPTED, STALLED, Verdict, conditions_of,
};

/// All conditions of a pipeline. See the module for what each one means.
pub(crate) fn conditions(
    facts: &StatusFacts<'_>,
    previous: &[Condition],
    now: Timestamp,
) -> Vec<Condition> {
    let past = Past { previous };
    let patient = past.is(READY, Verdict::True);
    let wrong = problems(facts, patient, now);
    let evidence = Evidence { facts, past, wrong: &wrong, now };
    let stalled = evidence.stalled();
    let found = [
        (READY, Some(evidence.ready())),
        // kstatus looks at Reconciling first: it would hide that nothing goes on.
        (RECONCILING, if stalled.is_none() { evidence.reconciling() } else { None }),
        (STALLED, stalled),
        (SPEC_ACCEPTED, Some(evidence.spec_accepted())),
        (SOURCE_REACHABLE, Some(evidence.source_reachable())),
        (SOURCE_DURABLE, Some(evidence.source_durable())),
        (SINK_REACHABLE, Some(evidence.sink_reachable())),
        (GUARANTEE_MET, Some(evidence.guarantee_met())),
        (CAUGHT_UP, Some(evidence.caught_up())),
        (DEAD_LETTERING, Some(evidence.dead_lettering())),
        (SCALING_ACTIVE, Some(evidence.scaling_active())),
    ];
    conditions_of(found, facts.generation, previous, now)
}

#[cfg(test)]
mod tests;
