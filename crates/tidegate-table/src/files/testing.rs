//! A store that fails in one way, for tests.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result, UploadPart,
};

/// How the store fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The second part of every upload.
    SecondPart,
    /// Every put.
    EveryPut,
    /// Puts are stored and answered with an error.
    PutAnswerLost,
    /// Uploads are completed and answered with an error.
    CompleteAnswerLost,
    /// Puts keep half of their bytes.
    HalfStored,
    /// The condition of a put is not looked at.
    IgnoresCreate,
    /// The condition is looked at before the put instead of with it.
    ChecksThenPuts,
}

/// A store that fails in one way.
#[derive(Debug)]
pub(crate) struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    fault: Fault,
    /// How many uploads were given up.
    pub(crate) aborted: Arc<AtomicUsize>,
}

impl FaultyStore {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, fault: Fault) -> Self {
        Self { inner, fault, aborted: Arc::default() }
    }

    pub(crate) fn in_memory(fault: Fault) -> Self {
        Self::new(Arc::new(InMemory::new()), fault)
    }

    async fn put_faultily(
        &self,
        path: &Path,
        payload: PutPayload,
        mut options: PutOptions,
    ) -> Result<PutResult> {
        match self.fault {
            Fault::EveryPut => return Err(broken()),
            Fault::PutAnswerLost => {
                self.inner.put_opts(path, payload, options).await?;
                return Err(broken());
            }
            Fault::HalfStored => {
                let bytes = Bytes::from(payload);
                let half = bytes.slice(..bytes.len() / 2);
                return self.inner.put_opts(path, half.into(), options).await;
            }
            Fault::IgnoresCreate => options.mode = PutMode::Overwrite,
            Fault::ChecksThenPuts if options.mode == PutMode::Create => {
                if self.inner.head(path).await.is_ok() {
                    return Err(Error::AlreadyExists {
                        path: path.to_string(),
                        source: "checked".into(),
                    });
                }
                tokio::task::yield_now().await;
                options.mode = PutMode::Overwrite;
            }
            _ => {}
        }
        self.inner.put_opts(path, payload, options).await
    }
}

fn broken() -> Error {
    Error::Generic { store: "FaultyStore", source: "broken on purpose".into() }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({:?})", self.fault)
    }
}

impl ObjectStore for FaultyStore {
    fn put_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> BoxFuture<'c, Result<PutResult>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        self.put_faultily(location, payload, options).boxed()
    }

    fn put_multipart_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b Path,
        options: PutMultipartOptions,
    ) -> BoxFuture<'c, Result<Box<dyn MultipartUpload>>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        async move {
            let inner = self.inner.put_multipart_opts(location, options).await?;
            let aborted = Arc::clone(&self.aborted);
            Ok(Box::new(FaultyUpload { inner, fault: self.fault, parts: 0, aborted }) as _)
        }
        .boxed()
    }

    fn get_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b Path,
        options: GetOptions,
    ) -> BoxFuture<'c, Result<GetResult>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        self.inner.get_opts(location, options)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix).boxed()
    }

    fn list_with_delimiter<'a, 'b, 'c>(
        &'a self,
        prefix: Option<&'b Path>,
    ) -> BoxFuture<'c, Result<ListResult>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        self.inner.list_with_delimiter(prefix)
    }

    fn copy_opts<'a, 'b, 'd, 'c>(
        &'a self,
        from: &'b Path,
        to: &'d Path,
        options: CopyOptions,
    ) -> BoxFuture<'c, Result<()>>
    where
        'a: 'c,
        'b: 'c,
        'd: 'c,
        Self: 'c,
    {
        self.inner.copy_opts(from, to, options)
    }
}

#[derive(Debug)]
struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    fault: Fault,
    parts: usize,
    aborted: Arc<AtomicUsize>,
}

impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.parts += 1;
        if self.fault == Fault::SecondPart && self.parts == 2 {
            return std::future::ready(Err(broken())).boxed();
        }
        self.inner.put_part(data)
    }

    fn complete<'a, 'c>(&'a mut self) -> BoxFuture<'c, Result<PutResult>>
    where
        'a: 'c,
        Self: 'c,
    {
        async move {
            let done = self.inner.complete().await?;
            if self.fault == Fault::CompleteAnswerLost { Err(broken()) } else { Ok(done) }
        }
        .boxed()
    }

    fn abort<'a, 'c>(&'a mut self) -> BoxFuture<'c, Result<()>>
    where
        'a: 'c,
        Self: 'c,
    {
        self.aborted.fetch_add(1, Ordering::SeqCst);
        self.inner.abort()
    }
}
