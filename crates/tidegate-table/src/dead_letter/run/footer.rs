//! What the footer of a run's dead-letter file says: enough to commit it without the run that wrote it.

use std::collections::BTreeMap;

use tidegate_types::{Ledger, Nonce};

use super::super::{FooterError, LEDGER, NONCE};
use crate::ledger::{Claim, Effect, IntervalKey};

/// What the footer of a run's dead-letter file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFooter {
    /// Whose dead letters.
    pub ledger: Ledger,
    /// Under which interval the main table names them.
    pub key: IntervalKey,
    /// The interval that was run: its start stands in the rows.
    pub ran: IntervalKey,
    /// Of which generation.
    pub generation: u64,
    /// What they do to earlier ones.
    pub effect: Effect,
    /// The nonce that the main table names.
    pub nonce: Nonce,
}

const INTERVAL: &str = "tidegate.interval";
const RAN: &str = "tidegate.ran";
const GENERATION: &str = "tidegate.generation";
const EFFECT: &str = "tidegate.effect";

const EFFECTS: [(Effect, &str); 3] = [
    (Effect::Append, "append"),
    (Effect::ReplaceInterval, "replace-interval"),
    (Effect::Overwrite, "overwrite"),
];

impl RunFooter {
    /// The footer of the file that a run of `claim` writes.
    #[must_use]
    pub fn new(ledger: Ledger, claim: &Claim, nonce: Nonce) -> Self {
        let (ran, key) = (claim.key, claim.dead_letter_key());
        Self { ledger, key, ran, generation: claim.generation, effect: claim.effect, nonce }
    }

    /// The entries for the Parquet footer.
    #[must_use]
    pub fn to_key_values(&self) -> Vec<(String, String)> {
        let effect = EFFECTS.iter().find(|(effect, _)| *effect == self.effect);
        [
            (LEDGER, self.ledger.to_string()),
            (INTERVAL, self.key.to_string()),
            (RAN, self.ran.to_string()),
            (GENERATION, self.generation.to_string()),
            (EFFECT, effect.map_or("", |(_, name)| name).to_owned()),
            (NONCE, self.nonce.to_string()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .to_vec()
    }

    /// Reads the entries back.
    ///
    /// # Errors
    ///
    /// [`FooterError`] when one is missing or not understood.
    pub fn from_key_values(entries: &BTreeMap<String, String>) -> Result<Self, FooterError> {
        let get = |key: &'static str| entries.get(key).ok_or(FooterError::Missing { key });
        let wrong = |key: &'static str| {
            move || FooterError::Run { key, text: entries.get(key).cloned().unwrap_or_default() }
        };
        let effect = get(EFFECT)?;
        let effect = EFFECTS.iter().find(|(_, name)| name == effect);
        Ok(Self {
            ledger: Ledger::new(get(LEDGER)?).map_err(FooterError::Identity)?,
            key: IntervalKey::parse(get(INTERVAL)?).ok_or_else(wrong(INTERVAL))?,
            ran: IntervalKey::parse(get(RAN)?).ok_or_else(wrong(RAN))?,
            generation: get(GENERATION)?.parse().map_err(|_| wrong(GENERATION)())?,
            effect: effect.ok_or_else(wrong(EFFECT))?.0,
            nonce: Nonce::parse(get(NONCE)?).map_err(FooterError::Identity)?,
        })
    }
}
