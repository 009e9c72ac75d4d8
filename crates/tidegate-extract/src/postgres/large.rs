//! A bound on what a server sends in one piece.
//!
//! The client takes a message into memory whole, of whatever size, and a server sends each row of a `COPY` as one.
//! So a look at the messages' lengths stands below the client: one that is too large is not handed on, and of a
//! row the column is found in which it outgrows the bound, without keeping any of it.

mod frames;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready as taken};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::Socket;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres_rustls::MakeRustlsConnect;

use self::frames::Frames;

/// How much of a refused row is looked at in one go.
const LOOK: usize = 16 << 10;

/// Whether a connection ended for a message that was too large.
#[derive(Debug, Clone, Default)]
pub(super) struct RefusedRow(Arc<OnceLock<Option<usize>>>);

impl RefusedRow {
    /// None when nothing was refused; else the number of the column in which it grew too large, where it was a
    /// row and can be told.
    pub(super) fn column(&self) -> Option<Option<usize>> {
        self.0.get().copied()
    }
}

/// Puts the bound above a connection's TLS, or above a plain one.
pub(super) struct Bounding<T> {
    inner: T,
    refused: RefusedRow,
}

/// No TLS.
#[derive(Clone, Copy)]
pub(super) struct Plain;

impl<T> Bounding<T> {
    /// What is refused is noted in `refused`.
    pub(super) fn new(inner: T, refused: &RefusedRow) -> Self {
        Self { inner, refused: refused.clone() }
    }
}

type Rustls = <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect;
type RustlsStream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

impl MakeTlsConnect<Socket> for Bounding<Plain> {
    type Stream = Bounded<Socket>;
    type TlsConnect = Self;
    type Error = Infallible;

    fn make_tls_connect(&mut self, _: &str) -> Result<Self, Infallible> {
        Ok(Self::new(Plain, &self.refused))
    }
}

impl TlsConnect<Socket> for Bounding<Plain> {
    type Stream = Bounded<Socket>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Stream, Infallible>>;

    fn connect(self, stream: Socket) -> Self::Future {
        ready(Ok(Bounded::new(stream, |_| ChannelBinding::none(), self.refused)))
    }
}

impl MakeTlsConnect<Socket> for Bounding<MakeRustlsConnect> {
    type Stream = Bounded<RustlsStream>;
    type TlsConnect = Handshake;
    type Error = Infallible;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Self::TlsConnect, Infallible> {
        let inner = MakeTlsConnect::<Socket>::make_tls_connect(&mut self.inner, domain)?;
        Ok(Handshake { inner, refused: self.refused.clone() })
    }
}

/// A handshake of TLS, above whose stream the bound is.
pub(super) struct Handshake {
    inner: Rustls,
    refused: RefusedRow,
}

impl TlsConnect<Socket> for Handshake {
    type Stream = Bounded<RustlsStream>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Stream>>;

    fn connect(self, stream: Socket) -> Self::Future {
        let Self { inner, refused } = self;
        let connecting = inner.connect(stream);
        async move { Ok(Bounded::new(connecting.await?, TlsStream::channel_binding, refused)) }
            .boxed()
    }
}

/// A stream of messages that ends where one is too large.
pub(super) struct Bounded<S> {
    stream: S,
    binding: fn(&S) -> ChannelBinding,
    frames: Frames,
    refused: RefusedRow,
}

impl<S: AsyncRead + Unpin> Bounded<S> {
    fn new(stream: S, binding: fn(&S) -> ChannelBinding, refused: RefusedRow) -> Self {
        Self { stream, binding, frames: Frames::default(), refused }
    }

    /// Looks for the column, as far as that is there, and ends the stream.
    fn poll_refusal(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let mut scratch = [0; LOOK];
        loop {
            if let Some(column) = self.frames.refused() {
                // Only the first one counts, and there is no second.
                let _ = self.refused.0.set(column);
                return Poll::Ready(io::Error::other("the server sends a row that is too large"));
            }
            let mut piece = ReadBuf::new(&mut scratch);
            match taken!(Pin::new(&mut self.stream).poll_read(context, &mut piece)) {
                Ok(()) if piece.filled().is_empty() => self.frames.end(),
                Ok(()) => {
                    self.frames.pass(piece.filled());
                }
                Err(error) => return Poll::Ready(error),
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.frames.is_refusing() {
            let before = into.filled().len();
            taken!(Pin::new(&mut this.stream).poll_read(context, into))?;
            let passed = this.frames.pass(&into.filled()[before..]);
            into.set_filled(before + passed);
            // Nothing would look like the end.
            if passed > 0 || !this.frames.is_refusing() {
                return Poll::Ready(Ok(()));
            }
        }
        this.poll_refusal(context).map(Err)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Bounded<S> {
    fn channel_binding(&self) -> ChannelBinding {
        (self.binding)(&self.stream)
    }
}
