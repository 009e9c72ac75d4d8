//! Whether the path can give what was asked for, from the facts of stream and store.

use tidegate_config::{
    Assessment, Discard, PathFacts, PipelineConfig, StoreFacts, StreamRetention, assess,
};
use tidegate_runtime::RunError;
use tidegate_source::{RetentionKind, StreamFacts};
use tidegate_table::store::{self, TableStore};
use tidegate_types::{Nonce, Reason, Span};
use tracing::{info, warn};

/// Whether the store honours a conditional put.
///
/// # Errors
///
/// When it cannot be asked.
pub(crate) async fn probe(table: &TableStore, nonce: Nonce) -> Result<bool, RunError> {
    match store::probe(table, nonce).await {
        Ok(()) => Ok(true),
        Err(error) if error.reason() == Reason::CommitStoreUnsafe => {
            warn!(error = %error, reason = %Reason::CommitStoreUnsafe, "the store does not honour a conditional put");
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// Asks the store whether it honours a conditional put, and the calculator about the whole path.
///
/// # Errors
///
/// When the store cannot be used at all, or the path cannot give the guarantee; the weakest hop is
/// named, and what to do about it.
pub(crate) async fn check(
    config: &PipelineConfig,
    stream: &StreamFacts,
    table: &TableStore,
    nonce: Nonce,
) -> Result<Assessment, RunError> {
    let conditional_put = probe(table, nonce).await?;
    let facts = path_facts(stream, conditional_put);
    let assessment = assess(config, &facts);
    for caveat in &assessment.caveats {
        match caveat.reason {
            Some(reason) => warn!(pipeline = config.name, %reason, "{}", caveat.text),
            None => info!(pipeline = config.name, "{}", caveat.text),
        }
    }
    match &assessment.weakest_hop {
        Some(hop) => {
            let what = format!(
                "{:?} was asked for, the path gives {:?}: {hop}",
                assessment.requested, assessment.effective
            );
            Err(RunError::permanent(Reason::GuaranteeNotMet, what))
        }
        // Commits of every guarantee rest on it; the calculator only speaks of the strongest.
        None if !conditional_put => Err(RunError::permanent(
            Reason::CommitStoreUnsafe,
            "the object store does not honour a conditional put, on which every commit rests",
        )),
        None => Ok(assessment),
    }
}

pub(crate) fn path_facts(stream: &StreamFacts, conditional_put: bool) -> PathFacts {
    let retention = match stream.retention {
        RetentionKind::Limits => StreamRetention::Limits,
        RetentionKind::WorkQueue => StreamRetention::WorkQueue,
        RetentionKind::Interest => StreamRetention::Interest,
    };
    let millis = u64::try_from(stream.duplicate_window.as_millis()).unwrap_or(u64::MAX);
    PathFacts {
        stream: tidegate_config::StreamFacts {
            retention: Some(retention),
            discard: Some(if stream.discard_old { Discard::Old } else { Discard::New }),
            max_messages_per_subject: stream.max_messages_per_subject,
            allow_message_ttl: Some(stream.allow_message_ttl),
            allow_rollup: Some(stream.allow_rollup),
            deny_delete: Some(stream.deny_delete),
            replicas: Some(stream.replicas),
            sync_always: stream.sync_always,
            duplicate_window: Some(Span::millis(millis)),
        },
        store: StoreFacts { conditional_put: Some(conditional_put) },
    }
}
