//! When runs are due: the ticks of a cron expression in its time zone, the grid of data intervals that
//! they make (B3), which intervals a schedule still owes, and which files are an interval's by their names.
//!
//! Everything here is a pure function; the time is passed in.

mod catch_up;
mod error;
mod grid;
mod limits;
mod template;
mod ticks;

pub use catch_up::{CatchUp, Due, DueFacts, Since, due, known_since, missing_intervals, origin};
pub use error::ScheduleError;
pub use grid::Grid;
pub use limits::{MOST_FAILED_RUNS, MOST_INTERVALS};
pub use template::{Template, TemplateError, expand_braces};
