//! An object store with somebody in between, for tests of what happens when a store fails.

use std::fmt;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// A store, as hooks reach it.
pub type Inner<'a> = &'a Arc<dyn ObjectStore>;

/// Who stands in between. What it leaves alone goes through.
pub trait StoreHooks: fmt::Debug + Send + Sync + 'static {
    /// An object is stored at once.
    fn put<'a>(
        &'a self,
        inner: Inner<'a>,
        path: Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> BoxFuture<'a, Result<PutResult>> {
        async move { inner.put_opts(&path, payload, options).await }.boxed()
    }

    /// An upload by parts begins.
    fn upload<'a>(
        &'a self,
        inner: Inner<'a>,
        path: Path,
        options: PutMultipartOptions,
    ) -> BoxFuture<'a, Result<Box<dyn MultipartUpload>>> {
        async move { inner.put_multipart_opts(&path, options).await }.boxed()
    }

    /// An object is read or looked at.
    fn get<'a>(
        &'a self,
        inner: Inner<'a>,
        path: Path,
        options: GetOptions,
    ) -> BoxFuture<'a, Result<GetResult>> {
        async move { inner.get_opts(&path, options).await }.boxed()
    }
}

/// The store that callers see.
#[derive(Debug)]
pub struct HookedStore<H> {
    inner: Arc<dyn ObjectStore>,
    hooks: H,
}

impl<H: StoreHooks> HookedStore<H> {
    /// Puts the hooks before a store.
    pub fn new(inner: Arc<dyn ObjectStore>, hooks: H) -> Self {
        Self { inner, hooks }
    }
}

impl<H: StoreHooks> fmt::Display for HookedStore<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} behind {:?}", self.inner, self.hooks)
    }
}

impl<H: StoreHooks> ObjectStore for HookedStore<H> {
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
        self.hooks.put(&self.inner, location.clone(), payload, options)
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
        self.hooks.upload(&self.inner, location.clone(), options)
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
        self.hooks.get(&self.inner, location.clone(), options)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
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
