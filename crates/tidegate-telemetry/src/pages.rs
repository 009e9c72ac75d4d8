//! Pages that a process serves beside its metrics: JSON out, and JSON in where something can be told.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

/// The largest body that is taken, in bytes. An assignment of 256 partitions has some 30 KiB.
const LARGEST_BODY: usize = 256 << 10;

type Read = Arc<dyn Fn() -> Answer + Send + Sync>;
type Take = Arc<dyn Fn(&[u8]) -> Answer + Send + Sync>;

/// What a page answers: a status and JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// The pages of a process. Their functions are called on the server's threads and must not block.
#[derive(Clone, Default)]
pub struct Pages {
    read: Vec<(&'static str, Read)>,
    taken: Vec<(&'static str, Take)>,
}

impl Pages {
    /// `GET path`.
    #[must_use]
    pub fn read(
        mut self,
        path: &'static str,
        page: impl Fn() -> Answer + Send + Sync + 'static,
    ) -> Self {
        self.read.push((path, Arc::new(page)));
        self
    }

    /// `POST path`, with a body of at most 256 KiB.
    #[must_use]
    pub fn take(
        mut self,
        path: &'static str,
        page: impl Fn(&[u8]) -> Answer + Send + Sync + 'static,
    ) -> Self {
        self.taken.push((path, Arc::new(page)));
        self
    }

    pub(crate) fn into_router(self) -> Router {
        let mut router = Router::new();
        for (path, page) in self.read {
            router = router.route(path, get(move || std::future::ready(page())));
        }
        for (path, page) in self.taken {
            let take = move |body: Bytes| std::future::ready(page(&body));
            router = router.route(path, post(take));
        }
        router.layer(DefaultBodyLimit::max(LARGEST_BODY))
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = self.read.iter().map(|(path, _)| path);
        f.debug_list().entries(read.chain(self.taken.iter().map(|(path, _)| path))).finish()
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, [(header::CONTENT_TYPE, "application/json")], self.body).into_response()
    }
}
