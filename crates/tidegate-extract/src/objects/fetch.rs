//! Requests for pinned files, made from a thread that may block: parsers and decompressors are synchronous.

use std::fs::File;
use std::future::Future;
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::Timestamp;
use object_store::{GetOptions, GetRange, GetResult, GetResultPayload, ObjectMeta, ObjectStore};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::listing::PinnedFile;
use super::store_error::{changed, of_file};
use super::trouble::Cause;
use crate::ExtractError;

/// The store, seen from a blocking thread of the runtime.
#[derive(Clone)]
pub(crate) struct Fetch {
    store: Arc<dyn ObjectStore>,
    runtime: Handle,
    /// Closed when whoever asked is gone.
    asked: watch::Receiver<()>,
}

impl Fetch {
    /// Requests are given up when the other end of `asked` is dropped.
    pub(crate) fn new(
        store: Arc<dyn ObjectStore>,
        runtime: Handle,
        asked: watch::Receiver<()>,
    ) -> Self {
        Self { store, runtime, asked }
    }

    /// Waits for a request, unless nobody wants the answer any more.
    fn wait<T>(&self, request: impl Future<Output = T>) -> Result<T, ExtractError> {
        let mut asked = self.asked.clone();
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                _ = asked.changed() => Err(ExtractError::Cancelled),
                answer = request => Ok(answer),
            }
        })
    }

    /// Waits for a turn.
    pub(crate) fn turn(
        &self,
        turns: &Arc<Semaphore>,
    ) -> Result<OwnedSemaphorePermit, ExtractError> {
        // It is never closed.
        self.wait(Arc::clone(turns).acquire_owned())?.map_err(|_| ExtractError::Cancelled)
    }

    /// A stretch of a file, exactly.
    pub(crate) fn range(
        &self,
        file: &PinnedFile,
        range: Range<u64>,
    ) -> Result<Bytes, ExtractError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let wanted = range.end - range.start;
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..pinned(file) };
        let location = file.location();
        let answer = self.wait(async {
            let result = self.store.get_opts(&location, options).await;
            let result = result.map_err(|error| of_file(&file.path, error))?;
            require_same(file, &result.meta)?;
            result.bytes().await.map_err(|error| of_file(&file.path, error))
        })?;
        let bytes = answer?;
        if bytes.len() as u64 == wanted { Ok(bytes) } else { Err(other_size(file)) }
    }

    /// A file from its beginning to its end. Errors are kept in `cause`.
    pub(crate) fn whole(
        &self,
        file: &PinnedFile,
        cause: &Cause,
    ) -> Result<WholeFile, ExtractError> {
        let location = file.location();
        let result = self.wait(self.store.get_opts(&location, pinned(file)))?;
        let result = result.map_err(|error| of_file(&file.path, error))?;
        require_same(file, &result.meta)?;
        Ok(WholeFile {
            fetch: self.clone(),
            file: file.clone(),
            cause: cause.clone(),
            body: Body::of(result),
            read: 0,
        })
    }

    /// Whether a file is still as it was listed. Asked after one was read that others can write in place.
    fn check(&self, file: &PinnedFile) -> Result<(), ExtractError> {
        let options = GetOptions { head: true, ..pinned(file) };
        let location = file.location();
        let result = self.wait(self.store.get_opts(&location, options))?;
        require_same(file, &result.map_err(|error| of_file(&file.path, error))?.meta)
    }
}

/// Conditions under which the answer is the file that was listed.
fn pinned(file: &PinnedFile) -> GetOptions {
    // Such dates are of whole seconds on the way.
    let second = Timestamp::from_second(file.modified.div_euclid(1_000_000) + 1).ok();
    let unmodified = second.filter(|_| file.etag.is_none()).map(std::time::SystemTime::from);
    GetOptions {
        if_match: file.etag.clone(),
        if_unmodified_since: unmodified.map(Into::into),
        ..GetOptions::default()
    }
}

