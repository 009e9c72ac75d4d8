//! The settings of a ledger that outlive every worker (P2): which seed its fingerprints have, and which
//! partitions its positions are of (S9).
//!
//! They are named by a commit of their own before the first claim. Were they named by the first claim,
//! two workers that claim different partitions of a new table at once could each bring a seed, and the
//! fingerprints of one of them would be compared under the other's after a restart.

use std::collections::BTreeMap;

use object_store::ObjectStore;
use tidegate_config::PipelineConfig;
use tidegate_runtime::{Random, RunError};
use tidegate_table::ledger::{LedgerField, LedgerSettings, LedgerState, SideFile, TxnName};
use tidegate_table::log::{
    CommitKind, CommitLog, CommitRequest, CommitTag, Outcome, RetryPolicy, TableSnapshot,
};
use tidegate_types::{Incarnation, Nonce, Reason};
use tracing::warn;

use crate::source_setup;

/// Where the settings of a ledger are.
pub(crate) struct SettingsPlace<'a> {
    pub(crate) log: &'a CommitLog,
    /// The table's.
    pub(crate) store: &'a dyn ObjectStore,
    pub(crate) config: &'a PipelineConfig,
    pub(crate) incarnation: Incarnation,
}

/// Reads the ledger's settings, or makes them. A changed deduplication key is written down with the
/// old seed.
///
/// # Errors
///
/// When the partitions are others than those that were read: positions of one set mean nothing for
/// another, and messages would be read twice or never (S9).
pub(crate) async fn open(
    place: &SettingsPlace<'_>,
    mut snapshot: TableSnapshot,
    random: &mut Random,
) -> Result<(LedgerSettings, TableSnapshot), RunError> {
    let config = place.config;
    loop {
        let known = place.known(&snapshot).await?;
        let wanted = wanted(config, known.as_ref(), || random.bits());
        if let Some(known) = known.as_ref().filter(|known| **known == wanted) {
            return Ok((known.clone(), snapshot));
        }
        let rekeyed = known.as_ref().is_some_and(|known| known.dedup_key != wanted.dedup_key);
        if rekeyed && config.dedup.is_some() {
            warn!(
                pipeline = config.name,
                reason = %Reason::WindowFilling,
                "the deduplication key changed: a new window begins, and reaches back in full once it has passed"
            );
        }
        let nonce = random.nonce();
        wanted.write(place.store, &config.ledger, nonce).await?;
        place.name_in_log(&snapshot, nonce, random).await?;
        snapshot = place.log.refresh(&snapshot).await?.0;
    }
}

/// What the settings should be.
fn wanted(
    config: &PipelineConfig,
    known: Option<&LedgerSettings>,
    fresh_seed: impl FnOnce() -> u64,
) -> LedgerSettings {
    let windows = [
        known.and_then(|known| known.narrowest_window),
        config.dedup.as_ref().map(|dedup| dedup.window),
    ];
    LedgerSettings {
        // The seed stays: what tells the keys apart is in `key_seed`.
        fingerprint_seed: known.map_or_else(fresh_seed, |known| known.fingerprint_seed),
        dedup_key: config.dedup.as_ref().map(|dedup| dedup.key.clone()),
        partitions: source_setup::filters(&config.source).into_values().collect(),
        narrowest_window: windows.into_iter().flatten().min(),
    }
}

impl SettingsPlace<'_> {
    /// The settings that the log names.
    async fn known(&self, snapshot: &TableSnapshot) -> Result<Option<LedgerSettings>, RunError> {
        let ledger = &self.config.ledger;
        let state = LedgerState::read(snapshot.txns(), ledger, self.incarnation)?;
        let Some(nonce) = state.keys else { return Ok(None) };
        let known = LedgerSettings::read(self.store, ledger, nonce).await?;
        if state.partitions.values().any(|partition| partition.floor.is_some()) {
            let filters: Vec<_> =
                source_setup::filters(&self.config.source).into_values().collect();
            check_partitions(&known.partitions, &filters)?;
        }
        Ok(Some(known))
    }

    async fn name_in_log(
        &self,
        snapshot: &TableSnapshot,
        keys: Nonce,
        random: &mut Random,
    ) -> Result<Outcome, RunError> {
        let ledger = self.config.ledger.clone();
        let name = TxnName::Ledger(ledger.clone(), LedgerField::Keys).to_string();
        let tag = CommitTag { ledger, kind: CommitKind::Claim, nonce: random.nonce() };
        let txns = BTreeMap::from([(name, keys.as_txn())]);
        let request = CommitRequest { txns, ..CommitRequest::new(tag) };
        let prepared = self.log.prepare(snapshot, &request).await?;
        let forever = std::future::pending();
        Ok(self.log.settle(&prepared, &RetryPolicy::default(), forever).await?)
    }
}

fn check_partitions(known: &[Option<String>], now: &[Option<String>]) -> Result<(), RunError> {
    // Earlier releases did not write them down.
    if known.is_empty() || known == now {
        return Ok(());
    }
    let names = |filters: &[Option<String>]| {
        let name = |filter: &Option<String>| filter.clone().unwrap_or_else(|| ">".to_owned());
        filters.iter().map(name).collect::<Vec<_>>().join(", ")
    };
    let what = format!(
        "the stream was read in the partitions {}, source.jetStream.partitioning now asks for {}; \
         partitions cannot be changed",
        names(known),
        names(now)
    );
    Err(RunError::permanent(Reason::InvalidConfiguration, what))
}

/// The seed of the fingerprints under the pipeline's deduplication key. The key is part of it, so that
/// ids in the table that were made from another header are never taken for ids of this one.
pub(crate) fn key_seed(settings: &LedgerSettings) -> u64 {
    let key = serde_json::to_string(&settings.dedup_key).unwrap_or_default();
    xxhash_rust::xxh3::xxh3_64_with_seed(key.as_bytes(), settings.fingerprint_seed)
}

/// Changes with everything that a window snapshot depends on.
pub(crate) fn window_hash(config: &PipelineConfig, seed: u64) -> u64 {
    let rule = serde_json::to_string(&config.dedup).unwrap_or_default();
    xxhash_rust::xxh3::xxh3_64_with_seed(rule.as_bytes(), seed)
}

#[cfg(test)]
mod tests {
    use tidegate_types::DedupKey;

    use super::*;

    #[test]
    fn s9_positions_are_of_the_partitions_that_were_read() {
        let declared = |of: &[&str]| of.iter().map(|f| Some((*f).to_owned())).collect::<Vec<_>>();
        let two = declared(&["p.0.>", "p.1.>"]);
        assert!(check_partitions(&two, &two).is_ok());
        assert!(check_partitions(&[], &two).is_ok(), "an earlier release");
        for other in [vec![None], declared(&["p.0.>"]), declared(&["q.0.>", "q.1.>"])] {
            let error = check_partitions(&two, &other).expect_err("other partitions");
            assert!(!error.is_transient(), "{error}");
            assert!(check_partitions(&other, &two).is_err());
        }
    }

    #[test]
    fn d2_ids_of_another_key_are_never_compared() {
        let settings = |header: &str| LedgerSettings {
            fingerprint_seed: 7,
            dedup_key: Some(DedupKey::Header(header.to_owned())),
            partitions: vec![None],
            narrowest_window: None,
        };
        assert_eq!(key_seed(&settings("A")), key_seed(&settings("A")));
        assert_ne!(key_seed(&settings("A")), key_seed(&settings("B")));
    }
}
