//! Identities and positions. Each is a newtype, so that an epoch cannot be passed for a position.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a name was refused as an identity.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdError {
    /// The ledger name is empty, too long, or has a character outside `[a-z0-9.-]`.
    #[error(
        "ledger {0:?} must be 1 to 120 characters of a-z, 0-9, '.' and '-', starting and ending with a letter or digit"
    )]
    Ledger(String),
    /// The text is not the hexadecimal form of the identity.
    #[error("{kind} {text:?} is not {digits} hexadecimal digits")]
    Hex {
        /// What was expected.
        kind: &'static str,
        /// What was found.
        text: String,
        /// How many digits it must have.
        digits: usize,
    },
}

/// A pipeline's identity in the table's log. It outlives the resource: whoever opens the same ledger
/// on the same table goes on where the log stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ledger(String);

impl Ledger {
    /// Checks and wraps a ledger name.
    ///
    /// # Errors
    ///
    /// [`IdError::Ledger`] when the name could not stand in an application id or an object key.
    pub fn new(name: impl Into<String>) -> Result<Self, IdError> {
        let name = name.into();
        let edge =
            |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-';
        let valid = name.len() <= 120
            && edge(name.chars().next())
            && edge(name.chars().last())
            && name.chars().all(inner);
        if valid { Ok(Self(name)) } else { Err(IdError::Ledger(name)) }
    }

    /// The name as it stands in the log.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Ledger {
    type Error = IdError;

    fn try_from(name: String) -> Result<Self, IdError> {
        Self::new(name)
    }
}

impl From<Ledger> for String {
    fn from(ledger: Ledger) -> Self {
        ledger.0
    }
}

/// One life of a source stream: a stream deleted and made again is another incarnation, because its
/// sequences start again at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Incarnation(u64);

impl Incarnation {
    /// Derives the incarnation of a stream from its name, the time at which the broker says it was
    /// created (RFC 3339, as the broker prints it), and the number of resets the user accepted.
    #[must_use]
    pub fn derive(stream: &str, created: &str, resets: u32) -> Self {
        let text = format!("{stream}\n{created}\n{resets}");
        Self(xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
    }

    /// Reads the sixteen hexadecimal digits that [`fmt::Display`] prints.
    ///
    /// # Errors
    ///
    /// [`IdError::Hex`] for anything else.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let refuse = || IdError::Hex { kind: "incarnation", text: text.to_owned(), digits: 16 };
        if text.len() != 16 {
            return Err(refuse());
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| refuse())
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl TryFrom<String> for Incarnation {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(&text)
    }
}

impl From<Incarnation> for String {
    fn from(incarnation: Incarnation) -> Self {
        incarnation.to_string()
    }
}

/// An ordered input unit of a stream, numbered from zero.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct PartitionId(pub u32);

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A stream sequence up to and including which everything is accounted for; 0 is before the first
/// message. As a *floor* it stands in the log, as a *cursor* it is what was read but not committed.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Position(pub u64);

impl Position {
    /// The first sequence after this position.
    #[must_use]
    pub fn next(self) -> u64 {
        self.0.saturating_add(1)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The broker's time of a message, in microseconds since 1970 (what the table stores).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct StreamTime(pub i64);

/// A fencing token for one partition: `(assignment generation << 20) | attempt` (P7).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub i64);

impl Epoch {
    const ATTEMPT_BITS: u32 = 20;
    /// The highest assignment generation that fits.
    const MAX_GENERATION: i64 = (1 << (62 - Self::ATTEMPT_BITS)) - 1;

    /// The assignment generation in the upper bits.
    #[must_use]
    pub fn generation(self) -> i64 {
        self.0 >> Self::ATTEMPT_BITS
    }

    /// The attempt within the generation.
    #[must_use]
    pub fn attempt(self) -> i64 {
        self.0 & ((1 << Self::ATTEMPT_BITS) - 1)
    }

    /// The next epoch for a claim under `generation`: the first attempt of a higher generation, the
    /// next attempt of the same one. When the attempts of a generation are used up the generation
    /// itself rises. `None` when this epoch's generation is already higher (never claim over it), or
    /// when there is no higher epoch.
    #[must_use]
    pub fn next(self, generation: i64) -> Option<Self> {
        match generation.cmp(&self.generation()) {
            std::cmp::Ordering::Less => None,
            std::cmp::Ordering::Equal => self.0.checked_add(1).map(Self),
            std::cmp::Ordering::Greater => (generation <= Self::MAX_GENERATION)
                .then_some(Self((generation << Self::ATTEMPT_BITS) | 1)),
        }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.generation(), self.attempt())
    }
}

/// Who holds a partition: a 63-bit hash of the worker's stable name; zero when released (P7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Holder(pub i64);

impl Holder {
    /// Nobody: the last holder released the partition.
    pub const RELEASED: Self = Self(0);

