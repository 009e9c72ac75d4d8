//! Why a template cannot be used.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use thiserror::Error;
use tidegate_types::DataInterval;

use super::unit::Unit;
use super::{MOST_NAMES, MOST_PATTERNS};

/// A template cannot be read, or does not go with its schedule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the glob {template:?} {problem}; {remedy}")]
pub struct TemplateError {
    /// The text.
    pub template: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to do.
    pub remedy: &'static str,
}

/// Where the clock's changes are in the way.
const WITHOUT_CHANGES: &str =
    "tell the time of files in UTC (timeZone: UTC), or let the schedule tick less often";

impl TemplateError {
    fn new(template: &str, problem: String, remedy: &'static str) -> Self {
        Self { template: template.to_owned(), problem, remedy }
    }

    pub(super) fn unknown(template: &str, field: Option<char>) -> Self {
        let field = field.map(String::from).unwrap_or_default();
        let problem = format!("has the field %{field}, which no interval has");
        Self::new(template, problem, "write %Y, %m, %d, %H, %M or %S, and %% for the sign itself")
    }

    pub(super) fn repeats(template: &str, missing: Unit) -> Self {
        let problem = format!(
            "has a finer field and no %{}, so that other intervals would have the same files",
            missing.field()
        );
        Self::new(template, problem, "write all fields from %Y down to the finest")
    }

    pub(super) fn no_interval(template: &str) -> Self {
        Self::new(
            template,
            "has fields of an interval, and the run has none".to_owned(),
            "give the pipeline a schedule, or write %% for a percent sign",
        )
    }

    /// Both edges lie in one unit, or the clock was turned back between them.
    pub(super) fn no_name(
        template: &str,
        unit: Unit,
        interval: DataInterval,
        zone: &TimeZone,
    ) -> Self {
        let is_turned_back = zone.to_offset(interval.end()) < zone.to_offset(interval.start());
        let (why, remedy) = if is_turned_back {
            (", as the clock is turned back", WITHOUT_CHANGES)
        } else {
            (
                ": it begins and ends in the same one",
                "write finer fields into it (%d, %H, %M), or let the schedule tick less often",
            )
        };
        Self::new(template, format!("has no {unit} of its own for {interval}{why}"), remedy)
    }

    pub(super) fn too_many(template: &str, interval: DataInterval) -> Self {
        Self::new(
            template,
            format!("has more than {MOST_NAMES} names for {interval}"),
            "write * in place of the finest field, or let the schedule tick more often",
        )
    }

    /// Of so many names each stands for so many patterns.
    pub(super) fn too_many_patterns(
        template: &str,
        interval: DataInterval,
        (names, each): (usize, usize),
    ) -> Self {
        let problem = format!(
            "has {names} names for {interval}, and its braces make each {each} patterns: more than {MOST_PATTERNS} in all"
        );
        let remedy = "write * in place of the braces or the finest field, or let the schedule tick more often";
        Self::new(template, problem, remedy)
    }

    pub(super) fn too_many_alternatives(template: &str, most: usize) -> Self {
        let problem = format!("has braces that stand for more than {most} patterns");
        Self::new(template, problem, "write * in place of some of them")
    }

    pub(super) fn brace(template: &str, problem: &str) -> Self {
        Self::new(template, problem.to_owned(), "write {a,b} for either of a and b")
    }

    pub(super) fn comes_again(template: &str, unit: Unit, tick: Timestamp) -> Self {
        let problem = format!(
            "has {unit}s that come again after the tick at {tick}, as the clock is turned back"
        );
        Self::new(template, problem, WITHOUT_CHANGES)
    }
}
