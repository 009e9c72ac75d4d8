//! Durations as Kubernetes prints them.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not a duration: write numbers with h, m, s or ms, such as 90s, 2h or 1h30m")]
pub struct ParseSpanError(pub String);

/// A length of time, written as Kubernetes prints it (`90s`, `1h30m`); whole milliseconds.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Span(u64);

impl Span {
    /// `n` seconds.
    #[must_use]
    pub const fn seconds(n: u64) -> Self {
        Self(n * 1_000)
    }

    /// `n` milliseconds.
    #[must_use]
    pub const fn millis(n: u64) -> Self {
        Self(n)
    }

    /// As a standard duration.
    #[must_use]
    pub const fn to_duration(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// Whole microseconds, the unit of stream time.
    #[must_use]
    pub fn as_micros(self) -> i64 {
        i64::try_from(self.0.saturating_mul(1_000)).unwrap_or(i64::MAX)
    }

    /// Whole milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }
}

/// Longest first, so that `ms` is tried before `m` and `s`.
const UNITS: [(&str, u64); 4] = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];

impl std::str::FromStr for Span {
    type Err = ParseSpanError;

    fn from_str(text: &str) -> Result<Self, ParseSpanError> {
        let refuse = || ParseSpanError(text.to_owned());
        let mut rest = text;
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let number: u64 = rest[..digits].parse().map_err(|_| refuse())?;
            rest = &rest[digits..];
            let (unit, millis) =
                UNITS.iter().find(|(unit, _)| rest.starts_with(unit)).ok_or_else(refuse)?;
            rest = &rest[unit.len()..];
            let part = number.checked_mul(*millis).ok_or_else(refuse)?;
            total = total.checked_add(part).ok_or_else(refuse)?;
        }
        if text.is_empty() { Err(refuse()) } else { Ok(Self(total)) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (unit, millis) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
            if rest >= millis {
                write!(f, "{}{unit}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for Span {
    type Error = ParseSpanError;

    fn try_from(text: String) -> Result<Self, ParseSpanError> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read() {
        assert_eq!("1h30m".parse(), Ok(Span::seconds(5_400)));
        assert_eq!("90s".parse(), Ok(Span::seconds(90)));
        assert_eq!("250ms".parse(), Ok(Span::millis(250)));
        for bad in ["", "s", "5", "-5s", "1.5h", "1d", "99999999999999999999h", "9999999999999999h"]
        {
            assert!(bad.parse::<Span>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn every_span_is_printed_so_that_it_is_read_back(millis: u64) {
            prop_assert_eq!(Span(millis).to_string().parse(), Ok(Span(millis)));
        }
    }
}
