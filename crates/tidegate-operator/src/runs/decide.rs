//! What is to be done about one run of one interval, or of the whole source. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tidegate_api::{RetrySpec, RunTrigger};
use tidegate_config::RunReport;
use tidegate_schedule::Grid;
use tidegate_types::Reason;

use super::facts::{Attempt, Outcome, Run, Step, Waiting, What, Wish};
use crate::pods::{End, Ended, PERMANENT};
use crate::validation::Rejection;

/// What a run finds of its pipeline.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PipelineFacts<'a> {
    /// There is none of that name.
    Missing,
    /// It reads a stream.
    Streams,
    /// Nothing of it was ever accepted, or its pods have no account.
    Unusable(&'a Rejection),
    /// It is there.
    There {
        /// Whether it is suspended.
        suspended: bool,
        /// The ticks; none without a schedule.
        grid: Option<&'a Grid>,
        /// How long after its end an interval may be read.
        delay: SignedDuration,
        /// Whether it is known since when its schedule counts. The log tells it, and a run adds to the log.
        begun: bool,
        /// Whether rows are found by interval.
        by_interval: bool,
        /// How often a run is tried again.
        retry: &'a RetrySpec,
    },
}

/// What the decision is made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LeafFacts<'a> {
    pub(crate) run: &'a Run,
    /// The newest attempt whose Job is there.
    pub(crate) attempt: Option<&'a Attempt>,
    pub(crate) pipeline: PipelineFacts<'a>,
    /// For whom a scheduled run waits, in words.
    pub(crate) waits_for: Option<&'a str>,
    pub(crate) now: Timestamp,
}

/// Decides, as if there were room for everybody.
pub(crate) fn decide(facts: &LeafFacts<'_>) -> Step {
    let wish = match &facts.run.wish {
        Ok(wish) => wish,
        Err(rejection) => return refuse(facts, rejection.reason, &rejection.message),
    };
    let begun = facts.run.status.attempt.unwrap_or(0);
    match facts.attempt {
        Some(attempt) if attempt.number >= begun => match &attempt.ended {
            None => Step::Follow,
            Some(ended) => after(facts, attempt.number, ended),
        },
        // Its Job was there once.
        _ if begun > 0 => after(facts, begun, &Ended { at: facts.now, end: End::Lost }),
        _ => first(facts, wish),
    }
}

fn refuse(facts: &LeafFacts<'_>, reason: Reason, message: &str) -> Step {
    Step::Finish(Outcome::refused(reason, message, facts.now))
}

/// The first attempt, when everything that it needs is there.
fn first(facts: &LeafFacts<'_>, wish: &Wish) -> Step {
    let (suspended, begun, grid, delay, by_interval) = match facts.pipeline {
        PipelineFacts::There { suspended, begun, grid, delay, by_interval, .. } => {
            (suspended, begun, grid, delay, by_interval)
        }
        pipeline => return cannot_run(pipeline, facts.now),
    };
    if let Some(step) = fits(facts, wish, grid, by_interval) {
        return step;
    }
    if suspended {
        return Step::Wait(Waiting::new(Reason::Suspended, "the pipeline is suspended"));
    }
    if !begun {
        let message = "the table's log is asked first since when the schedule counts";
        return Step::Wait(Waiting::new(Reason::Progressing, message));
    }
    if let What::Interval(interval) = wish.what {
        let due = interval.end().checked_add(delay).unwrap_or(Timestamp::MAX);
        if due > facts.now {
            let message = format!("the interval is due at {due}");
            let until = Some(due);
            return Step::Wait(Waiting { reason: Reason::WaitingForTick, message, until });
        }
    }
    match facts.waits_for.filter(|_| wish.trigger == RunTrigger::Scheduled) {
        Some(whom) => Step::Wait(Waiting::new(Reason::WaitingForDependency, whom)),
        None => Step::Start(1),
    }
}

/// What becomes of a run whose pipeline is not there for it.
pub(crate) fn cannot_run(pipeline: PipelineFacts<'_>, now: Timestamp) -> Step {
    let (reason, message) = match pipeline {
        PipelineFacts::Streams => {
            let what = "the pipeline reads a stream, and a stream has no runs";
            return Step::Finish(Outcome::refused(Reason::InvalidConfiguration, what, now));
        }
        PipelineFacts::Unusable(rejection) => {
            (rejection.reason, format!("the pipeline is not accepted: {}", rejection.message))
        }
        PipelineFacts::Missing | PipelineFacts::There { .. } => {
            (Reason::PipelineMissing, "there is no pipeline of this name".to_owned())
        }
    };
    Step::Wait(Waiting::new(reason, message))
}

