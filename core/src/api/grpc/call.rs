//! One call from its headers to its trailers.

use std::future::Future;
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::header::HeaderValue;
use http::{HeaderMap, Request, StatusCode};

use super::message::no_decompressor;
use super::{Framed, Gone, Inbound, Outbound, ReadError, Refusal, Status, gzip, head};
use crate::api::method::{Kind, Method};
use crate::api::net::{Backlog, Door, Remote, RequestBody, ResponseBody};
use crate::node::ReadMemory;
use crate::types::{Error, GrpcCode};

/// What a handler may know of the call besides its messages.
#[derive(Debug)]
pub(crate) struct Call {
    /// Which method.
    pub(crate) method: Method,
    /// The request's metadata.
    pub(crate) metadata: HeaderMap,
    /// Who asks.
    pub(crate) remote: Remote,
    /// What the connection holds for a client that does not read.
    pub(crate) backlog: Backlog,
}

impl Call {
    /// Whether the client would rather fail than talk to a member without a leader.
    pub(crate) fn requires_leader(&self) -> bool {
        self.metadata.get("hasleader").is_some_and(|value| value == "true")
    }

    /// The API version that the client says it speaks; an error if it is not text.
    pub(crate) fn client_version(&self) -> Result<&str, std::str::Utf8Error> {
        self.metadata.get("client-api-version").map_or(Ok("unknown"), |value| std::str::from_utf8(value.as_bytes()))
    }
}

/// What answers calls, independent of how they arrive.
pub(crate) trait Engine: Send + Sync + 'static {
    /// The longest request message, in bytes.
    fn max_message(&self) -> usize;

    /// The memory that answers share.
    fn read_memory(&self) -> &ReadMemory;

    /// Answers a call of one message with one message. Both ends are protobuf; the answer has its prefix.
    fn unary(&self, call: &Call, message: Bytes) -> impl Future<Output = Result<Framed, Status>> + Send;

    /// Answers a call whose requests or answers are a stream, up to its end.
    fn stream(
        &self,
        call: &Call,
        inbound: &mut Inbound,
        outbound: &mut Outbound,
    ) -> impl Future<Output = Result<(), End>> + Send;

    /// Whether this path is served over plain HTTP.
    fn serves_http(&self, path: &str) -> bool;

    /// Answers a plain HTTP request.
    fn http(
        self: Arc<Self>,
        door: Door,
        request: Request<RequestBody>,
    ) -> impl Future<Output = http::Response<ResponseBody>> + Send;

    /// Tells that a call began. Answers when, if that is to be known at its end.
    fn began(&self, method: Method) -> Option<Duration>;

    /// Refuses a call that has begun if too much is under way.
    fn admit(&self, method: Method) -> Result<(), Status>;

    /// Tells that a call ended, and how; `began` is what the beginning answered.
    fn ended(&self, method: Method, code: GrpcCode, began: Option<Duration>);

    /// Tells that a connection was accepted, or (false) that one has ended.
    fn connected(&self, here: bool);
}

/// A call that has begun. Its end is told however it comes: with the connection too, which lets go of its calls.
pub(crate) struct Begun<P: Deref<Target: Engine>> {
    engine: P,
    method: Method,
    began: Option<Duration>,
    code: GrpcCode,
}

impl<P: Deref<Target: Engine>> Begun<P> {
    /// Counts a call. An error, which is the end of it, if too much is under way.
    pub(crate) fn admit(engine: P, method: Method) -> Result<Self, Status> {
        let began = engine.began(method);
        let begun = Self { engine, method, began, code: GrpcCode::Canceled };
        match begun.engine.admit(method) {
            Ok(()) => Ok(begun),
            Err(status) => {
                begun.end(status.code());
                Err(status)
            }
        }
    }

    /// The call ends like this. Where nothing ends it, its client has gone.
    pub(crate) fn end(mut self, code: GrpcCode) {
        self.code = code;
    }
}

impl<P: Deref<Target: Engine>> Drop for Begun<P> {
    fn drop(&mut self) {
        self.engine.ended(self.method, self.code, self.began);
    }
}

