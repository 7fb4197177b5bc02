//! Tells HTTP/2 from HTTP/1 by the first bytes of a connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// What an HTTP/2 client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A socket whose first bytes were read already; they are read again.
pub(crate) struct Greeted<S> {
    socket: S,
    first: [u8; PREFACE.len()],
    held: usize,
    given: usize,
}

impl<S: AsyncRead + Unpin> Greeted<S> {
    /// Reads until it is clear what the client speaks; true if it is HTTP/2.
    pub(crate) async fn read(mut socket: S) -> io::Result<(Self, bool)> {
        let mut first = [0; PREFACE.len()];
        let mut held = 0;
        let mut http2 = true;
        while http2 && held < PREFACE.len() {
            let read = socket.read(&mut first[held..]).await?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            held += read;
            http2 = PREFACE.starts_with(&first[..held]);
        }
        Ok((Self { socket, first, held, given: 0 }, http2))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Greeted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.given == self.held {
            return Pin::new(&mut self.socket).poll_read(cx, buf);
        }
        let rest = &self.first[self.given..self.held];
        let now = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..now]);
        self.given += now;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Greeted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_looked_at_is_read_again() {
        for (sent, is_http2) in
            [(&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nrest"[..], true), (b"PRINT / HTTP/1.1\r\n\r\n", false)]
        {
            let (mut socket, http2) = Greeted::read(sent).await.expect("bytes enough");
            assert_eq!(http2, is_http2);
            let mut read = Vec::new();
            socket.read_to_end(&mut read).await.expect("memory does not fail");
            assert_eq!(read, sent);
        }
    }

    #[tokio::test]
    async fn a_client_that_leaves_too_early_is_no_client() {
        assert!(Greeted::read(&b"PRI *"[..]).await.is_err());
    }
}
