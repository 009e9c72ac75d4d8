//! The coordinator's desk, where readers in pods of their own fetch chunks and bring outcomes.
//!
//! The coordinator holds the snapshot and alone commits. A reader asks for its chunk by number, joins the
//! snapshot, reads and writes under names of its own, and brings what it wrote. The first outcome of a
//! chunk under this attempt's pass wins (B6); whoever comes later, or with another attempt's pass, is
//! turned away. Nothing that is brought counts before the coordinator has looked for the files itself.

mod client;
mod confirm;
mod messages;
mod standing;
mod token;
mod worker;

#[cfg(test)]
pub(crate) mod tests;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tidegate_config::{DeskReport, GivenUp};
use tidegate_extract::{Chunk, Snapshot};
use tidegate_runtime::RunError;
use tidegate_types::{DataInterval, Reason};
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};

use crate::chunks::ChunkOutcome;
use crate::decide::{DeskDecision, GatherDecision, GatherFacts, decide_gather};
use crate::progress::Progress;

pub(crate) use self::confirm::{Expected, confirm};
use self::messages::ChunkResult;
pub(crate) use self::messages::{DeskAnswer, Pass};
use self::standing::Standing;
pub use self::token::DeskToken;
pub use self::worker::{ChunkOptions, transfer_chunk};

/// The largest outcome that is taken, in bytes: dead letters have half of it at most.
pub const LARGEST_OUTCOME: usize = 32 << 20;
/// How long nobody may be heard: a reader speaks up every ten seconds, but its pod may have to wait for
/// a node that has to be bought first.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// How often the source is asked meanwhile whether it holds the snapshot.
const LOOKS_AFTER: Duration = Duration::from_secs(30);
/// Most chunks of a plan whose readers have pods of their own: what Kubernetes takes with room.
const MOST_CHUNKS: usize = 10_000;

/// The desk of one coordinator. It is closed until the plan is there.
#[derive(Debug, Default)]
pub struct ChunkDesk {
    token: DeskToken,
    standing: Mutex<Option<Standing>>,
    changed: Notify,
}

/// What the desk says to one caller: an HTTP status, and JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// What it says, for the other side of the desk.
    pub body: String,
}

/// What an attempt hands out.
pub(crate) struct Opening {
    pub(crate) pass: Pass,
    pub(crate) ticket: Value,
    pub(crate) interval: Option<DataInterval>,
    pub(crate) columns: u64,
    pub(crate) chunks: Vec<Chunk>,
    /// Readers at a time.
    pub(crate) parallelism: u32,
    pub(crate) progress: Progress,
}

/// A desk that hands out chunks: closed when nobody waits for them any longer, however that ends.
struct Opened<'a> {
    desk: &'a ChunkDesk,
    progress: Progress,
}

impl ChunkDesk {
    /// A desk for those who know the token.
    #[must_use]
    pub fn new(token: DeskToken) -> Self {
        Self { token, ..Self::default() }
    }

