//! The connections that hold the snapshot, and the readers that borrow them.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::consts::StatusFlags;
use mysql_async::prelude::Queryable;
use tidegate_types::Reason;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::failure::{Stage, explain};
use crate::ExtractError;

const PING_LIMIT: Duration = Duration::from_secs(30);
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// Connections in a transaction of the same snapshot, as many as were opened and never more. One that
/// broke, or was left in the middle of an answer, is not replaced: a new one would see something else.
pub(super) struct Lanes {
    idle: Mutex<Vec<Conn>>,
    /// A permit for each connection that is left.
    free: Semaphore,
    left: AtomicUsize,
    opened: usize,
    shown: String,
}

/// A borrowed connection. Unless it is given back it is closed, and its snapshot with it: after an
/// error, or when a reader goes away, nobody knows what the server is about to send.
pub(super) struct Lane<'a> {
    lanes: &'a Lanes,
    /// There until the lane is given back.
    conn: Option<Conn>,
    permit: Option<SemaphorePermit<'a>>,
}

impl Lanes {
    /// All connections, each in its transaction. `shown` is the server, for messages.
    pub(super) fn new(connections: Vec<Conn>, shown: String) -> Self {
        let opened = connections.len();
        Self {
            idle: Mutex::new(connections),
            free: Semaphore::new(opened),
            left: AtomicUsize::new(opened),
            opened,
            shown,
        }
    }

    /// Borrows a connection when one is free.
    pub(super) async fn take(&self) -> Result<Lane<'_>, ExtractError> {
        let permit = self.free.acquire().await.map_err(|_| self.lost())?;
        self.lane(permit)
    }

    /// Whether every connection that is not borrowed still holds its snapshot, and none was lost.
    pub(super) async fn check(&self) -> Result<(), ExtractError> {
        let mut checked = Vec::new();
        while let Ok(permit) = self.free.try_acquire() {
            let mut lane = self.lane(permit)?;
            self.check_one(&mut lane).await?;
            checked.push(lane);
        }
        checked.into_iter().for_each(Lane::give_back);
        let all_are_left = self.left.load(Ordering::Acquire) == self.opened;
        if all_are_left { Ok(()) } else { Err(self.lost()) }
    }

    /// Ends all transactions and connections.
    pub(super) async fn close(&self) {
        self.free.close();
        let connections = std::mem::take(&mut *self.idle());
        let ends = connections.into_iter().map(|mut conn| async move {
            // The server does the same when it notices that we are gone.
            let _ = conn.query_drop("ROLLBACK").await;
            let _ = conn.disconnect().await;
        });
        let _ = tokio::time::timeout(CLOSE_LIMIT, futures::future::join_all(ends)).await;
    }

    async fn check_one(&self, conn: &mut Conn) -> Result<(), ExtractError> {
        let doing = format!("{}: asking for the snapshot", self.shown);
        let answer = tokio::time::timeout(PING_LIMIT, conn.ping()).await;
        let answered = answer.map_err(|_| self.lost())?;
        answered.map_err(|error| explain(Stage::Reading, &doing, error))?;
        let status = conn.last_ok_packet().map(mysql_async::OkPacket::status_flags);
        let held = status.is_some_and(|s| s.contains(StatusFlags::SERVER_STATUS_IN_TRANS));
        if held { Ok(()) } else { Err(self.lost()) }
    }

    fn lane<'a>(&'a self, permit: SemaphorePermit<'a>) -> Result<Lane<'a>, ExtractError> {
        let conn = self.idle().pop().ok_or_else(|| self.lost())?;
        Ok(Lane { lanes: self, conn: Some(conn), permit: Some(permit) })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Conn>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lost(&self) -> ExtractError {
        let what = format!("{}: the snapshot is no longer held", self.shown);
        ExtractError::transient(Reason::SnapshotLost, what)
    }
}

impl Lane<'_> {
    /// For the next reader. The connection must have answered all that it was asked.
    pub(super) fn give_back(mut self) {
        self.lanes.idle().extend(self.conn.take());
    }
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        // A lane that was given back leaves its permit behind.
        let Some(conn) = self.conn.take() else { return };
        if let Some(permit) = self.permit.take() {
            permit.forget();
        }
        if self.lanes.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.lanes.free.close();
        }
        // The client would first read what is left of the answer, however long that is.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(CLOSE_LIMIT, conn.disconnect()));
        }
    }
}

impl Deref for Lane<'_> {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        self.conn.as_ref().expect("a lane has its connection until it is given back")
    }
}

impl DerefMut for Lane<'_> {
    fn deref_mut(&mut self) -> &mut Conn {
        self.conn.as_mut().expect("a lane has its connection until it is given back")
    }
}
