//! A store whose commits fail on demand.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What happens to the next commit PUT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is stored, and the answer is an error.
    StoreThenFail,
    /// It is not stored, and the answer is an error.
    FailOnly,
    /// It is not stored, and the answer is "exists" (S3's 409).
    ConflictOnly,
    /// The answer is an error; it lands just before the next PUT.
    LandBeforeNextPut,
    /// The answer is an error; it is delivered when the test says so.
    LandWhenTold,
    /// It is stored, the answer is an error, and the next read fails.
    StoreThenFailAndHide,
}

#[derive(Debug, Default)]
struct State {
    faults: VecDeque<Fault>,
    before_next: Vec<(Path, PutPayload)>,
    when_told: Vec<(Path, PutPayload)>,
    failing_reads: u32,
    puts: u32,
}

/// Wraps a store; only conditional puts are disturbed.
#[derive(Debug, Clone)]
pub(super) struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    state: Arc<Mutex<State>>,
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

impl FaultyStore {
    pub(super) fn new(inner: Arc<dyn ObjectStore>, faults: &[Fault]) -> Self {
        let state = State { faults: faults.iter().copied().collect(), ..State::default() };
        Self { inner, state: Arc::new(Mutex::new(state)) }
    }

    /// How many conditional puts there were.
    pub(super) fn puts(&self) -> u32 {
        self.state.lock().expect("not poisoned").puts
    }

    /// Delivers what was held back; returns how many of them were stored.
    pub(super) async fn deliver(&self) -> usize {
        let held = std::mem::take(&mut self.state.lock().expect("not poisoned").when_told);
        self.land(held).await
    }

    async fn land(&self, held: Vec<(Path, PutPayload)>) -> usize {
        let mut landed = 0;
        for (path, payload) in held {
            let put = self.inner.put_opts(&path, payload, PutMode::Create.into()).await;
            landed += usize::from(put.is_ok());
        }
        landed
    }

    async fn put_create(&self, path: Path, payload: PutPayload) -> Result<PutResult> {
        let (fault, held) = {
            let mut state = self.state.lock().expect("not poisoned");
            state.puts += 1;
            (state.faults.pop_front(), std::mem::take(&mut state.before_next))
        };
        self.land(held).await;
        let store = || self.inner.put_opts(&path, payload.clone(), PutMode::Create.into());
        match fault {
            None => return store().await,
            Some(Fault::StoreThenFail) => drop(store().await?),
            Some(Fault::StoreThenFailAndHide) => {
                store().await?;
                self.state.lock().expect("not poisoned").failing_reads += 1;
            }
            Some(Fault::FailOnly) => {}
            Some(Fault::ConflictOnly) => {
                let source = "conditional request conflict".into();
                return Err(Error::AlreadyExists { path: path.to_string(), source });
            }
            Some(Fault::LandBeforeNextPut) => {
                self.state.lock().expect("not poisoned").before_next.push((path, payload));
            }
            Some(Fault::LandWhenTold) => {
                self.state.lock().expect("not poisoned").when_told.push((path, payload));
            }
        }
        Err(broken())
    }
}

fn broken() -> Error {
    Error::Generic { store: "faulty", source: "connection reset".into() }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty {}", self.inner)
    }
}

impl ObjectStore for FaultyStore {
    fn put_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Answer<'c, PutResult>
    where
        'a: 'c,
        'b: 'c,
    {
        if options.mode == PutMode::Create {
            return Box::pin(self.put_create(location.clone(), payload));
        }
        self.inner.put_opts(location, payload, options)
    }

    fn put_multipart_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b Path,
        options: PutMultipartOptions,
    ) -> Answer<'c, Box<dyn MultipartUpload>>
    where
        'a: 'c,
        'b: 'c,
    {
        self.inner.put_multipart_opts(location, options)
    }

    fn get_opts<'a, 'b, 'c>(
        &'a self,
        location: &'b Path,
        options: GetOptions,
    ) -> Answer<'c, GetResult>
    where
        'a: 'c,
        'b: 'c,
    {
        let mut state = self.state.lock().expect("not poisoned");
        if state.failing_reads > 0 {
            state.failing_reads -= 1;
            return Box::pin(async { Err(broken()) });
        }
        self.inner.get_opts(location, options)
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

    fn list_with_delimiter<'a, 'b, 'c>(&'a self, prefix: Option<&'b Path>) -> Answer<'c, ListResult>
    where
        'a: 'c,
        'b: 'c,
    {
        self.inner.list_with_delimiter(prefix)
    }

    fn copy_opts<'a, 'b, 'd, 'c>(
        &'a self,
        from: &'b Path,
        to: &'d Path,
        options: CopyOptions,
    ) -> Answer<'c, ()>
    where
        'a: 'c,
        'b: 'c,
        'd: 'c,
    {
        self.inner.copy_opts(from, to, options)
    }
}
