//! How many workers.
//!
//! With mode Lag: `wanted = ceil(pending / (rate × targetDrain))`, the workers that empty the stream in
//! the time the user gives, at most one a partition. A *rate* is records per busy second of one worker;
//! while none is known it goes one step at a time. What was read waits for its commit and counts as
//! pending, so a `targetDrain` below `flush.maxInterval` is taken for that interval: otherwise the rhythm
//! of the commits would add workers. Around that:
//!
//! * **Up** only when nothing starts or rolls. When the last step gained less than a tenth (or less than
//!   half of what the added workers should have brought, for steps that are small beside what runs) there
//!   is no further one while messages wait: something else is the bottleneck. After six cool-down periods
//!   it is tried once more, because that something may have gone.
//! * **Down** only after fewer have sufficed for the cool-down period, and never below what the messages
//!   that arrive keep busy: right after the stream was emptied nothing waits and all are needed.
//! * **To zero** from one worker only, when nothing waited or was committed for the whole cool-down period. **From zero**
//!   at once.
//! * **One at least** until every partition was claimed once: the first claim says where reading begins.
//! * Lag that is not known changes nothing.
//!
//! Limits that the user changes hold at once.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tidegate_api::{ScalingMode, ScalingSpec, ScalingStatus};
use tidegate_types::{Reason, Span};

use crate::clock::is_over;
use crate::streaming::facts::{ScalingDecision, as_count};
use crate::streaming::meter::as_number;
use crate::text::count;

/// Workers are not taken away when those that remain would be busier than this share of their time.
const BUSIEST: f64 = 0.9;
/// A step that gained nothing is tried again after so many cool-down periods.
const TRY_AGAIN: u32 = 6;

/// What the number of workers depends on.
#[derive(Debug, Clone)]
pub(crate) struct ScalingFacts<'a> {
    /// How the user wants it to be found.
    pub(crate) spec: &'a ScalingSpec,
    /// `spec.suspend`.
    pub(crate) suspended: bool,
    /// `spec.replicas`.
    pub(crate) replicas: u32,
    /// Partitions: more workers would have nothing to read.
    pub(crate) partitions: u32,
    /// Workers that are wanted at present: the `StatefulSet`'s replicas.
    pub(crate) current: u32,
    /// `flush.maxInterval`: how long what was read may wait for its commit.
    pub(crate) flush: Span,
    /// The agent has seen the log, and a partition has no floor there: nobody has claimed it yet.
    pub(crate) unclaimed: bool,
    /// Messages behind the floors; none when the agent does not say.
    pub(crate) pending: Option<u64>,
    /// Records per busy second of one worker, as measured now; none without workers.
    pub(crate) rate: Option<f64>,
    /// Records per second of all workers; none while that is not measured.
    pub(crate) flow: Option<f64>,
    /// When a record was last seen to be committed; none when none was.
    pub(crate) last_record: Option<Timestamp>,
    /// Pods are being replaced.
    pub(crate) rolling: bool,
    /// Not all workers that are wanted are ready.
    pub(crate) starting: bool,
    /// What was remembered the last time.
    pub(crate) previous: Option<&'a ScalingStatus>,
    /// Now.
    pub(crate) now: Timestamp,
}

/// Decides. The number of workers comes first.
pub(crate) fn decide(facts: &ScalingFacts<'_>) -> (u32, ScalingDecision) {
    if facts.suspended {
        return suspended(facts);
    }
    match facts.spec.mode {
        ScalingMode::Lag => by_lag(facts),
        ScalingMode::Fixed => told(facts, Reason::ScalingFixed, "the number is fixed"),
        ScalingMode::External => {
            told(facts, Reason::ScaledExternally, "somebody else writes spec.replicas")
        }
    }
}

fn suspended(facts: &ScalingFacts<'_>) -> (u32, ScalingDecision) {
    // What a worker takes does not change by being suspended; the rest begins anew.
    let remember = |previous: &ScalingStatus| ScalingStatus {
        rate_per_worker: previous.rate_per_worker,
        ..ScalingStatus::default()
    };
    let lag = facts.spec.mode == ScalingMode::Lag;
    let decision = ScalingDecision {
        reason: Reason::Suspended,
        message: "suspended: no worker runs".to_owned(),
        memory: lag.then(|| facts.previous.map(remember).unwrap_or_default()),
    };
    (0, decision)
}

