//! Tells TLS, HTTP/2 and HTTP/1 apart by the first bytes of a connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// What an HTTP/2 client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The first byte of who begins a TLS handshake.
const TLS_HANDSHAKE: u8 = 0x16;

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Greeting {
    /// TLS; what is in it shows after the handshake.
    Tls,
    /// HTTP/2.
    Http2,
    /// HTTP/1, or nothing that is known.
    Http1,
}

/// A socket whose first bytes were read already; they are read again.
pub(crate) struct Greeted<S> {
    socket: S,
    first: [u8; PREFACE.len()],
    held: usize,
    given: usize,
}

impl<S: AsyncRead + Unpin> Greeted<S> {
    /// Reads until it is clear what the client speaks.
    pub(crate) async fn read(mut socket: S) -> io::Result<(Self, Greeting)> {
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
        let greeting = match first[0] {
            TLS_HANDSHAKE => Greeting::Tls,
            _ if http2 => Greeting::Http2,
            _ => Greeting::Http1,
        };
        Ok((Self { socket, first, held, given: 0 }, greeting))
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
        for (sent, meant) in [
            (&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nrest"[..], Greeting::Http2),
            (b"PRINT / HTTP/1.1\r\n\r\n", Greeting::Http1),
            (b"\x16\x03\x01", Greeting::Tls),
        ] {
            let (mut socket, greeting) = Greeted::read(sent).await.expect("bytes enough");
            assert_eq!(greeting, meant);
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
