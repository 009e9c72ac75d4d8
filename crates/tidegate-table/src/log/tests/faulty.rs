//! A store whose commits fail on demand.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetResult, ObjectStore, PutMode, PutOptions, PutPayload, PutResult, Result,
};
use tidegate_testing::{HookedStore, Inner, StoreHooks};

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

/// Stands before a store; only conditional puts are disturbed.
#[derive(Debug, Clone)]
pub(super) struct Faults {
    inner: Arc<dyn ObjectStore>,
    state: Arc<Mutex<State>>,
}

impl Faults {
    pub(super) fn new(inner: Arc<dyn ObjectStore>, faults: &[Fault]) -> Self {
        let state = State { faults: faults.iter().copied().collect(), ..State::default() };
        Self { inner, state: Arc::new(Mutex::new(state)) }
    }

    /// The store with the faults before it.
    pub(super) fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::new(HookedStore::new(Arc::clone(&self.inner), self.clone()))
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

impl StoreHooks for Faults {
    fn put<'a>(
        &'a self,
        inner: Inner<'a>,
        path: Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> BoxFuture<'a, Result<PutResult>> {
        async move {
            if options.mode == PutMode::Create {
                return self.put_create(path, payload).await;
            }
            inner.put_opts(&path, payload, options).await
        }
        .boxed()
    }

    fn get<'a>(
        &'a self,
        inner: Inner<'a>,
        path: Path,
        options: GetOptions,
    ) -> BoxFuture<'a, Result<GetResult>> {
        let mut state = self.state.lock().expect("not poisoned");
        let fails = state.failing_reads > 0;
        state.failing_reads = state.failing_reads.saturating_sub(1);
        async move { if fails { Err(broken()) } else { inner.get_opts(&path, options).await } }
            .boxed()
    }
}
