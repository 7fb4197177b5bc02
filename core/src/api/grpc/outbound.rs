//! The answering half of a stream.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Response, StatusCode};

use super::status::ok_trailers;
use super::{Framed, Status, gzip};

/// The client, or the connection, gave the stream up: nobody reads what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// Sends messages and the end of one stream. Waits for the client's flow control, so that what is
/// held for a slow client is what its caller holds.
pub(crate) struct Outbound {
    content_type: HeaderValue,
    gzip: bool,
    half: Half,
}

enum Half {
    /// Nothing was sent: an error can still go out as headers alone.
    Fresh(SendResponse<Bytes>),
    /// The headers are out.
    Open(SendStream<Bytes>),
    Closed,
}

impl Outbound {
    /// The answer to the request that `respond` came with.
    pub(crate) const fn new(respond: SendResponse<Bytes>, content_type: HeaderValue) -> Self {
        Self { content_type, gzip: false, half: Half::Fresh(respond) }
    }

    /// Has messages compressed from now on; before the first one.
    pub(crate) const fn compress(&mut self) {
        self.gzip = true;
    }

    /// Sends messages, each with its prefix.
    pub(crate) async fn send(&mut self, framed: Bytes) -> Result<(), Gone> {
        let framed = if self.gzip { gzip::pack(framed).map_err(|_| Gone)? } else { framed };
        send(self.open()?, framed, false).await
    }

    /// Sends one message that comes in pieces.
    pub(crate) async fn send_pieces(&mut self, framed: Framed) -> Result<(), Gone> {
        let Framed { first, rest } = if self.gzip {
            self.unless_gone(pin!(gzip::pack_pieces(framed))).await?.map_err(|_| Gone)?
        } else {
            framed
        };
        send(self.open()?, first, false).await?;
        for piece in rest {
            send(self.open()?, piece, false).await?;
        }
        Ok(())
    }

    /// Ends the stream with its status.
    pub(crate) fn finish(&mut self, result: Result<(), &Status>) -> Result<(), Gone> {
        let trailers = match (result, &self.half) {
            (Err(status), Half::Fresh(_)) => return self.finish_with_headers(StatusCode::OK, status),
            (Err(status), _) => status.trailers(),
            (Ok(()), _) => ok_trailers(),
        };
        self.open()?.send_trailers(trailers).map_err(|_| Gone)?;
        self.half = Half::Closed;
        Ok(())
    }

    /// Ends a stream, on which nothing was sent, with headers alone. If the client has gone meanwhile,
    /// there is nobody to tell.
    pub(crate) fn refuse(&mut self, http: StatusCode, status: &Status) {
        let _gone = self.finish_with_headers(http, status);
    }

    fn finish_with_headers(&mut self, http: StatusCode, status: &Status) -> Result<(), Gone> {
        let Half::Fresh(mut respond) = std::mem::replace(&mut self.half, Half::Closed) else { return Err(Gone) };
        let mut response = Response::new(());
        *response.status_mut() = http;
        *response.headers_mut() = status.headers_only();
        response.headers_mut().insert(CONTENT_TYPE, self.content_type.clone());
        respond.send_response(response, true).map(drop).map_err(|_| Gone)
    }

    /// Gives the stream up.
    pub(crate) fn reset(&mut self, reason: Reason) {
        match std::mem::replace(&mut self.half, Half::Closed) {
            Half::Fresh(mut respond) => respond.send_reset(reason),
            Half::Open(mut stream) => stream.send_reset(reason),
            Half::Closed => {}
        }
    }

    /// Does work for the client, unless it gives the stream up meanwhile: then the work ends at its next
    /// wait.
    pub(crate) async fn unless_gone<F: Future>(&mut self, mut work: Pin<&mut F>) -> Result<F::Output, Gone> {
        poll_fn(|cx| match work.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Ok(result)),
            Poll::Pending => self.poll_gone(cx).map(Err),
        })
        .await
    }

    /// Ready once the client has given the stream up.
    pub(crate) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Gone> {
        let reset = match &mut self.half {
            Half::Fresh(respond) => respond.poll_reset(cx),
            Half::Open(stream) => stream.poll_reset(cx),
            Half::Closed => return Poll::Ready(Gone),
        };
        reset.map(|_| Gone)
    }

    fn open(&mut self) -> Result<&mut SendStream<Bytes>, Gone> {
        if let Half::Fresh(respond) = &mut self.half {
            let mut response = Response::new(());
            let mut headers = HeaderMap::with_capacity(2);
            headers.insert(CONTENT_TYPE, self.content_type.clone());
            if self.gzip {
                headers.insert("grpc-encoding", HeaderValue::from_static(gzip::NAME));
            }
            *response.headers_mut() = headers;
            let stream = respond.send_response(response, false).map_err(|_| Gone)?;
            self.half = Half::Open(stream);
        }
        match &mut self.half {
            Half::Open(stream) => Ok(stream),
            _ => Err(Gone),
        }
    }
}

/// Sends bytes as the client's flow control lets them through, and with the last of them perhaps the end.
pub(crate) async fn send(stream: &mut SendStream<Bytes>, mut bytes: Bytes, end: bool) -> Result<(), Gone> {
    stream.reserve_capacity(bytes.len());
    while !bytes.is_empty() {
        let room = stream.capacity();
        if room == 0 {
            match poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => return Err(Gone),
            }
        }
        let part = bytes.split_to(room.min(bytes.len()));
        stream.send_data(part, end && bytes.is_empty()).map_err(|_| Gone)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Request;

    use super::*;

    #[tokio::test]
    async fn nothing_is_packed_for_a_client_that_has_gone() {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (client, server) = tokio::join!(h2::client::handshake(near), h2::server::handshake(far));
        let (client, connection) = client.expect("a connection");
        let mut server = server.expect("a connection");
        let mut client = client.ready().await.expect("a connection");
        let (response, stream) = client.send_request(Request::new(()), true).expect("a good request");
        let asked = async {
            let (_request, respond) = server.accept().await.expect("a request").expect("a good request");
            let mut outbound = Outbound::new(respond, super::super::status::GRPC);
            outbound.compress();
            drop((response, stream));
            // To pack all of it would take minutes.
            let rest = vec![Bytes::from_static(&[0; 1 << 16]); 1 << 17];
            let sending = outbound.send_pieces(Framed { first: vec![0; 5].into(), rest });
            let served = async { while server.accept().await.is_some() {} };
            tokio::select! {
                biased;
                () = served => panic!("the connection ended"),
                sent = sending => assert_eq!(sent, Err(Gone)),
            }
        };
        let test = async {
            tokio::select! {
                _ = connection => panic!("the connection ended"),
                () = asked => {}
            }
        };
        tokio::time::timeout(Duration::from_secs(10), test).await.expect("it ends at once");
    }
}
