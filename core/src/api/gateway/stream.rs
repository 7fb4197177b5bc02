//! Calls whose requests or answers are a stream: values in, lines out.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::stream::{self, Stream, StreamExt as _};
use http::Response;
use http::header::CONTENT_TYPE;
use keelkv_proto::schema::Message;
use tokio::sync::mpsc;

use super::answer::{JSON, METADATA, code, http_status, in_time, refuse, time_left, write_status};
use super::json::{Text, Values, to_json, to_protobuf};
use super::places::Place;
use super::routes::messages;
use super::unary::{body_max, body_too_long, fits, read_only};
use crate::api::grpc::{Begun, Call, Engine, Inbound, Outbound, ReadError, Status, split_message};
use crate::api::method::Kind;
use crate::api::net::{RequestBody, ResponseBody};
use crate::api::server::Api;
use crate::types::GrpcCode;

/// Lines are gathered up to about this size.
const ENOUGH: usize = 64 * 1024;

/// Answers a call. All of it runs as its answer is asked for: a client that does not read holds up its own stream.
pub(super) async fn answer(
    api: Arc<Api>,
    call: Call,
    mut body: RequestBody,
    deadline: Option<Duration>,
    place: Place,
) -> Response<ResponseBody> {
    if let Some(Err(status)) = deadline.map(|deadline| time_left(&api, deadline)) {
        return refuse(&status);
    }
    let method = messages(call.method);
    let (requests, read) = mpsc::channel(1);
    let feed: BoxFuture<'static, ()> = if call.method.kind() == Kind::Bidi {
        let api = Arc::clone(&api);
        Box::pin(async move { feed(&api, method.input, &mut body, requests).await })
    } else {
        let message = match read_only(&api, method.input, &mut body).await {
            Ok(message) => message,
            Err(status) => return refuse(&status),
        };
        // It has room, and nobody has closed it.
        Box::pin(async move { requests.send(Ok(message)).await.unwrap_or_default() })
    };
    let (written, answers) = mpsc::channel(1);
    let begun = match Begun::admit(Arc::clone(&api), call.method) {
        Ok(begun) => begun,
        Err(status) => return refuse(&status),
    };
    let work = async move {
        let _place = place;
        let (mut inbound, mut outbound) = (Inbound::from_messages(read), Outbound::to_messages(written));
        let result = in_time(&api, deadline, api.stream(&call, &mut inbound, &mut outbound)).await;
        begun.end(code(&result));
        result
    };
    let mut lines = Lines {
        feed: Some(feed),
        work: Some(Box::pin(work)),
        end: Ok(()),
        answers,
        held: BytesMut::new(),
        output: method.output,
    };
    respond(poll_fn(|cx| lines.poll_piece(cx)).await, lines)
}

/// The answer that begins with this piece. Nothing is sent before there is one.
fn respond(first: Option<Piece>, lines: Lines) -> Response<ResponseBody> {
    let Some(first) = first else {
        return Response::new(ResponseBody::Stream(stream::empty().boxed()));
    };
    let (bytes, failed) = match first {
        Piece::Results(bytes) => (bytes, None),
        Piece::Error(bytes, code) => (bytes, Some(code)),
    };
    let mut response = Response::new(ResponseBody::Stream(stream::iter([bytes]).chain(lines).boxed()));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    match failed {
        None => response.headers_mut().extend([METADATA]),
        Some(code) => *response.status_mut() = http_status(code),
    }
    response
}

/// Reads requests off a body. One that cannot be read ends them, as the end of the body does, and nobody is told: that is
/// grpc-gateway's way.
async fn feed(
    api: &Api,
    input: &'static Message,
    body: &mut RequestBody,
    requests: mpsc::Sender<Result<Bytes, ReadError>>,
) {
    let max = body_max(api);
    let mut values = Values::new();
    let mut ended = false;
    loop {
        let message = match values.take(ended) {
            Ok(None) if values.held() > max => Err(body_too_long(max)),
            Ok(None) => {
                match body.next().await {
                    Some(data) => values.push(&data),
                    None => ended = true,
                }
                continue;
            }
            Ok(Some(value)) => match to_protobuf(&value, input) {
                Ok(message) => {
                    let message = Bytes::from(message);
                    fits(api, &message).map(|()| message)
                }
                Err(_) => break,
            },
            Err(_) => break,
        };
        let last = message.is_err();
        if requests.send(message.map_err(ReadError::Status)).await.is_err() || last {
            break;
        }
    }
    drop(requests);
    // That the client goes shows as long as its body is read.
    while body.next().await.is_some() {}
}

/// Some lines.
enum Piece {
    Results(Bytes),
    /// The last one.
    Error(Bytes, GrpcCode),
}

/// A call under way.
struct Lines {
    feed: Option<BoxFuture<'static, ()>>,
    work: Option<BoxFuture<'static, Result<(), Status>>>,
    end: Result<(), Status>,
    answers: mpsc::Receiver<Bytes>,
    /// What has come of answers.
    held: BytesMut,
    output: &'static Message,
}

impl Lines {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        loop {
            if let Some(lines) = self.take_lines() {
                return Poll::Ready(Some(Piece::Results(lines)));
            }
            if let Poll::Ready(Some(answers)) = self.answers.poll_recv(cx) {
                self.held.extend_from_slice(&answers);
                continue;
            }
            let Some(work) = &mut self.work else {
                return Poll::Ready(std::mem::replace(&mut self.end, Ok(())).err().map(|status| error(&status)));
            };
            if let Some(feed) = &mut self.feed
                && feed.as_mut().poll(cx).is_ready()
            {
                self.feed = None;
            }
            match work.as_mut().poll(cx) {
                Poll::Ready(end) => (self.work, self.end) = (None, end),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn take_lines(&mut self) -> Option<Bytes> {
        let mut lines = Vec::new();
        while lines.len() < ENOUGH
            && let Some(message) = split_message(&mut self.held)
        {
            let begin = lines.len();
            lines.extend_from_slice(b"{\"result\":");
            if to_json(&message, self.output, Text::InHtml, &mut lines).is_err() {
                lines.truncate(begin);
                let status = Status::new(GrpcCode::Internal, "failed to marshal response chunk");
                (self.work, self.end) = (None, Err(status));
                break;
            }
            lines.extend_from_slice(b"}\n");
        }
        (!lines.is_empty()).then(|| lines.into())
    }
}

fn error(status: &Status) -> Piece {
    let line = [b"{\"error\":", &write_status(status, Text::InHtml)[..], b"}\n"].concat();
    Piece::Error(line.into(), status.code())
}

impl Stream for Lines {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.poll_piece(cx).map(|piece| {
            piece.map(|piece| match piece {
                Piece::Results(bytes) | Piece::Error(bytes, _) => bytes,
            })
        })
    }
}