fn told(facts: &ScalingFacts<'_>, reason: Reason, who: &str) -> (u32, ScalingDecision) {
    let asked = facts.replicas;
    let replicas = asked.min(facts.partitions);
    let capped = if replicas < asked {
        format!(", of {asked} asked for: there are no more partitions")
    } else {
        String::new()
    };
    let message = format!("{who}: {}{capped}", count(replicas.into(), "worker"));
    (replicas, ScalingDecision { reason, message, memory: None })
}

/// The limits within which mode Lag chooses.
#[derive(Debug, Clone, Copy)]
struct Limits {
    least: u32,
    most: u32,
}

impl Limits {
    fn of(facts: &ScalingFacts<'_>) -> Self {
        let most = facts.spec.max_replicas.unwrap_or(facts.partitions).min(facts.partitions);
        // Only a claim names where reading begins. Left to the first message, a start at what is new
        // would be found after that message.
        let least = facts.spec.min_replicas.max(u32::from(facts.unclaimed));
        Self { least: least.min(most), most }
    }

    fn within(self, replicas: u32) -> u32 {
        replicas.clamp(self.least, self.most)
    }
}

fn by_lag(facts: &ScalingFacts<'_>) -> (u32, ScalingDecision) {
    let limits = Limits::of(facts);
    let mut memory = facts.previous.cloned().unwrap_or_default();
    // What was decided last, rather than what runs: a drift is repaired and not followed.
    let current = facts.previous.map_or(facts.current, |p| as_count(p.desired_replicas));
    let bounded = limits.within(current);
    let rate = known_rate(facts);
    memory.rate_per_worker = rate.map(rounded);
    let replicas = match facts.pending {
        // A limit was changed, or nothing was ever decided.
        _ if bounded != current => bounded,
        None => current,
        Some(pending) => next(facts, Load { limits, current, pending, rate }, &mut memory),
    };
    memory.desired_replicas = i32::try_from(replicas).unwrap_or(i32::MAX);
    if replicas != current {
        remember_step(facts, current, replicas, &mut memory);
    }
    let reason = reason_of(current, replicas);
    let message = explain(facts, rate, replicas);
    (replicas, ScalingDecision { reason, message, memory: Some(memory) })
}

/// What is to be weighed.
#[derive(Debug, Clone, Copy)]
struct Load {
    limits: Limits,
    current: u32,
    pending: u64,
    rate: Option<f64>,
}

fn next(facts: &ScalingFacts<'_>, load: Load, memory: &mut ScalingStatus) -> u32 {
    let wanted = load.limits.within(match load.pending {
        // Nobody is needed, but the last one goes a cool-down period after the others.
        0 => u32::from(load.current > 1),
        _ => in_time(load, drain(facts)).max(1),
    });
    if wanted < load.current {
        return down(facts, load, wanted, memory);
    }
    memory.fewer_since = None;
    if wanted > load.current && may_rise(facts, load, memory) { wanted } else { load.current }
}

/// `ceil(pending / (rate × targetDrain))`; one more than now while no rate is known.
fn in_time(load: Load, drain: Span) -> u32 {
    let Some(rate) = load.rate else { return load.current.saturating_add(1) };
    let each = rate * drain.to_duration().as_secs_f64().max(1.0);
    as_workers(as_number(load.pending) / each)
}

/// The time in which what waits is worked off.
fn drain(facts: &ScalingFacts<'_>) -> Span {
    facts.spec.target_drain.max(facts.flush)
}

fn may_rise(facts: &ScalingFacts<'_>, load: Load, memory: &ScalingStatus) -> bool {
    let settled = !facts.rolling && !facts.starting;
    load.current == 0 || (settled && has_gained(facts, load, memory))
}

/// Whether the last step up brought something; true when there was none since the stream was empty.
fn has_gained(facts: &ScalingFacts<'_>, load: Load, memory: &ScalingStatus) -> bool {
    let Some(before) = memory.rate_before_last_step.map(as_number) else { return true };
    let tired = facts.spec.cooldown_period.to_duration().saturating_mul(TRY_AGAIN);
    if memory.last_scale_time.as_ref().is_none_or(|last| is_over(last.0, tired, facts.now)) {
        return true;
    }
    // How much it is now has to be measured first.
    let Some(flow) = facts.flow else { return false };
    let could = load.rate.map_or(f64::INFINITY, |rate| rate * f64::from(load.current));
    let enough = before + (before / 10.0).min((could - before).max(0.0) / 2.0);
    flow > 0.0 && flow >= enough
}