/// What is wrong with what a run asks for, given its pipeline.
fn fits(
    facts: &LeafFacts<'_>,
    wish: &Wish,
    grid: Option<&Grid>,
    by_interval: bool,
) -> Option<Step> {
    match (&wish.what, grid) {
        (What::Interval(interval), Some(grid)) => {
            let problem = grid.check_aligned(*interval).err()?;
            Some(refuse(facts, Reason::IntervalNotAligned, &format!("spec.interval: {problem}")))
        }
        // Whether the pipeline repairs is the attempt's to say.
        (What::Interval(_), None) if wish.trigger == RunTrigger::Repair => None,
        (What::Interval(_), None) => {
            let what = "spec.interval: the pipeline has no schedule, so that it has no intervals; \
                        remove it, or write trigger: Repair where the pipeline has bulk.repairs";
            Some(refuse(facts, Reason::InvalidConfiguration, what))
        }
        (What::Whole, _) if by_interval => {
            let what = "spec.interval: is missing, and the pipeline reads by interval";
            Some(refuse(facts, Reason::InvalidConfiguration, what))
        }
        _ => None,
    }
}

/// An attempt has ended.
fn after(facts: &LeafFacts<'_>, number: u32, ended: &Ended) -> Step {
    let heard = report(ended);
    if succeeded(&ended.end) {
        return Step::Finish(success(ended, heard));
    }
    let (reason, message) = failure(&ended.end, heard.as_ref());
    let over = |message: String| {
        Step::Finish(Outcome {
            succeeded: false,
            reason,
            message,
            report: heard.clone(),
            at: ended.at,
        })
    };
    if matches!(ended.end, End::Exit { code: PERMANENT, .. }) {
        return over(message);
    }
    let retry = match facts.pipeline {
        PipelineFacts::There { retry, .. } => retry,
        PipelineFacts::Streams => return over(message),
        pipeline => return cannot_run(pipeline, facts.now),
    };
    let Some(pause) = retry.pause_after(number) else {
        return over(format!("attempt {number} was the last one: {message}"));
    };
    let next = next_try(facts, pause, number, ended);
    if next <= facts.now {
        return Step::Start(number.saturating_add(1));
    }
    let message = format!("attempt {number} ended, the next one begins at {next}: {message}");
    Step::Wait(Waiting { reason, message, until: Some(next) })
}

/// When; what was decided before stays decided.
fn next_try(facts: &LeafFacts<'_>, pause: Duration, number: u32, ended: &Ended) -> Timestamp {
    let told = facts.run.status.next_attempt_time.as_ref().map(|time| time.0);
    let same = facts.run.status.attempt == Some(number);
    if let Some(told) = told.filter(|_| same) {
        return told;
    }
    let pause = SignedDuration::try_from(pause).unwrap_or(SignedDuration::MAX);
    let next = ended.at.min(facts.now).checked_add(pause).unwrap_or(Timestamp::MAX);
    // The status and `kubectl` know whole seconds.
    Timestamp::from_second(next.as_second().saturating_add(1)).unwrap_or(next)
}

fn succeeded(end: &End) -> bool {
    matches!(end, End::Exit { code: 0, .. } | End::Unheard)
}

/// What the attempt said of itself.
fn report(ended: &Ended) -> Option<RunReport> {
    match &ended.end {
        End::Exit { said, .. } | End::Deadline { said } => serde_json::from_str(said).ok(),
        _ => None,
    }
}

fn success(ended: &Ended, report: Option<RunReport>) -> Outcome {
    let word = report.as_ref().and_then(|report| Reason::from_word(&report.reason));
    let reason = word.unwrap_or(Reason::Ok);
    let said = report.as_ref().map(|report| report.message.clone());
    let message = said.filter(|said| !said.is_empty()).unwrap_or_else(|| {
        let words = match reason {
            Reason::AlreadyComplete => "the table holds the interval already",
            _ => "the rows are in the table",
        };
        words.to_owned()
    });
    Outcome { succeeded: true, reason, message, report, at: ended.at }
}

/// Why an attempt failed.
fn failure(end: &End, report: Option<&RunReport>) -> (Reason, String) {
    let stopped = matches!(end, End::Deadline { .. });
    // One that was told to end may not know that its time was up.
    let tells =
        |reason: &Reason| *reason != Reason::Ok && (!stopped || *reason != Reason::Interrupted);
    if let Some(report) = report
        && let Some(reason) = Reason::from_word(&report.reason).filter(tells)
    {
        return (reason, report.message.clone());
    }
    match end {
        End::Deadline { .. } => (Reason::DeadlineExceeded, "it took longer than it may".to_owned()),
        End::Lost | End::Unheard => (Reason::PodFailing, "its pod was lost".to_owned()),
        End::Exit { code, said } => {
            // Of a process that was killed there is the end of its log at most.
            let last = said.trim().lines().last().unwrap_or_default();
            let colon = if last.is_empty() { "" } else { ": " };
            (Reason::PodFailing, format!("its pod ended with exit code {code}{colon}{last}"))
        }
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
