//! What is told of a pipeline, whatever its source: conditions, what follows from their reasons, Events, and
//! how they are written.

mod conditions;
mod events;
mod finalizer;
mod outlook;
mod write;

pub(crate) use conditions::{
    Answer, CAUGHT_UP, DEAD_LETTERING, GUARANTEE_MET, INTERVALS_CURRENT, READY, RECONCILING,
    SCALING_ACTIVE, SINK_REACHABLE, SOURCE_DURABLE, SOURCE_REACHABLE, SPEC_ACCEPTED, STALLED,
    Verdict, answer, conditions_of, find, holds, said_before, whole_seconds,
};
pub(crate) use events::{columns, drift, event, normal, transitions, warning};
pub(crate) use finalizer::{has_finalizer, is_left_to_others, set_finalizer, take_finalizer};
pub(crate) use outlook::{Outlook, Part, outlook, part};
pub(crate) use write::{is_all_that_can_be_written, publish, write};
