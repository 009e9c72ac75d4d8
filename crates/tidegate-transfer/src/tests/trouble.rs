//! A store that fails.

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetResult, MultipartUpload, PutMode, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, Result,
};
use tidegate_runtime::Random;
use tidegate_testing::{Inner, StoreHooks};

/// What fails.
#[derive(Debug)]
pub(super) struct Mood {
    /// Calls of a hundred that fail, half of them after they were carried out.
    pub(super) percent: AtomicU32,
    random: Mutex<Random>,
    /// Nothing more can be stored.
    pub(super) full: AtomicBool,
    /// How many objects could not be stored for that.
    pub(super) turned_away: AtomicU64,
    /// How many calls failed.
    pub(super) failed: AtomicU64,
    /// The next commit is stored, and its answer lost.
    pub(super) hide_commit: AtomicBool,
    /// Commits are stored, and nobody hears of it: neither by an answer nor by looking.
    pub(super) silent: AtomicBool,
}

impl Default for Mood {
    fn default() -> Self {
        Self {
            percent: AtomicU32::new(0),
            random: Mutex::new(Random::from_system()),
            full: AtomicBool::new(false),
            turned_away: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            hide_commit: AtomicBool::new(false),
            silent: AtomicBool::new(false),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Good,
    NotDone,
    DoneAndDenied,
}

impl Mood {
    fn fate(&self) -> Fate {
        let mut random = self.random.lock().expect("not poisoned");
        if random.up_to(99) >= self.percent.load(Ordering::SeqCst) {
            return Fate::Good;
        }
        self.failed.fetch_add(1, Ordering::SeqCst);
        if random.up_to(1) == 0 { Fate::NotDone } else { Fate::DoneAndDenied }
    }
}

/// Stands before a store.
#[derive(Debug)]
pub(super) struct Troubled {
    pub(super) mood: Arc<Mood>,
    /// How often a call is made again before its caller hears of it, as the client for data does.
    pub(super) repeats: u32,
}

impl Troubled {
    /// The client for commits alone makes no call again by itself.
    fn is_silent(&self) -> bool {
        self.repeats == 0 && self.mood.silent.load(Ordering::SeqCst)
    }

    /// What becomes of a call, its repetitions included.
    fn fate(&self) -> Fate {
        let fates = (0..=self.repeats).map(|_| self.mood.fate());
        let mut worst = Fate::Good;
        for fate in fates {
            if fate == Fate::Good {
                return fate;
            }
            worst = fate;
        }
        worst
    }
}

fn broken() -> Error {
    Error::Generic { store: "troubled", source: "connection reset".into() }
}

fn full() -> Error {
    let source = std::io::Error::from(ErrorKind::StorageFull);
    Error::Generic { store: "troubled", source: Box::new(source) }
}

impl StoreHooks for Troubled {
    fn put<'a>(
        &'a self,
        inner: Inner<'a>,
        path: Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> BoxFuture<'a, Result<PutResult>> {
        if self.mood.full.load(Ordering::SeqCst) {
            self.mood.turned_away.fetch_add(1, Ordering::SeqCst);
            return async { Err(full()) }.boxed();
        }
        let hidden =
            options.mode == PutMode::Create && self.mood.hide_commit.swap(false, Ordering::SeqCst);
        let hidden = hidden || self.is_silent();
        let fate = if hidden { Fate::DoneAndDenied } else { self.fate() };
        async move {
            if fate == Fate::NotDone {
                return Err(broken());
            }
            let put = inner.put_opts(&path, payload, options).await;
            if fate == Fate::DoneAndDenied { Err(broken()) } else { put }
        }
        .boxed()
    }

    fn upload<'a>(
        &'a self,
        inner: Inner<'a>,
        path: Path,
        options: PutMultipartOptions,
    ) -> BoxFuture<'a, Result<Box<dyn MultipartUpload>>> {
        let fate = self.fate();
        async move {
            if fate == Fate::Good {
                inner.put_multipart_opts(&path, options).await
            } else {
                Err(broken())
            }
        }
        .boxed()
    }

    fn get<'a>(
        &'a self,
        inner: Inner<'a>,
        path: Path,
        options: GetOptions,
    ) -> BoxFuture<'a, Result<GetResult>> {
        let fate = if self.is_silent() { Fate::NotDone } else { self.fate() };
        async move {
            if fate == Fate::Good { inner.get_opts(&path, options).await } else { Err(broken()) }
        }
        .boxed()
    }
}
