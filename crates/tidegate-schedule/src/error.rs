//! Why a schedule cannot be used.

use jiff::Timestamp;
use thiserror::Error;
use tidegate_types::DataInterval;

/// A schedule cannot be used, or an interval does not lie on it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScheduleError {
    /// The expression cannot be read.
    #[error("cron {cron:?} cannot be read: {problem}")]
    Cron {
        /// The text.
        cron: String,
        /// What is wrong.
        problem: String,
    },
    /// The zone is not known.
    #[error("time zone {0:?} is not known; write an IANA name such as Europe/Berlin, or UTC")]
    Zone(String),
    /// Two ticks lie closer than five minutes (B1).
    #[error(
        "cron {cron:?} ticks at {first} and {second}; an interval must last five minutes or longer"
    )]
    TooOften {
        /// The text.
        cron: String,
        /// A tick.
        first: Timestamp,
        /// The one after it.
        second: Timestamp,
    },
    /// The interval is no union of whole ticks (B3).
    #[error("{interval} does not lie on the grid; the nearest that does is {nearest}")]
    NotAligned {
        /// What was asked for.
        interval: DataInterval,
        /// The smallest union of ticks that contains it.
        nearest: DataInterval,
    },
    /// There are no ticks on both sides.
    #[error("there is no interval of this schedule around {0}")]
    NoInterval(Timestamp),
}
