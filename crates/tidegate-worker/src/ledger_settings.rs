//! The settings of a ledger that outlive every worker (P2): which seed its fingerprints have, and which
//! partitions its positions are of (S9).
//!
//! They are named by a commit of their own before the first claim. Were they named by the first claim,
//! two workers that claim different partitions of a new table at once could each bring a seed, and the
//! fingerprints of one of them would be compared under the other's after a restart.

use std::collections::BTreeMap;
use std::sync::Arc;

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

/// Reads the ledger's settings, or makes them. A changed deduplication key is written down with the
/// old seed.
///
/// # Errors
///
/// When the partitions are others than those that were read: positions of one set mean nothing for
/// another, and messages would be read twice or never (S9).
pub(crate) async fn open(
    log: &CommitLog,
    store: &Arc<dyn ObjectStore>,
    config: &PipelineConfig,
    mut snapshot: TableSnapshot,
    incarnation: Incarnation,
    random: &mut Random,
) -> Result<(LedgerSettings, TableSnapshot), RunError> {
    let ledger = &config.ledger;
    let dedup_key = config.dedup.as_ref().map(|dedup| dedup.key.clone());
    let partitions: Vec<_> = source_setup::filters(&config.source).into_values().collect();
    loop {
        let state = LedgerState::read(snapshot.txns(), ledger, incarnation)?;
        let known = match state.keys {
            Some(nonce) => Some(LedgerSettings::read(store.as_ref(), ledger, nonce).await?),
            None => None,
        };
        let read = state.partitions.values().any(|partition| partition.floor.is_some());
        if let Some(known) = known.as_ref().filter(|_| read) {
            check_partitions(&known.partitions, &partitions)?;
        }
        let windows = [
            known.as_ref().and_then(|known| known.narrowest_window),
            config.dedup.as_ref().map(|dedup| dedup.window),
        ];
        let narrowest_window = windows.into_iter().flatten().min();
        let same = |known: &&LedgerSettings| {
            known.dedup_key == dedup_key
                && known.partitions == partitions
                && known.narrowest_window == narrowest_window
        };
        if let Some(known) = known.as_ref().filter(same) {
            return Ok((known.clone(), snapshot));
        }
        let rekeyed = known.as_ref().is_some_and(|known| known.dedup_key != dedup_key);
        if rekeyed && config.dedup.is_some() {
            warn!(
                pipeline = config.name,
                reason = %Reason::WindowFilling,
                "the deduplication key changed: a new window begins, and reaches back in full once it has passed"
            );
        }
        // The seed stays: what tells the keys apart is in `key_seed`.
        let fingerprint_seed = known.map_or_else(|| random.bits(), |known| known.fingerprint_seed);
        let (dedup_key, partitions) = (dedup_key.clone(), partitions.clone());
        let settings = LedgerSettings { fingerprint_seed, dedup_key, partitions, narrowest_window };
        let nonce = random.nonce();
        settings.write(store.as_ref(), ledger, nonce).await?;
        name_in_log(log, config, &snapshot, nonce, random).await?;
        snapshot = log.refresh(&snapshot).await?.0;
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

async fn name_in_log(
    log: &CommitLog,
    config: &PipelineConfig,
    snapshot: &TableSnapshot,
    keys: Nonce,
    random: &mut Random,
) -> Result<Outcome, RunError> {
    let ledger = config.ledger.clone();
    let name = TxnName::Ledger(ledger.clone(), LedgerField::Keys).to_string();
    let tag = CommitTag { ledger, kind: CommitKind::Claim, nonce: random.nonce() };
    let txns = BTreeMap::from([(name, keys.as_txn())]);
    let request = CommitRequest { txns, ..CommitRequest::new(tag) };
    let prepared = log.prepare(snapshot, &request).await?;
    let forever = std::future::pending();
    Ok(log.settle(&prepared, &RetryPolicy::default(), forever).await?)
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