fn down(facts: &ScalingFacts<'_>, load: Load, wanted: u32, memory: &mut ScalingStatus) -> u32 {
    // What waits is worked off in time: the last step up was enough.
    memory.rate_before_last_step = None;
    let target = wanted.max(load.limits.within(kept_busy(facts, load))).min(load.current);
    if target == load.current {
        memory.fewer_since = None;
        return load.current;
    }
    let mut since = memory.fewer_since.get_or_insert(Time(facts.now)).0;
    if target == 0 {
        // Whoever looks right after each commit never sees anything wait.
        since = facts.last_record.map_or(since, |record| since.max(record));
    }
    // While something waits, the rhythm of the commits has to be seen whole.
    let rhythm = if load.pending == 0 { Span::default() } else { facts.flush };
    let cool_down = facts.spec.cooldown_period.max(rhythm).to_duration();
    let cooled = is_over(since, cool_down, facts.now);
    if cooled && !facts.rolling { target } else { load.current }
}

/// The workers that what arrives keeps busy.
fn kept_busy(facts: &ScalingFacts<'_>, load: Load) -> u32 {
    match (facts.flow, load.rate) {
        _ if load.pending == 0 && load.current == 1 => 0,
        (Some(flow), Some(rate)) => as_workers(flow / (rate * BUSIEST)),
        _ if load.pending == 0 => 1,
        // Not measured yet: perhaps all of them are needed.
        _ => load.current,
    }
}

fn remember_step(facts: &ScalingFacts<'_>, from: u32, to: u32, memory: &mut ScalingStatus) {
    memory.last_scale_time = Some(Time(facts.now));
    memory.pending = facts.pending.unwrap_or(memory.pending);
    memory.fewer_since = None;
    let rate = memory.rate_per_worker.map_or(0.0, as_number);
    let before = facts.flow.unwrap_or(rate * f64::from(from));
    memory.rate_before_last_step = (to > from).then(|| if from == 0 { 0 } else { rounded(before) });
}

fn known_rate(facts: &ScalingFacts<'_>) -> Option<f64> {
    let remembered = || facts.previous.and_then(|p| p.rate_per_worker).map(as_number);
    facts.rate.or_else(remembered).filter(|rate| rate.is_finite() && *rate > 0.0)
}

/// `Ok` while the number stays, also at zero.
fn reason_of(from: u32, to: u32) -> Reason {
    match to.cmp(&from) {
        std::cmp::Ordering::Greater => Reason::ScaledUp,
        std::cmp::Ordering::Less if to == 0 => Reason::ScaledToZero,
        std::cmp::Ordering::Less => Reason::ScaledDown,
        std::cmp::Ordering::Equal => Reason::Ok,
    }
}

/// Inputs and answer: `12000 messages wait, a worker takes 800/s: 2 workers, to empty it within 60s`.
fn explain(facts: &ScalingFacts<'_>, rate: Option<f64>, replicas: u32) -> String {
    let answer = count(replicas.into(), "worker");
    let Some(pending) = facts.pending else {
        return format!("what waits is not known: {answer}");
    };
    if facts.unclaimed {
        return format!("no worker has named yet where reading begins: {answer}");
    }
    if pending == 0 {
        return format!("nothing waits: {answer}");
    }
    let waits = match pending {
        1 => "1 message waits".to_owned(),
        _ => format!("{pending} messages wait"),
    };
    match rate {
        Some(rate) => format!(
            "{waits}, a worker takes {}/s, the target is to empty the stream within {}: {answer}",
            rounded(rate),
            drain(facts)
        ),
        None => format!("{waits}, what a worker takes is not known yet: {answer}"),
    }
}

fn as_workers(number: f64) -> u32 {
    // Beyond any limit, and no wrap-around: `as` saturates, and NaN is 0.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let workers = number.ceil() as u32;
    workers
}

fn rounded(number: f64) -> u64 {
    // A rate below one a second is still a rate. `as` saturates.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = number.round() as u64;
    if number > 0.0 { whole.max(1) } else { whole }
}

#[cfg(test)]
#[path = "simulation_tests.rs"]
mod simulation;
#[cfg(test)]
mod tests;
