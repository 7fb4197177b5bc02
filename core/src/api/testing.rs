//! A client that speaks raw HTTP/2, for tests that send what no gRPC library would.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// What came back on one stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) http: u16,
    pub(crate) content_type: String,
    /// Everything in the data frames.
    pub(crate) body: Vec<u8>,
    /// The code and text of gRPC; none if there were none.
    pub(crate) status: Option<(i32, String)>,
    /// The stream was reset with this reason, after whatever else came.
    pub(crate) reset: Option<h2::Reason>,
}

/// One connection.
#[derive(Clone)]
pub(crate) struct RawClient(SendRequest<Bytes>);

impl RawClient {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.expect("the server listens")).await
    }

    pub(crate) async fn over(socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        // The library counts answers that its tasks have not looked at yet; many may come at once.
        let mut builder = h2::client::Builder::new();
        builder.data_frame_budget(1 << 24);
        let (client, connection) = builder.handshake(socket).await.expect("the server speaks HTTP/2");
        #[allow(clippy::disallowed_methods, reason = "tests run on a real runtime")]
        tokio::spawn(async move {
            // The streams see how a connection ends.
            let _ended = connection.await;
        });
        Self(client)
    }

    /// Sends a request and these pieces of a body, then ends the stream if asked to, and reads all that comes back.
    pub(crate) async fn send(&self, request: Request<()>, pieces: &[Vec<u8>], end: bool) -> Answer {
        let mut client = self.0.clone().ready().await.expect("the connection lives");
        let without_body = pieces.is_empty() && end;
        let (response, mut body) = client.send_request(request, without_body).expect("a request can be sent");
        for (number, piece) in pieces.iter().enumerate() {
            let last = end && number + 1 == pieces.len();
            // A server that has refused already may have closed the stream.
            if body.send_data(Bytes::from(piece.clone()), last).is_err() {
                break;
            }
        }
        let mut answer = Answer::default();
        let response = match response.await {
            Ok(response) => response,
            Err(error) => {
                answer.reset = error.reason();
                return answer;
            }
        };
        answer.http = response.status().as_u16();
        if let Some(value) = response.headers().get("content-type") {
            answer.content_type = String::from_utf8_lossy(value.as_bytes()).into_owned();
        }
        answer.status = status(response.headers());
        let mut stream = response.into_body();
        while let Some(data) = stream.data().await {
            match data {
                Ok(data) => {
                    stream.flow_control().release_capacity(data.len()).expect("what came can be released");
                    answer.body.extend_from_slice(&data);
                }
                Err(error) => {
                    answer.reset = error.reason();
                    return answer;
                }
            }
        }
        match stream.trailers().await {
            Ok(Some(trailers)) => answer.status = status(&trailers),
            Ok(None) => {}
            Err(error) => answer.reset = error.reason(),
        }
        answer
    }

    /// Opens a stream both ways.
    pub(crate) async fn open(&self, request: Request<()>) -> RawStream {
        let mut client = self.0.clone().ready().await.expect("the connection lives");
        let (response, sending) = client.send_request(request, false).expect("a request can be sent");
        RawStream { sending, response: Some(response), receiving: None, received: Vec::new() }
    }

    /// Calls a method with one message.
    pub(crate) async fn call(&self, path: &str, message: &[u8]) -> Answer {
        self.send(grpc(path).body(()).expect("a good request"), &[framed(message)], true).await
    }
}

/// A stream both ways.
pub(crate) struct RawStream {
    sending: SendStream<Bytes>,
    response: Option<ResponseFuture>,
    receiving: Option<RecvStream>,
    received: Vec<u8>,
}

impl RawStream {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.sending.send_data(Bytes::copy_from_slice(bytes), false).expect("an open stream");
    }

    pub(crate) fn half_close(&mut self) {
        self.sending.send_data(Bytes::new(), true).expect("an open stream");
    }

    /// The next message; none if the stream ended, however it did.
    pub(crate) async fn next<M: Message + Default>(&mut self) -> Option<M> {
        if let Some(response) = self.response.take() {
            self.receiving = Some(response.await.ok()?.into_body());
        }
        loop {
            if let Some((&[_, a, b, c, d], rest)) = self.received.split_first_chunk::<5>() {
                let length = u32::from_be_bytes([a, b, c, d]) as usize;
                if let Some(message) = rest.get(..length) {
                    let message = M::decode(message).expect("a good message");
                    self.received.drain(..5 + length);
                    return Some(message);
                }
            }
            let receiving = self.receiving.as_mut()?;
            let data = receiving.data().await?.ok()?;
            receiving.flow_control().release_capacity(data.len()).ok()?;
            self.received.extend_from_slice(&data);
        }
    }
}

/// A gRPC request without its body.
pub(crate) fn grpc(path: &str) -> http::request::Builder {
    Request::post(format!("http://localhost{path}")).header("content-type", "application/grpc").header("te", "trailers")
}

/// A message with its prefix.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a short message");
    [&[0][..], &length.to_be_bytes(), message].concat()
}

fn status(headers: &HeaderMap) -> Option<(i32, String)> {
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let code = text("grpc-status")?.parse().expect("a numeric code");
    // The protobuf library of Go puts one kind of space or the other, at random by build, so that nobody
    // relies on its texts.
    Some((code, text("grpc-message").unwrap_or_default().replace("%C2%A0", " ")))
}
