//! What a run is of, and how the log writes it.

use std::fmt;

use jiff::Timestamp;
use tidegate_types::DataInterval;

/// How an interval without bounds is written.
const ALL: &str = "all";

/// What a run is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IntervalKey {
    /// No interval: everything that the source has.
    All,
    /// The rows of a data interval.
    Of(DataInterval),
}

impl IntervalKey {
    /// Reads `all` or `<start>-<end>`, both in seconds since 1970; only the spelling that we write.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == ALL {
            return Some(Self::All);
        }
        let (start, end) = text.split_once('-')?;
        let at = |text: &str| Timestamp::from_second(text.parse().ok()?).ok();
        let key = Self::Of(DataInterval::new(at(start)?, at(end)?).ok()?);
        (key.to_string() == text).then_some(key)
    }

    /// The interval, if it is one.
    #[must_use]
    pub fn interval(self) -> Option<DataInterval> {
        match self {
            Self::All => None,
            Self::Of(interval) => Some(interval),
        }
    }
}

impl fmt::Display for IntervalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str(ALL),
            Self::Of(i) => write!(f, "{}-{}", i.start_second(), i.end_second()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_key_is_read_as_it_is_printed(start in 0_i64..1 << 33, length in 1_i64..1 << 33) {
            let at = |second| Timestamp::from_second(second).expect("in range");
            let interval = DataInterval::new(at(start), at(start + length)).expect("not empty");
            let key = IntervalKey::Of(interval);
            prop_assert_eq!(IntervalKey::parse(&key.to_string()), Some(key));
        }
    }
}
