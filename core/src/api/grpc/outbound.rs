//! The answering half of a stream.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use tokio::sync::mpsc;

use super::status::ok_trailers;
use super::{Framed, Status, gzip};
use crate::node::ReadMemory;

/// The client, or the connection, gave the stream up: nobody reads what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// A client that takes nothing of its answer for this long loses it: others need the memory.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Sends messages and the end of one stream. Waits for the client's flow control, so that what is
/// held for a slow client is what its caller holds.
pub(crate) struct Outbound {
    content_type: HeaderValue,
    /// What compressed answers count against; none if they are not compressed.
    gzip: Option<ReadMemory>,
    /// How long a client may take nothing; none: as long as it likes.
    patience: Option<Duration>,
    half: Half,
}

enum Half {
    /// Nothing was sent: an error can still go out as headers alone.
    Fresh(SendResponse<Bytes>),
    /// The headers are out.
    Open(SendStream<Bytes>),
    /// Somebody else sends them on, and drops the work for a client that has gone.
    Messages(mpsc::Sender<Bytes>),
    Closed,
}

impl Outbound {
    /// The answer to the request that `respond` came with.
    pub(crate) const fn new(respond: SendResponse<Bytes>, content_type: HeaderValue) -> Self {
        Self { content_type, gzip: None, patience: None, half: Half::Fresh(respond) }
    }

    /// Hands messages, each with its prefix and perhaps in pieces, to somebody who sends them on.
    pub(crate) const fn to_messages(messages: mpsc::Sender<Bytes>) -> Self {
        Self { content_type: super::status::GRPC, gzip: None, patience: None, half: Half::Messages(messages) }
    }

    /// Has messages compressed from now on; before the first one. Large ones count against `memory`.
    pub(crate) fn compress(&mut self, memory: ReadMemory) {
        self.gzip = Some(memory);
    }

    /// Gives up on a client that takes nothing of its answer for long.
    pub(crate) const fn hurry(&mut self) {
        self.patience = Some(PATIENCE);
    }

    /// Sends messages, each with its prefix.
    pub(crate) async fn send(&mut self, framed: Bytes) -> Result<(), Gone> {
        let framed = if self.gzip.is_some() { gzip::pack(framed).map_err(|_| Gone)? } else { framed };
        self.pass(framed).await
    }

    /// Sends one message that comes in pieces.
    pub(crate) async fn send_pieces(&mut self, framed: Framed) -> Result<(), Gone> {
        let Framed { first, rest } = if let Some(memory) = self.gzip.clone() {
            self.unless_gone(pin!(gzip::pack_pieces(framed, &memory))).await?.map_err(|_| Gone)?
        } else {
            framed
        };
        self.pass(first).await?;
        for piece in rest {
            self.pass(piece).await?;
        }
        Ok(())
    }

    async fn pass(&mut self, bytes: Bytes) -> Result<(), Gone> {
        match &self.half {
            Half::Messages(messages) => messages.send(bytes).await.map_err(|_| Gone),
            _ => {
                let patience = self.patience;
                send(self.open()?, bytes, false, patience).await
            }
        }
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
            Half::Messages(_) | Half::Closed => {}
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
            Half::Messages(_) => return Poll::Pending,
            Half::Closed => return Poll::Ready(Gone),
        };
        reset.map(|_| Gone)
    }

    fn open(&mut self) -> Result<&mut SendStream<Bytes>, Gone> {
        if let Half::Fresh(respond) = &mut self.half {
            let mut response = Response::new(());
            let mut headers = HeaderMap::with_capacity(2);
            headers.insert(CONTENT_TYPE, self.content_type.clone());
            if self.gzip.is_some() {
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

/// Sends bytes as the client's flow control lets them through, and with the last of them perhaps the end. If it lets
/// none through for longer than `patience`, it is taken for gone.
pub(crate) async fn send(
    stream: &mut SendStream<Bytes>,
    mut bytes: Bytes,
    end: bool,
    patience: Option<Duration>,
) -> Result<(), Gone> {
    stream.reserve_capacity(bytes.len());
    while !bytes.is_empty() {
        let room = stream.capacity();
        if room == 0 {
            let room = poll_fn(|cx| stream.poll_capacity(cx));
            let room = match patience {
                None => room.await,
                Some(patience) => tokio::time::timeout(patience, room).await.map_err(|_| Gone)?,
            };
            match room {
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
            outbound.compress(ReadMemory::new(usize::MAX));
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
