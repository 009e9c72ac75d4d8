//! A store that fails in one way, for tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    Error, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, Result, UploadPart,
};
use tidegate_testing::{HookedStore, Inner, StoreHooks};

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

/// Stands before a store and fails.
#[derive(Debug)]
pub(crate) struct Faulty {
    fault: Fault,
    /// How many uploads were given up.
    aborted: Arc<AtomicUsize>,
}

/// `inner`, failing in one way.
pub(crate) fn faulty(inner: Arc<dyn ObjectStore>, fault: Fault) -> Arc<dyn ObjectStore> {
    Arc::new(HookedStore::new(inner, Faulty { fault, aborted: Arc::default() }))
}

/// An empty store that fails in one way, and how many uploads were given up.
pub(crate) fn faulty_in_memory(fault: Fault) -> (Arc<dyn ObjectStore>, Arc<AtomicUsize>) {
    let aborted: Arc<AtomicUsize> = Arc::default();
    let hooks = Faulty { fault, aborted: Arc::clone(&aborted) };
    (Arc::new(HookedStore::new(Arc::new(InMemory::new()), hooks)), aborted)
}

impl StoreHooks for Faulty {
    fn put<'a>(
        &'a self,
        inner: Inner<'a>,
        path: Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> BoxFuture<'a, Result<PutResult>> {
        put_faultily(self.fault, inner, path, payload, options).boxed()
    }

    fn upload<'a>(
        &'a self,
        inner: Inner<'a>,
        path: Path,
        options: PutMultipartOptions,
    ) -> BoxFuture<'a, Result<Box<dyn MultipartUpload>>> {
        async move {
            let inner = inner.put_multipart_opts(&path, options).await?;
            let aborted = Arc::clone(&self.aborted);
            Ok(Box::new(FaultyUpload { inner, fault: self.fault, parts: 0, aborted }) as _)
        }
        .boxed()
    }
}

async fn put_faultily(
    fault: Fault,
    inner: Inner<'_>,
    path: Path,
    payload: PutPayload,
    mut options: PutOptions,
) -> Result<PutResult> {
    match fault {
        Fault::EveryPut => return Err(broken()),
        Fault::PutAnswerLost => {
            inner.put_opts(&path, payload, options).await?;
            return Err(broken());
        }
        Fault::HalfStored => {
            let bytes = Bytes::from(payload);
            let half = bytes.slice(..bytes.len() / 2);
            return inner.put_opts(&path, half.into(), options).await;
        }
        Fault::IgnoresCreate => options.mode = PutMode::Overwrite,
        Fault::ChecksThenPuts if options.mode == PutMode::Create => {
            if inner.head(&path).await.is_ok() {
                let source = "checked".into();
                return Err(Error::AlreadyExists { path: path.to_string(), source });
            }
            tokio::task::yield_now().await;
            options.mode = PutMode::Overwrite;
        }
        _ => {}
    }
    inner.put_opts(&path, payload, options).await
}

fn broken() -> Error {
    Error::Generic { store: "faulty", source: "broken on purpose".into() }
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