/// Answers one request of an HTTP/2 connection. Never fails: what goes wrong goes to the client.
pub(crate) async fn answer<E: Engine>(
    engine: Arc<E>,
    remote: Remote,
    backlog: Backlog,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let (parts, body) = request.into_parts();
    let mut outbound = Outbound::new(respond, reply_type(&parts.headers));
    let head = match head::check(&parts) {
        Ok(head) => head,
        Err(Refusal::Reset) => return outbound.reset(Reason::PROTOCOL_ERROR),
        Err(Refusal::Answer(http, status)) => return outbound.refuse(http, &status),
    };
    let method = match Method::find(parts.uri.path()) {
        Ok(method) => method,
        Err(status) => return outbound.refuse(StatusCode::OK, &status),
    };
    let gzip = match head.encoding.as_deref() {
        None => false,
        Some(gzip::NAME) => true,
        Some(other) => return outbound.refuse(StatusCode::OK, &no_decompressor(other)),
    };
    if gzip {
        outbound.compress(engine.read_memory().clone());
    }
    let call = Call { method, metadata: parts.headers, remote, backlog };
    let mut inbound = Inbound::new(body, engine.max_message(), gzip);
    let begun = match Begun::admit(&*engine, method) {
        Ok(begun) => begun,
        Err(status) => return outbound.refuse(StatusCode::OK, &status),
    };
    let result = {
        let work = serve(&*engine, &call, &mut inbound, &mut outbound);
        match head.timeout {
            None => work.await,
            // Its own timer has told the client already; grpc-go resets such a stream.
            Some(timeout) => tokio::time::timeout(timeout, work).await.unwrap_or(Err(End::Late)),
        }
    };
    begun.end(match result {
        Ok(()) => outbound.finish(Ok(())).map_or(GrpcCode::Canceled, |()| GrpcCode::Ok),
        Err(End::Status(status)) => {
            let sent = outbound.finish(Err(&status));
            sent.map_or(GrpcCode::Canceled, |()| status.code())
        }
        Err(End::Gone) => {
            outbound.reset(Reason::CANCEL);
            GrpcCode::Canceled
        }
        Err(End::Late) => {
            outbound.reset(Reason::CANCEL);
            GrpcCode::DeadlineExceeded
        }
    });
}

/// Why a call ended without a good answer.
#[derive(Debug)]
pub(crate) enum End {
    /// It failed.
    Status(Status),
    /// The client, or the connection, gave it up.
    Gone,
    /// The client's deadline passed.
    Late,
}

impl From<Status> for End {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Status(error.into())
    }
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

/// What streams make of their reader's errors.
impl From<ReadError> for End {
    fn from(error: ReadError) -> Self {
        match error {
            // Whoever expects the end looks for it before this.
            ReadError::End => Self::Status(Status::new(GrpcCode::Unknown, "EOF")),
            ReadError::Truncated => Self::Status(Status::new(GrpcCode::Internal, "unexpected EOF")),
            ReadError::Gone => Self::Gone,
            ReadError::Status(status) => Self::Status(status),
        }
    }
}

async fn serve<E: Engine>(engine: &E, call: &Call, inbound: &mut Inbound, outbound: &mut Outbound) -> Result<(), End> {
    if call.method.kind() != Kind::Unary {
        return engine.stream(call, inbound, outbound).await;
    }
    let message = inbound.next().await.map_err(unary_read_error)?;
    let answer = outbound.unless_gone(pin!(engine.unary(call, message))).await??;
    outbound.hurry();
    // The turn of a large answer has just ended. Nobody else of the connection, all of whose calls share a
    // thread, can have begun another one before this counts.
    let _held = call.backlog.hold(answer.len());
    if answer.rest.is_empty() {
        return outbound.send(answer.first).await.map_err(|_| End::Gone);
    }
    Box::pin(outbound.send_pieces(answer)).await.map_err(|_| End::Gone)
}

/// For calls of one message, grpc-go passes its reader's own errors on as they are.
fn unary_read_error(error: ReadError) -> End {
    match error {
        ReadError::Truncated => End::Status(Status::new(GrpcCode::Unknown, "unexpected EOF")),
        other => other.into(),
    }
}

/// The content type of the answer: that of the request.
fn reply_type(headers: &HeaderMap) -> HeaderValue {
    const BASE: &[u8] = b"application/grpc";
    let subtype = headers.get(http::header::CONTENT_TYPE).filter(|value| head::is_grpc(value));
    let Some(subtype) = subtype.and_then(|value| value.as_bytes().get(BASE.len() + 1..)) else {
        return super::status::GRPC;
    };
    if subtype.is_empty() {
        return super::status::GRPC;
    }
    let value = [BASE, b"+", subtype].concat();
    HeaderValue::from_bytes(&value).unwrap_or(super::status::GRPC)
}