    /// Hashes a worker's stable name (the pod; for `run` host, ledger and index).
    #[must_use]
    pub fn of(name: &str) -> Self {
        let hash = xxhash_rust::xxh3::xxh3_64(name.as_bytes()) >> 1;
        Self(i64::try_from(hash.max(1)).unwrap_or(i64::MAX))
    }
}

/// Makes one commit, one file or one snapshot distinguishable from every other: 63 random bits, so
/// that it fits a `txn` version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Nonce(i64);

impl Nonce {
    /// Makes a nonce from random bits; the lowest 63 are used, and zero (which means "none" in the
    /// log) becomes one.
    #[must_use]
    pub fn from_random(bits: u64) -> Self {
        Self(i64::try_from((bits >> 1).max(1)).unwrap_or(i64::MAX))
    }

    /// Reads a `txn` version; `None` for the zero that stands for "none".
    #[must_use]
    pub fn from_txn(version: i64) -> Option<Self> {
        (version > 0).then_some(Self(version))
    }

    /// The value that stands in the log.
    #[must_use]
    pub fn as_txn(self) -> i64 {
        self.0
    }

    /// Reads the sixteen hexadecimal digits that [`fmt::Display`] prints.
    ///
    /// # Errors
    ///
    /// [`IdError::Hex`] for anything else.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let refuse = || IdError::Hex { kind: "nonce", text: text.to_owned(), digits: 16 };
        if text.len() != 16 {
            return Err(refuse());
        }
        i64::from_str_radix(text, 16).ok().and_then(Self::from_txn).ok_or_else(refuse)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl TryFrom<String> for Nonce {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        Self::parse(&text)
    }
}

impl From<Nonce> for String {
    fn from(nonce: Nonce) -> Self {
        nonce.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_rises_within_a_generation_and_starts_again_above_it() {
        let first = Epoch::default().next(1).expect("zero is below one");
        assert_eq!((first.generation(), first.attempt()), (1, 1));
        let second = first.next(1).expect("same generation");
        assert_eq!((second.generation(), second.attempt()), (1, 2));
        assert_eq!(second.next(2).map(Epoch::generation), Some(2));
        assert_eq!(second.next(0), None, "a claim never goes over a higher generation");
    }

    #[test]
    fn an_epoch_never_wraps() {
        let last = Epoch::default().next(Epoch::MAX_GENERATION).expect("it fits");
        assert!(last > first_of(Epoch::MAX_GENERATION - 1));
        assert_eq!(Epoch::default().next(Epoch::MAX_GENERATION + 1), None);
        assert_eq!(Epoch(i64::MAX).next(Epoch(i64::MAX).generation()), None);
    }

    fn first_of(generation: i64) -> Epoch {
        Epoch::default().next(generation).expect("it fits")
    }

    #[test]
    fn ledgers_that_could_break_an_application_id_are_refused() {
        for name in ["", "A", "a/b", "a b", ".a", "a-", "ä"] {
            assert!(Ledger::new(name).is_err(), "{name:?}");
        }
        assert_eq!(
            Ledger::new("analytics.clicks-2").map(String::from),
            Ok("analytics.clicks-2".into())
        );
    }

    #[test]
    fn printed_identities_are_read_back() {
        let nonce = Nonce::from_random(u64::MAX);
        assert_eq!(Nonce::parse(&nonce.to_string()), Ok(nonce));
        let incarnation = Incarnation::derive("S", "2026-01-01T00:00:00Z", 0);
        assert_eq!(Incarnation::parse(&incarnation.to_string()), Ok(incarnation));
        assert_ne!(incarnation, Incarnation::derive("S", "2026-01-01T00:00:00Z", 1));
    }
}
