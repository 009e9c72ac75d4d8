//! Pages that a process serves beside its metrics: JSON out, and JSON in where something can be told.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{DefaultBodyLimit, Path, Request};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// The largest body that is taken, in bytes. An assignment of 256 partitions has some 30 KiB.
const LARGEST_BODY: usize = 256 << 10;

/// How long somebody may take to send a large body.
const LONGEST_UPLOAD: Duration = Duration::from_secs(60);

type Read = Arc<dyn Fn() -> Answer + Send + Sync>;
type ReadBelow = Arc<dyn Fn(&str) -> Answer + Send + Sync>;
type Take = Arc<dyn Fn(&[u8]) -> Answer + Send + Sync>;

/// What a page answers: a status and JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// The pages of a process. Their functions are called on the server's threads and must not block, those
/// for large bodies excepted.
#[derive(Clone, Default)]
pub struct Pages {
    read: Vec<(&'static str, Read)>,
    read_below: Vec<(&'static str, ReadBelow)>,
    taken: Vec<(&'static str, Take)>,
    taken_alone: Vec<(&'static str, usize, Take)>,
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

    /// `GET path/…`, with what stands behind the path.
    #[must_use]
    pub fn read_below(
        mut self,
        path: &'static str,
        page: impl Fn(&str) -> Answer + Send + Sync + 'static,
    ) -> Self {
        self.read_below.push((path, Arc::new(page)));
        self
    }

    /// `POST path`, with a body of at most so many bytes, one at a time: whoever comes meanwhile is
    /// answered 503 before the body is read, so that memory has a bound.
    #[must_use]
    pub fn take_alone(
        mut self,
        path: &'static str,
        largest: usize,
        page: impl Fn(&[u8]) -> Answer + Send + Sync + 'static,
    ) -> Self {
        self.taken_alone.push((path, largest, Arc::new(page)));
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
        for (path, page) in self.read_below {
            let read = move |Path(rest): Path<String>| std::future::ready(page(&rest));
            router = router.route(&format!("{path}/{{*rest}}"), get(read));
        }
        for (path, largest, page) in self.taken_alone {
            let turn = Arc::new(Semaphore::new(1));
            let take = move |request: Request| take_alone(turn, largest, page, request);
            router = router.route(path, post(take));
        }
        for (path, page) in self.taken {
            let take = move |body: Bytes| std::future::ready(page(&body));
            router = router.route(path, post(take));
        }
        router.layer(DefaultBodyLimit::max(LARGEST_BODY))
    }
}

async fn take_alone(turn: Arc<Semaphore>, largest: usize, page: Take, request: Request) -> Answer {
    let Ok(turn) = turn.try_acquire_owned() else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "another one is being taken; come again");
    };
    let body = tokio::time::timeout(LONGEST_UPLOAD, to_bytes(request.into_body(), largest));
    let bytes = match body.await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) => return refuse(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string()),
        Err(_) => return refuse(StatusCode::REQUEST_TIMEOUT, "the body took too long"),
    };
    let taken = spawn_blocking(move || {
        let answer = page(&bytes);
        drop(turn);
        answer
    });
    match taken.await {
        Ok(answer) => answer,
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn refuse(status: StatusCode, what: &str) -> Answer {
    Answer { status: status.as_u16(), body: serde_json::json!({"error": what}).to_string() }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = self.read.iter().map(|(path, _)| path);
        let below = self.read_below.iter().map(|(path, _)| path);
        let alone = self.taken_alone.iter().map(|(path, ..)| path);
        let taken = self.taken.iter().map(|(path, _)| path);
        f.debug_list().entries(read.chain(below).chain(taken).chain(alone)).finish()
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, [(header::CONTENT_TYPE, "application/json")], self.body).into_response()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use prometheus_client::registry::Registry;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{Health, serve_with};

    async fn send(address: SocketAddr, request: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        stream
    }

    async fn answer(mut stream: TcpStream) -> String {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        answer
    }

    fn post_of(bytes: usize) -> String {
        format!(
            "POST /box HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: {bytes}\r\n\r\n"
        )
    }

    /// Posts a byte until the answer has this status.
    async fn until_answered(at: SocketAddr, status: &str) {
        let wanted = format!("HTTP/1.1 {status}");
        let asking = async {
            while !answer(send(at, &(post_of(1) + "1")).await).await.starts_with(&wanted) {}
        };
        tokio::time::timeout(Duration::from_secs(30), asking).await.expect(&wanted);
    }

    #[tokio::test]
    async fn large_bodies_are_taken_one_at_a_time_and_none_is_larger_than_it_may() {
        let said = |text: &str| Answer { status: 200, body: text.to_owned() };
        let length = move |body: &[u8]| said(&body.len().to_string());
        let pages = Pages::default()
            .read_below("/box", move |rest| said(rest))
            .take_alone("/box", 8, length)
            .take_alone("/hall", 1 << 20, length);
        let (health, stop) = (Health::new(Duration::from_secs(60)), CancellationToken::new());
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let registry = Arc::new(Registry::default());
        let server = serve_with(any, registry, health, pages, stop.clone()).await.expect("port 0");
        let at = server.address();

        let below = send(at, "GET /box/a/7 HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").await;
        assert!(answer(below).await.ends_with("a/7"));
        let whole = answer(send(at, &(post_of(8) + "12345678")).await).await;
        assert!(whole.starts_with("HTTP/1.1 200") && whole.ends_with('8'), "{whole}");
        let large = answer(send(at, &(post_of(9) + "123456789")).await).await;
        assert!(large.starts_with("HTTP/1.1 413"), "{large}");

        let much = post_of(1 << 20).replace("/box", "/hall") + &"x".repeat(1 << 20);
        let much = answer(send(at, &much).await).await;
        assert!(much.ends_with("1048576"), "the bound of other pages is not its own: {much}");

        // One that is half here keeps the place, until it goes.
        let slow = send(at, &(post_of(8) + "1234")).await;
        until_answered(at, "503").await;
        drop(slow);
        until_answered(at, "200").await;
        stop.cancel();
        server.stopped().await;
    }
}
