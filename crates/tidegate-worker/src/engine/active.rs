//! A partition that is held and read, as the engine knows it.

use tidegate_dedup::Window;
use tidegate_source::EmptyTo;
use tidegate_types::{Epoch, Position, StreamTime};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::decide::{batch_limit, eased};
use crate::reading::Order;

/// A partition that this worker holds and reads.
pub(super) struct Active {
    pub(super) epoch: Epoch,
    /// The floor on which the next batch rests: committed, or of a batch in flight.
    pub(super) base: Position,
    pub(super) cursor: Position,
    pub(super) time: StreamTime,
    pub(super) window: Option<Window>,
    pub(super) number: u64,
    pub(super) stop: CancellationToken,
    pub(super) orders: mpsc::Sender<Order>,
    /// What the reading knows at once, whatever it does.
    pub(super) empty_to: EmptyTo,
    pub(super) pending: u64,
    pub(super) caught_up: bool,
    /// The broker's time up to which nothing is missing.
    pub(super) complete: StreamTime,
    /// No commit since the claim: the first one is made at once (P7). Likewise while batches are small.
    pub(super) fresh: bool,
    pub(super) snapshot_at: Instant,
    /// As in the log: what lets batches shrink (S8).
    pub(super) stuck: u32,
    pub(super) batch_limit: usize,
}

impl Active {
    /// After a commit: larger batches again, where they were small (S8). Until they are as `usual`,
    /// each is committed at once, so that a death costs little.
    pub(super) fn ease(&mut self, usual: usize) {
        let stuck = eased(self.stuck);
        let limit = batch_limit(stuck, usual);
        // A full channel means that older orders wait; the next commit tries again.
        if limit == self.batch_limit || self.orders.try_send(Order::Limit(limit)).is_ok() {
            (self.stuck, self.batch_limit) = (stuck, limit);
        }
        self.fresh = self.batch_limit < usual;
    }
}
