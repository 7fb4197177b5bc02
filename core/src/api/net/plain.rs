//! Plain HTTP: on HTTP/1 connections all there is, on HTTP/2 connections a few paths beside gRPC.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::header::CONTENT_TYPE;
use http::{Method, Request};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::patient::Patient;
use super::{Backlog, Door, Remote, RequestBody, Traffic};
use crate::api::grpc::{Engine, Gone, is_grpc, send};

/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(300);
/// The longest head of a request.
const MAX_HEAD: usize = 64 * 1024;

/// Whether a request on an HTTP/2 connection asks for a plain page.
pub(crate) fn is_plain<E: Engine>(engine: &E, request: &Request<RecvStream>) -> bool {
    !request.headers().get(CONTENT_TYPE).is_some_and(is_grpc) && engine.serves_http(request.uri().path())
}

/// Answers it, unless the client takes nothing of the answer for as long as `patience`.
pub(crate) async fn answer_plain<E: Engine>(
    engine: Arc<E>,
    door: Door,
    patience: Duration,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let head_only = request.method() == Method::HEAD;
    let answered = engine.http(door, request.map(RequestBody::Http2));
    let mut answered = pin!(answered);
    let answered = poll_fn(|cx| match answered.as_mut().poll(cx) {
        Poll::Ready(response) => Poll::Ready(Some(response)),
        Poll::Pending => respond.poll_reset(cx).map(|_| None),
    });
    let Some(response) = answered.await else { return };
    let (response, mut body) = response.into_parts();
    let empty = head_only || body.is_empty();
    let Ok(mut stream) = respond.send_response(http::Response::from_parts(response, ()), empty) else { return };
    if empty {
        return;
    }
    loop {
        let piece = {
            let mut next = pin!(body.next());
            poll_fn(|cx| match next.as_mut().poll(cx) {
                Poll::Ready(piece) => Poll::Ready(piece.ok_or(Gone)),
                Poll::Pending => stream.poll_reset(cx).map(|_| Err(Gone)),
            })
            .await
        };
        // A client that went away meanwhile needs no answer; at the end this is what says so.
        let Ok(piece) = piece else { break };
        if send(&mut stream, piece, false, Some(patience)).await.is_err() {
            return;
        }
    }
    let _gone = stream.send_data(Bytes::new(), true);
}

/// Serves an HTTP/1 connection until the client leaves, takes nothing of an answer for as long as `patience`, or `stop` is
/// ready and the request under way is done.
pub(crate) async fn serve_http1<S, E>(
    socket: S,
    remote: Remote,
    engine: Arc<E>,
    traffic: Traffic,
    patience: Duration,
    stop: impl Future<Output = ()>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    E: Engine,
{
    let door = Door::new(remote, Backlog::default(), traffic);
    let service = {
        let door = door.clone();
        service_fn(move |request: Request<Incoming>| {
            let (engine, door) = (Arc::clone(&engine), door.clone());
            async move { Ok::<_, Infallible>(engine.http(door, request.map(RequestBody::Http1)).await) }
        })
    };
    let mut stop = pin!(stop);
    {
        let mut connection = pin!(
            hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(MAX_HEAD)
                // As Go writes them, for clients that do not know better.
                .title_case_headers(true)
                .serve_connection(TokioIo::new(Patient::new(socket, patience)), service)
                .with_upgrades()
        );
        // A broken connection is the client's affair.
        tokio::select! {
            _ended = connection.as_mut() => {}
            () = stop.as_mut() => {
                connection.as_mut().graceful_shutdown();
                let _ended = connection.await;
                return;
            }
        }
    }
    if let Some(after) = door.take_after() {
        tokio::select! {
            () = after => {}
            () = stop => {}
        }
    }
}
