//! A store that fails.

use std::fmt;
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tidegate_runtime::Random;

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

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

/// Wraps a store.
#[derive(Debug, Clone)]
pub(super) struct Troubled {
    pub(super) inner: Arc<dyn ObjectStore>,
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

impl fmt::Display for Troubled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "troubled {}", self.inner)
    }
}

impl ObjectStore for Troubled {
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
        if self.mood.full.load(Ordering::SeqCst) {
            self.mood.turned_away.fetch_add(1, Ordering::SeqCst);
            return Box::pin(async { Err(full()) });
        }
        let hidden =
            options.mode == PutMode::Create && self.mood.hide_commit.swap(false, Ordering::SeqCst);
        let hidden = hidden || self.is_silent();
        let fate = if hidden { Fate::DoneAndDenied } else { self.fate() };
        let (inner, location) = (Arc::clone(&self.inner), location.clone());
        Box::pin(async move {
            if fate == Fate::NotDone {
                return Err(broken());
            }
            let put = inner.put_opts(&location, payload, options).await;
            if fate == Fate::DoneAndDenied { Err(broken()) } else { put }
        })
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
        if self.fate() != Fate::Good {
            return Box::pin(async { Err(broken()) });
        }
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
        if self.is_silent() || self.fate() != Fate::Good {
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
