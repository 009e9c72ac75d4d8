//! Finished chunks of files are kept for the next attempt, should this one die (B5).
//!
//! What a chunk of pinned files holds is the same, whoever reads it. So its outcome is written beside the table
//! when its data files are complete, under a mark of everything that its rows depend on. The next attempt takes
//! over what has its mark and is still there whole, and its commit says which generation the rows carry.
//!
//! Keeping is a favour: whatever goes wrong with it, the chunk is read again.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, future, stream};
use jiff::Timestamp;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::json;
use tidegate_extract::Plan;
use tidegate_table::files::layout::{KeptName, kept_chunks};
use tidegate_table::ledger::{Claim, IntervalKey};
use tidegate_types::Ledger;
use tracing::{debug, info, warn};
use xxhash_rust::xxh3::xxh3_128;

use crate::attempt::{Attempt, Keeping};
use crate::chunk_outcome::ChunkOutcome;
use crate::confirm::confirm;

/// Objects that are read or removed side by side.
const AT_ONCE: usize = 8;
/// Older files are not taken over: half of what a run's files may be old (P8), so that the clocks of store and
/// pod may differ by as much.
const MAX_AGE: Duration = Duration::from_secs(12 * 3600);

/// What an attempt finds.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// How its own chunks are kept; none: they are not.
    pub(crate) keeping: Option<Keeping>,
    /// Chunks of earlier attempts.
    pub(crate) outcomes: Vec<ChunkOutcome>,
    /// Age of the oldest of their files.
    pub(crate) age: Duration,
}

/// Everything that the rows of a plan's chunks depend on, in short: the program, the table, the pipeline but for
/// what only says when and how a run commits, the interval, the columns, the files and how they are divided. None
/// where the files may change under the same fingerprint.
pub(crate) fn mark(attempt: Attempt<'_>, table_id: &str, plan: &Plan) -> Option<u128> {
    let mut config = serde_json::to_value(attempt.config).ok().filter(|_| plan.pinned)?;
    for unimportant in ["schedule", "chunking", "placement", "allowShrink"] {
        config.as_object_mut()?.remove(unimportant);
    }
    let text = json!({
        "program": env!("CARGO_PKG_VERSION"),
        "table": table_id,
        "config": config,
        "interval": attempt.interval,
        "columns": format!("{:?}", attempt.layout.file_schema),
        "files": plan.fingerprint,
        "chunks": plan.chunks,
    });
    Some(xxh3_128(text.to_string().as_bytes()))
}

/// Of what lies in the folder that which may be taken over: under this mark, by the newest attempt that kept
/// something, unless a commit came after it. One outcome of each chunk.
fn choose(found: Vec<KeptName>, mark: u128, held: u64, generation: u64) -> Vec<KeptName> {
    let may_be =
        |kept: &KeptName| kept.mark == mark && (held + 1..generation).contains(&kept.origin);
    let mut chosen: Vec<_> = found.into_iter().filter(may_be).collect();
    let newest = chosen.iter().map(|kept| kept.origin).max();
    chosen.retain(|kept| Some(kept.origin) == newest);
    chosen.sort_unstable();
    chosen.dedup_by_key(|kept| kept.chunk);
    chosen
}

/// The folder in which attempts at an interval keep their chunks.
struct Folder {
    store: Arc<dyn ObjectStore>,
    path: Path,
}

impl Folder {
    fn new(store: &Arc<dyn ObjectStore>, ledger: &Ledger, key: IntervalKey) -> Self {
        Self { store: Arc::clone(store), path: kept_chunks(ledger, &key.to_string()) }
    }

    fn of(attempt: Attempt<'_>) -> Self {
        let key = attempt.interval.map_or(IntervalKey::All, IntervalKey::Of);
        Self::new(&attempt.store.data, &attempt.config.ledger, key)
    }

    async fn list(&self) -> Result<Vec<KeptName>, object_store::Error> {
        let objects = self.store.list(Some(&self.path)).map_ok(|object| object.location);
        let names = objects.map_ok(|object| KeptName::parse(&self.path, &object));
        names.try_filter_map(|name| async move { Ok(name) }).try_collect().await
    }

    async fn read(&self, name: KeptName) -> Result<ChunkOutcome, Box<dyn Error + Send + Sync>> {
        let object = self.store.get(&name.path(&self.path)).await?;
        let bytes = object.bytes().await?;
        if xxh3_128(&bytes) != name.checksum {
            return Err("its checksum does not match".into());
        }
        let outcome = ChunkOutcome::from_bytes(&bytes)?;
        match outcome.number == name.chunk {
            true => Ok(outcome),
            false => Err("it is of another chunk".into()),
        }
    }

    /// Best effort: what stays is found by the next commit of the interval.
    async fn clear(&self, generation: u64) {
        let Ok(found) = self.list().await else { return };
        let old = found.into_iter().filter(|kept| kept.origin <= generation);
        let removed = stream::iter(old.map(|name| name.path(&self.path)));
        removed
            .for_each_concurrent(AT_ONCE, |path| async move {
                if let Err(error) = self.store.delete(&path).await {
                    debug!(%path, error = &error as &dyn Error, "a kept chunk was not removed");
                }
            })
            .await;
    }
}

