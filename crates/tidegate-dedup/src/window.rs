//! The window of one partition: the only type that a worker talks to.

use tidegate_types::{KeyPrecision, StreamTime};

use crate::clock::{ClockJump, StreamClock};
use crate::decide::{Candidate, Verdict, decide};
use crate::generations::Generations;
use crate::key::Fingerprint;
use crate::options::{WindowError, WindowOptions};

/// The accepted ids of one stream partition within the last W of stream time (D1).
///
/// # Guarantees
///
/// Verdicts depend on the order of messages and on their ids and times; not on batches, not on the
/// memory limit, not on snapshots taken or restored. A failed call changes nothing. Whoever gives up
/// a batch after it was judged must throw the window away (D3): its ids are in it.
pub struct Window {
    pub(crate) options: WindowOptions,
    clock: StreamClock,
    ids: Ids,
}

/// One implementation at both precisions.
pub(crate) enum Ids {
    Exact(Generations<16>),
    Short(Generations<8>),
}

/// Calls the same code for both precisions.
macro_rules! at_precision {
    ($ids:expr, $generations:ident => $body:expr) => {
        match $ids {
            Ids::Exact($generations) => $body,
            Ids::Short($generations) => $body,
        }
    };
}
pub(crate) use at_precision;

impl Window {
    /// A window that has seen nothing.
    #[must_use]
    pub fn new(options: WindowOptions) -> Self {
        let ids = match options.keys {
            KeyPrecision::Exact => Ids::Exact(Generations::new(&options)),
            KeyPrecision::Fingerprint => Ids::Short(Generations::new(&options)),
        };
        Self { clock: StreamClock::new(options.window), options, ids }
    }

    /// Judges messages that would be rows, in stream order, and takes up the ids of those that are.
    ///
    /// Messages that cannot be rows (dead letters, filtered ones) never enter the window but move
    /// stream time: pass them in their place without an id and ignore their verdicts, or call
    /// [`Self::advance_time`] between two calls.
    ///
    /// # Errors
    ///
    /// [`WindowError`]; nothing was changed, and the same batch may be judged again.
    pub fn judge(&mut self, candidates: &[Candidate]) -> Result<Vec<Verdict>, WindowError> {
        let kept = |id: Fingerprint| id.at(self.options.keys);
        let candidates: Vec<_> = candidates
            .iter()
            .map(|candidate| Candidate { id: candidate.id.map(kept), ..*candidate })
            .collect();
        let asked = candidates.iter().map(|candidate| candidate.id);
        let known = at_precision!(&self.ids, ids => ids.latest(asked))?;
        let decision = decide(&candidates, &known, self.clock);
        let horizon = decision.clock.horizon();
        at_precision!(&mut self.ids, ids => ids.admit(&decision.accepted, horizon))?;
        self.clock = decision.clock;
        Ok(decision.verdicts)
    }

    /// A message that is no candidate was published at `time`.
    pub fn advance_time(&mut self, time: StreamTime) {
        self.clock.observe(time);
        self.expire();
    }

    /// The table is known to reach to stream time `time` (the `time` of its floor, P2). Call it before
    /// rows are loaded, so that old ones need no memory; it reports no jump.
    pub fn resume_at(&mut self, time: StreamTime) {
        self.clock.catch_up(time);
        self.expire();
    }

    /// Loads the id of a row that the table holds. Doing it twice changes nothing, the order does not
    /// matter, and of several rows with one id the latest counts. Stream time is at least the row's.
    ///
    /// # Errors
    ///
    /// [`WindowError`]; the row was not loaded.
    pub fn insert(&mut self, id: Fingerprint, time: StreamTime) -> Result<(), WindowError> {
        self.insert_all(&[(id, time)])
    }

    /// [`Self::insert`] for many rows at once, which is much faster.
    ///
    /// # Errors
    ///
    /// [`WindowError`]; none of the rows was loaded.
    pub fn insert_all(&mut self, rows: &[(Fingerprint, StreamTime)]) -> Result<(), WindowError> {
        let mut clock = self.clock;
        rows.iter().for_each(|(_, time)| clock.catch_up(*time));
        at_precision!(&mut self.ids, ids => ids.admit(rows, clock.horizon()))?;
        self.clock = clock;
        Ok(())
    }

    /// The latest time of all messages so far (T); zero before the first.
    #[must_use]
    pub fn stream_time(&self) -> StreamTime {
        self.clock.time()
    }

    /// Ids of rows at or before this time are forgotten (T − W).
    #[must_use]
    pub fn horizon(&self) -> StreamTime {
        self.clock.horizon()
    }

    /// The longest forward jump beyond W since this was last asked (D4).
    pub fn clock_jump(&mut self) -> Option<ClockJump> {
        self.clock.take_jump()
    }

    /// Ids that are held, in memory and on disk; a few of them may be older than W.
    #[must_use]
    pub fn len(&self) -> usize {
        at_precision!(&self.ids, ids => ids.len())
    }

    /// Whether no id is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory that ids and the indexes of files take.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        at_precision!(&self.ids, ids => ids.memory_bytes())
    }

    /// Bytes of files on disk.
    #[must_use]
    pub fn spilled_bytes(&self) -> usize {
        at_precision!(&self.ids, ids => ids.spilled_bytes())
    }

    pub(crate) fn ids(&self) -> &Ids {
        &self.ids
    }

    fn expire(&mut self) {
        let horizon = self.clock.horizon();
        at_precision!(&mut self.ids, ids => ids.expire(horizon));
    }
}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Window")
            .field("options", &self.options)
            .field("stream_time", &self.stream_time())
            .field("len", &self.len())
            .finish()
    }
}
