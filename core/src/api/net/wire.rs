//! The socket of an HTTP/2 connection, as the protocol library sees it and as the connection's loop
//! sees it.
//!
//! The library writes frame by frame and would flush each larger payload on its own. Here its writes
//! gather in one buffer, and the loop sends them with one system call once it has handled everything
//! that had arrived. The buffer is bounded: a full one stops the library.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Frames;

/// Over this many bytes nothing more is taken until the socket has room.
const FULL: usize = 256 * 1024;
/// From this many bytes on it pays to write before the loop has come round.
const PLENTY: usize = 32 * 1024;
/// A buffer that grew beyond this is given back once it is empty.
const KEEP: usize = 64 * 1024;

/// One socket, shared by the library and the loop. Both live in one task, so the lock is never waited for.
pub(crate) struct Wire<S>(Arc<Mutex<Inner<S>>>);

struct Inner<S> {
    socket: S,
    out: Vec<u8>,
    sent: usize,
    requests: Frames,
    answers: Frames,
    /// Whether the library was last refused: it may then be in the middle of a frame.
    refused: bool,
    received: u64,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Wraps a socket on which nothing was read yet.
    pub(crate) fn new(socket: S) -> Self {
        let inner = Inner {
            socket,
            out: Vec::new(),
            sent: 0,
            requests: Frames::from_client(),
            answers: Frames::from_server(),
            refused: false,
            received: 0,
        };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// Another handle to the same socket.
    pub(crate) fn handle(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// Sends what has gathered. Ready once nothing is left.
    pub(crate) fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().poll_send(cx)
    }

    /// Whether so much has gathered that it should be sent now.
    pub(crate) fn has_plenty(&self) -> bool {
        self.0.lock().waiting() >= PLENTY
    }

    /// Whether the client does not take what it is sent.
    pub(crate) fn is_full(&self) -> bool {
        self.0.lock().waiting() >= FULL
    }

    /// How many pings the client has sent since this was last asked.
    pub(crate) fn take_pings(&self) -> u32 {
        self.0.lock().requests.take_pings()
    }

    /// Whether headers or data of any call went out since this was last asked.
    pub(crate) fn take_answers(&self) -> bool {
        self.0.lock().answers.take_answers()
    }

    /// A number that changes with every read that brought something.
    pub(crate) fn received(&self) -> u64 {
        self.0.lock().received
    }

    /// Puts a frame of our own after what the library has written, unless it stopped within a frame.
    pub(crate) fn push(&self, frame: &[u8]) {
        let mut inner = self.0.lock();
        if !inner.refused {
            inner.out.extend_from_slice(frame);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Inner<S> {
    const fn waiting(&self) -> usize {
        self.out.len() - self.sent
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.out.len() {
            let written = ready!(Pin::new(&mut self.socket).poll_write(cx, &self.out[self.sent..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += written;
        }
        self.sent = 0;
        if self.out.capacity() > KEEP {
            self.out = Vec::new();
        } else {
            self.out.clear();
        }
        Pin::new(&mut self.socket).poll_flush(cx)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.lock();
        let inner = &mut *inner;
        let before = buf.filled().len();
        ready!(Pin::new(&mut inner.socket).poll_read(cx, buf))?;
        let read = &buf.filled()[before..];
        inner.received += read.len() as u64;
        inner.requests.read(read);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut inner = self.0.lock();
        if inner.waiting() >= FULL {
            inner.refused = true;
            ready!(inner.poll_send(cx))?;
        }
        inner.refused = false;
        if inner.sent > 0 {
            let sent = std::mem::replace(&mut inner.sent, 0);
            inner.out.drain(..sent);
        }
        inner.out.extend_from_slice(buf);
        inner.answers.read(buf);
        Poll::Ready(Ok(buf.len()))
    }

    /// The loop sends; the library must not wait for it.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.lock();
        ready!(inner.poll_send(cx))?;
        Pin::new(&mut inner.socket).poll_shutdown(cx)
    }
}