/// Looks at what an answer says of itself: caches and some servers answer with what they have, whatever version
/// was asked for.
fn require_same(file: &PinnedFile, answered: &ObjectMeta) -> Result<(), ExtractError> {
    if answered.size != file.size {
        return Err(other_size(file));
    }
    match (&file.etag, &answered.e_tag) {
        (Some(listed), Some(etag)) if bare(listed) != bare(etag) => {
            Err(changed(&file.path, "its etag is another"))
        }
        _ => Ok(()),
    }
}

fn other_size(file: &PinnedFile) -> ExtractError {
    changed(&file.path, "its size is another")
}

/// An etag without its quotes, which listings of Azure leave out, and without the mark of weak ones, which
/// proxies that compress put in front.
fn bare(etag: &str) -> &str {
    etag.trim().trim_start_matches("W/").trim_matches('"')
}

/// The bytes of a file, in order.
pub(crate) struct WholeFile {
    fetch: Fetch,
    file: PinnedFile,
    cause: Cause,
    body: Body,
    read: u64,
}

enum Body {
    Local(File),
    Remote { stream: BoxStream<'static, object_store::Result<Bytes>>, rest: Bytes },
    Ended,
}

impl Body {
    fn of(result: GetResult) -> Self {
        match result.payload {
            GetResultPayload::File(file, _) => Self::Local(file),
            GetResultPayload::Stream(stream) => Self::Remote { stream, rest: Bytes::new() },
        }
    }
}

impl WholeFile {
    fn next_bytes(&mut self, into: &mut [u8]) -> Result<usize, ExtractError> {
        match &mut self.body {
            Body::Ended => Ok(0),
            Body::Local(file) => {
                let left = usize::try_from(self.file.size - self.read).unwrap_or(usize::MAX);
                let most = into.len().min(left);
                let read = file.read(&mut into[..most]).map_err(|error| {
                    let generic =
                        object_store::Error::Generic { store: "local", source: error.into() };
                    of_file(&self.file.path, generic)
                })?;
                if read == 0 {
                    self.end_of_local()?;
                }
                Ok(read)
            }
            Body::Remote { stream, rest } => {
                while rest.is_empty() {
                    match self.fetch.wait(stream.next())? {
                        Some(Ok(bytes)) => *rest = bytes,
                        Some(Err(error)) => return Err(of_file(&self.file.path, error)),
                        None => {
                            self.body = Body::Ended;
                            return self.whole_was_read().map(|()| 0);
                        }
                    }
                }
                let most = rest.len().min(into.len());
                rest.copy_to_slice(&mut into[..most]);
                Ok(most)
            }
        }
    }

    /// An answer of a remote store is one version; a local file may have been written while it was read.
    fn end_of_local(&mut self) -> Result<(), ExtractError> {
        self.body = Body::Ended;
        self.whole_was_read()?;
        self.fetch.check(&self.file)
    }

    fn whole_was_read(&self) -> Result<(), ExtractError> {
        if self.read == self.file.size {
            return Ok(());
        }
        let how = format!("{} of its {} bytes were there", self.read, self.file.size);
        Err(changed(&self.file.path, &how))
    }
}

impl Read for WholeFile {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        let read = self.next_bytes(into).map_err(|error| self.cause.keep(error))?;
        self.read += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_is_the_same_however_it_is_written() {
        for (listed, answered, same) in [
            (Some("\"a\""), Some("\"a\""), true),
            (Some("a"), Some("\"a\""), true),
            (Some("\"a\""), Some("W/\"a\""), true),
            (Some("W/\"a\""), Some("\"b\""), false),
            (Some("\"a\""), Some("\"a-2\""), false),
            (Some("\"a\""), None, true),
            (None, Some("\"b\""), true),
        ] {
            let etag = |etag: Option<&str>| etag.map(str::to_owned);
            let file = PinnedFile { path: "f".into(), etag: etag(listed), size: 1, modified: 0 };
            let meta = ObjectMeta {
                location: file.location(),
                last_modified: Default::default(),
                size: 1,
                e_tag: etag(answered),
                version: None,
            };
            assert_eq!(require_same(&file, &meta).is_ok(), same, "{listed:?} {answered:?}");
        }
    }
}
