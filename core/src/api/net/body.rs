//! Bodies of plain HTTP, whichever version they come and go by.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use h2::RecvStream;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::mpsc;

/// The body of a request, as it comes.
pub(crate) enum RequestBody {
    Http1(Incoming),
    Http2(RecvStream),
    /// What somebody else has read.
    Pieces(mpsc::Receiver<Bytes>),
}

impl RequestBody {
    /// The next piece; none at the end, and when the client is gone: then nobody waits for the answer.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self {
                Self::Http1(body) => match poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await? {
                    Ok(frame) => match frame.into_data() {
                        Ok(data) => return Some(data),
                        // Trailers mean nothing here.
                        Err(_) => continue,
                    },
                    Err(_) => return std::future::pending().await,
                },
                Self::Http2(stream) => match stream.data().await? {
                    Ok(data) => {
                        // A stream that is gone needs no more room.
                        let _gone = stream.flow_control().release_capacity(data.len());
                        return Some(data);
                    }
                    Err(_) => return std::future::pending().await,
                },
                Self::Pieces(pieces) => return pieces.recv().await,
            }
        }
    }

    /// Passes over what is left, where the next request comes behind it, and unless that is long.
    pub(crate) async fn skip(&mut self) {
        let mut passed = 0;
        while matches!(self, Self::Http1(_)) && passed < UNWANTED_MAX {
            let Some(data) = self.next().await else { return };
            passed += data.len();
        }
    }
}

/// So much of a body that nobody wants is read, for the connection to be used again.
const UNWANTED_MAX: usize = 256 * 1024;

/// As much of a whole body is handed on at a time: a connection may copy what it is given before it sends it.
const PIECE: usize = 64 * 1024;

/// The body of an answer.
pub(crate) enum ResponseBody {
    /// All of it.
    Whole(Bytes),
    /// Piece by piece; what makes them runs only as they are asked for.
    Stream(BoxStream<'static, Bytes>),
}

impl ResponseBody {
    /// The next piece.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.is_empty())
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        match self {
            Self::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(Some(bytes.split_to(PIECE.min(bytes.len())))),
            Self::Stream(stream) => stream.poll_next_unpin(cx),
        }
    }
}

impl From<Bytes> for ResponseBody {
    fn from(whole: Bytes) -> Self {
        Self::Whole(whole)
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(ready!(self.poll_next(cx)).map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}
