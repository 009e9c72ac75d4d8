//! An object that grows: in one put when it stays small, in parts when it does not.
//!
//! Invisible until [`Upload::complete`]; given up by [`Upload::abort`] or, as well as it can be done,
//! when dropped.

use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload, PutPayloadMut};
use tokio::task::JoinSet;

/// An object that is being written.
pub(super) struct Upload {
    store: Arc<dyn ObjectStore>,
    path: Path,
    part_size: usize,
    /// Most parts that the store has not acknowledged.
    parts_in_flight: usize,
    open_part: PutPayloadMut,
    multipart: Option<Box<dyn MultipartUpload>>,
    /// Tasks own nothing but their part; dropping the set stops them.
    in_flight: JoinSet<object_store::Result<()>>,
    sent: u64,
}

impl Upload {
    pub(super) fn new(
        store: Arc<dyn ObjectStore>,
        path: Path,
        part_size: usize,
        parts_in_flight: usize,
    ) -> Self {
        Self {
            store,
            path,
            part_size: part_size.max(1),
            parts_in_flight: parts_in_flight.max(1),
            open_part: PutPayloadMut::new(),
            multipart: None,
            in_flight: JoinSet::new(),
            sent: 0,
        }
    }

    /// The object's key.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the whole object so far.
    pub(super) fn length(&self) -> u64 {
        self.sent + self.open_part.content_length() as u64
    }

    /// Bytes in memory, at most.
    pub(super) fn buffered(&self) -> usize {
        self.open_part.content_length() + self.in_flight.len() * self.part_size
    }

    /// Adds bytes; waits while too many parts are in flight.
    pub(super) async fn push(&mut self, mut bytes: Bytes) -> object_store::Result<()> {
        while !bytes.is_empty() {
            let room = self.part_size - self.open_part.content_length();
            self.open_part.push(bytes.split_to(room.min(bytes.len())));
            if self.open_part.content_length() == self.part_size {
                self.send_part().await?;
            }
        }
        Ok(())
    }

    /// Makes the object visible.
    pub(super) async fn complete(&mut self) -> object_store::Result<()> {
        if self.multipart.is_none() {
            let payload = self.take_part();
            // The name is ours alone, so a repeated put stores the same bytes again.
            self.store.put(&self.path, payload).await?;
            return Ok(());
        }
        if !self.open_part.is_empty() {
            self.send_part().await?;
        }
        self.wait_for_parts(0).await?;
        if let Some(multipart) = &mut self.multipart {
            multipart.complete().await?;
        }
        self.multipart = None;
        Ok(())
    }

    /// Gives the object up. What the store refuses to clean up is left to its own rules for
    /// unfinished uploads.
    pub(super) async fn abort(&mut self) {
        self.in_flight.shutdown().await;
        self.open_part = PutPayloadMut::new();
        if let Some(mut multipart) = self.multipart.take()
            && let Err(error) = multipart.abort().await
        {
            tracing::debug!(path = %self.path, %error, "unfinished upload was not cleaned up");
        }
    }

    async fn send_part(&mut self) -> object_store::Result<()> {
        self.wait_for_parts(self.parts_in_flight - 1).await?;
        let part = self.take_part();
        let multipart = match &mut self.multipart {
            Some(multipart) => multipart,
            none => none.insert(self.store.put_multipart(&self.path).await?),
        };
        self.in_flight.spawn(multipart.put_part(part));
        Ok(())
    }

    async fn wait_for_parts(&mut self, most: usize) -> object_store::Result<()> {
        while self.in_flight.len() > most {
            if let Some(done) = self.in_flight.join_next().await {
                done??;
            }
        }
        Ok(())
    }

    fn take_part(&mut self) -> PutPayload {
        self.sent += self.open_part.content_length() as u64;
        std::mem::take(&mut self.open_part).freeze()
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.in_flight.abort_all();
        let Some(mut multipart) = self.multipart.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { multipart.abort().await });
        }
    }
}