impl Kept {
    /// What an attempt at pinned files takes over, and how it keeps its own chunks. `held`: the highest generation
    /// that what it replaces was committed as.
    pub(crate) async fn find(attempt: Attempt<'_>, mark: u128, held: Option<u64>) -> Self {
        let (generation, folder) = (attempt.generation, Folder::of(attempt));
        let found = folder.list().await.unwrap_or_else(|error| {
            let error = &error as &dyn Error;
            warn!(error, "what earlier attempts kept cannot be listed; all chunks are read");
            Vec::new()
        });
        let chosen = choose(found, mark, held.unwrap_or(0), generation);
        let origin = chosen.first().map_or(generation, |kept| kept.origin);
        let keeping = Keeping { origin, mark: format!("{mark:032x}") };
        let attempt = Attempt { keeping: Some(&keeping), ..attempt };
        let outcomes = take_over(attempt, &folder, chosen).await;
        let age = outcomes.iter().map(age).max().unwrap_or_default();
        Self { keeping: Some(keeping), outcomes, age }
    }
}

/// The outcomes whose files are all there as they were written, and not too old.
async fn take_over(
    attempt: Attempt<'_>,
    folder: &Folder,
    chosen: Vec<KeptName>,
) -> Vec<ChunkOutcome> {
    let taken = stream::iter(chosen).map(|name| async move {
        let taken = take_one(attempt, folder, name).await.inspect_err(|error| {
            let error = error.as_ref() as &dyn Error;
            warn!(chunk = name.chunk, error, "a chunk that was kept is read again");
        });
        taken.ok().filter(|outcome| age(outcome) <= MAX_AGE)
    });
    let outcomes: Vec<_> = taken.buffered(AT_ONCE).filter_map(future::ready).collect().await;
    if !outcomes.is_empty() {
        let (chunks, origin) = (outcomes.len(), attempt.origin());
        info!(chunks, origin, "chunks of an earlier attempt are kept");
    }
    outcomes
}

async fn take_one(
    attempt: Attempt<'_>,
    folder: &Folder,
    name: KeptName,
) -> Result<ChunkOutcome, Box<dyn Error + Send + Sync>> {
    let outcome = folder.read(name).await?;
    let confirmed = confirm(attempt, vec![outcome]).await?;
    confirmed.into_iter().next().ok_or_else(|| "it is empty".into())
}

/// How long ago the store took the oldest of the files.
fn age(outcome: &ChunkOutcome) -> Duration {
    let now = Timestamp::now().as_millisecond();
    let written = outcome.files.iter().map(|file| file.modification_time_ms).min();
    Duration::from_millis((now - written.unwrap_or(now)).max(0).unsigned_abs())
}

/// Keeps the chunks of one attempt.
pub(crate) struct ChunkKeeper {
    folder: Folder,
    keeping: Keeping,
}

impl ChunkKeeper {
    /// None where the attempt keeps nothing.
    pub(crate) fn of(attempt: Attempt<'_>) -> Option<Self> {
        Some(Self { folder: Folder::of(attempt), keeping: attempt.keeping?.clone() })
    }

    /// Best effort.
    pub(crate) async fn keep(&self, outcome: &ChunkOutcome) {
        if let Err(error) = self.write(outcome).await {
            let error = error.as_ref() as &dyn Error;
            warn!(chunk = outcome.number, error, "the chunk is not kept for a next attempt");
        }
    }

    async fn write(&self, outcome: &ChunkOutcome) -> Result<(), Box<dyn Error + Send + Sync>> {
        let Keeping { origin, mark } = &self.keeping;
        let bytes = outcome.to_bytes()?;
        let mark = u128::from_str_radix(mark, 16)?;
        let chunk = outcome.number;
        let name = KeptName { origin: *origin, mark, chunk, checksum: xxh3_128(&bytes) };
        let Folder { store, path } = &self.folder;
        store.put(&name.path(path), bytes.into()).await?;
        Ok(())
    }
}

/// Removes what this attempt and those before it kept: their rows are in the table, or never will be.
pub(crate) async fn forget(store: &Arc<dyn ObjectStore>, ledger: &Ledger, claim: &Claim) {
    Folder::new(store, ledger, claim.key).clear(claim.generation).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(origin: u64, mark: u128, chunk: u32) -> KeptName {
        KeptName { origin, mark, chunk, checksum: 7 }
    }

    #[test]
    fn b5_only_what_the_newest_attempt_since_the_last_commit_kept_is_taken_over() {
        let two = [kept(2, 9, 0), kept(2, 9, 1)];
        let again = KeptName { checksum: 8, ..kept(2, 9, 1) };
        for (name, found, held, expected) in [
            ("nothing", vec![], 0, vec![]),
            ("two chunks", two.to_vec(), 0, two.to_vec()),
            ("one of them twice", [&two[..], &[again]].concat(), 0, two.to_vec()),
            ("under another mark", vec![kept(2, 8, 0)], 0, vec![]),
            ("of two attempts", [&two[..], &[kept(1, 9, 2)]].concat(), 0, two.to_vec()),
            ("newer under another mark", [&two[..], &[kept(3, 8, 2)]].concat(), 0, two.to_vec()),
            ("that was committed", two.to_vec(), 2, vec![]),
            ("by an attempt after a commit", two.to_vec(), 1, two.to_vec()),
            ("of this very number, or a later one", vec![kept(5, 9, 0), kept(6, 9, 1)], 0, vec![]),
        ] {
            assert_eq!(choose(found, 9, held, 5), expected, "{name}");
        }
    }
}