    /// `GET <nonce>/<chunk>`: what the chunk's reader is to do. With `/alive` behind it the reader only
    /// says that it reads, so that both sides know that the other one lives.
    pub fn order(&self, rest: &str) -> Reply {
        let (rest, alive) = match rest.strip_suffix("/alive") {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let asked = rest.split_once('/').and_then(|(nonce, n)| Some((nonce, n.parse().ok()?)));
        let Some((nonce, number)) = asked else {
            return refused(404, "ask for <nonce>/<chunk>");
        };
        let mut standing = self.standing();
        let Some(standing) = standing.as_mut() else { return not_yet() };
        let decision = standing.decide(nonce == standing.order.pass.nonce, number);
        if decision == DeskDecision::Welcome {
            standing.heard = Instant::now();
            return match alive {
                true => answer(200, &DeskAnswer::Taken),
                false => answer(200, &DeskAnswer::Order(Box::new(standing.order_for(number)))),
            };
        }
        turned_away(decision, number)
    }

    /// `POST`: how the reading of a chunk ended.
    pub fn take(&self, body: &[u8]) -> Reply {
        let result = match ChunkResult::from_bytes(body) {
            Ok(result) => result,
            Err(what) => return refused(400, &what),
        };
        let mut standing = self.standing();
        let Some(standing) = standing.as_mut() else { return not_yet() };
        let own = result.pass == standing.order.pass;
        let decision = standing.decide(own, result.chunk);
        if decision != DeskDecision::Welcome {
            return turned_away(decision, result.chunk);
        }
        standing.heard = Instant::now();
        let reply = standing.take(result);
        self.changed.notify_one();
        reply
    }

    /// `POST`: the Job of this attempt's readers was given up.
    pub fn give_up(&self, body: &[u8]) -> Reply {
        let Ok(told) = serde_json::from_slice::<GivenUp>(body) else {
            return refused(400, "say {nonce, message}");
        };
        let mut standing = self.standing();
        let Some(standing) = standing.as_mut() else { return not_yet() };
        if told.nonce != standing.order.pass.nonce {
            return refused(409, "that is another attempt's");
        }
        if standing.missing == 0 {
            return answer(200, &DeskAnswer::AlreadyThere);
        }
        standing.give_up(told);
        self.changed.notify_one();
        answer(200, &DeskAnswer::Taken)
    }

    /// Hands out the chunks and waits until all of them are there.
    ///
    /// # Errors
    ///
    /// When a chunk cannot be read, its Job was given up, the snapshot is lost, or nobody is heard.
    pub(crate) async fn gather(
        &self,
        mut opening: Opening,
        snapshot: &dyn Snapshot,
    ) -> Result<Vec<ChunkOutcome>, RunError> {
        if opening.chunks.len() > MOST_CHUNKS {
            let what = format!(
                "the plan has {} chunks, more than the {MOST_CHUNKS} that may be read in pods of their \
                 own: raise bulk.chunking.targetRows",
                opening.chunks.len()
            );
            return Err(RunError::permanent(Reason::InvalidConfiguration, what));
        }
        let progress = opening.progress.clone();
        let told =
            DeskReport { nonce: opening.pass.nonce.clone(), parallelism: opening.parallelism };
        opening.pass.nonce = self.token.key(&opening.pass.nonce);
        *self.standing() = Some(Standing::new(opening));
        progress.set(|report| report.desk = Some(told));
        let _opened = Opened { desk: self, progress };
        self.until_gathered(snapshot).await
    }

    async fn until_gathered(&self, snapshot: &dyn Snapshot) -> Result<Vec<ChunkOutcome>, RunError> {
        // Made once: outcomes that come one upon the other must not put the look off.
        let mut looks = tokio::time::interval_at(Instant::now() + LOOKS_AFTER, LOOKS_AFTER);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if let Some(end) = self.look(Instant::now()) {
                return end;
            }
            tokio::select! {
                () = self.changed.notified() => {}
                _ = looks.tick() => snapshot.check().await?,
            }
        }
    }

    /// The end, if this is one.
    fn look(&self, now: Instant) -> Option<Result<Vec<ChunkOutcome>, RunError>> {
        let mut standing = self.standing();
        let standing = standing.as_mut()?;
        let facts = GatherFacts {
            missing: standing.missing,
            failed: standing.failed.is_some(),
            silent_for: now.saturating_duration_since(standing.heard),
            patience: PATIENCE,
        };
        match decide_gather(facts) {
            GatherDecision::Wait => None,
            GatherDecision::Done => {
                standing.open = false;
                Some(Ok(standing.outcomes.iter_mut().filter_map(Option::take).collect()))
            }
            GatherDecision::Failed => standing.failed.take().map(Err),
            GatherDecision::Forsaken => Some(Err(standing.forsaken())),
        }
    }

    /// From now on everybody is turned away but those whose chunk is there.
    fn close(&self) {
        if let Some(standing) = self.standing().as_mut() {
            standing.open = false;
        }
    }

    fn standing(&self) -> MutexGuard<'_, Option<Standing>> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        self.progress.set(|report| report.desk = None);
        self.desk.close();
    }
}

fn turned_away(decision: DeskDecision, number: u32) -> Reply {
    match decision {
        DeskDecision::AlreadyThere | DeskDecision::Welcome => {
            answer(200, &DeskAnswer::AlreadyThere)
        }
        DeskDecision::Stranger => refused(409, "that attempt is over, or it is not the one here"),
        DeskDecision::NoSuchChunk => refused(404, &format!("the plan has no chunk {number}")),
    }
}

fn not_yet() -> Reply {
    refused(503, "nothing is planned yet")
}

fn refused(status: u16, what: &str) -> Reply {
    answer(status, &DeskAnswer::Refused(what.to_owned()))
}

fn answer(status: u16, said: &DeskAnswer) -> Reply {
    match serde_json::to_string(said) {
        Ok(body) => Reply { status, body },
        Err(error) => Reply { status: 500, body: error.to_string() },
    }
}

/// A hash of columns by name and type, in their order.
pub(crate) fn columns_mark(columns: &arrow::datatypes::Schema) -> u64 {
    let fields = columns.fields().iter();
    let texts: Vec<String> =
        fields.map(|field| format!("{:?}", (field.name(), field.data_type()))).collect();
    xxhash_rust::xxh3::xxh3_64(texts.join("\n").as_bytes())
}
