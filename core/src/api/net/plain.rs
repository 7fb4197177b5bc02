//! Plain HTTP: on HTTP/1 connections all there is, on HTTP/2 connections a few paths beside gRPC.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::header::CONTENT_TYPE;
use http::{Method, Request};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::api::grpc::{Engine, is_grpc, send};

/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(300);
/// The longest head of a request.
const MAX_HEAD: usize = 64 * 1024;

/// Whether a request on an HTTP/2 connection asks for a plain page.
pub(crate) fn is_plain<E: Engine>(engine: &E, request: &Request<RecvStream>) -> bool {
    !request.headers().get(CONTENT_TYPE).is_some_and(is_grpc) && engine.serves_http(request.uri().path())
}

/// Answers it.
pub(crate) async fn answer_plain<E: Engine>(
    engine: Arc<E>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) {
    let head_only = request.method() == Method::HEAD;
    let (response, body) = engine.http(request.map(drop)).await.into_parts();
    let empty = head_only || body.is_empty();
    let Ok(mut stream) = respond.send_response(http::Response::from_parts(response, ()), empty) else { return };
    if !empty {
        // A client that went away meanwhile needs no answer.
        let _gone = send(&mut stream, body, true).await;
    }
}

/// Serves an HTTP/1 connection until the client leaves or `stop` is ready and the request under way is done.
pub(crate) async fn serve_http1<S, E>(socket: S, engine: Arc<E>, stop: impl Future<Output = ()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    E: Engine,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let engine = Arc::clone(&engine);
        async move {
            // Bodies are not read: a connection whose request had one is not used again.
            let request = request.map(drop);
            Ok::<_, Infallible>(engine.http(request).await.map(Full::new))
        }
    });
    let mut connection = std::pin::pin!(
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(socket), service)
    );
    tokio::select! {
        // A broken connection is the client's affair.
        _ended = connection.as_mut() => return,
        () = stop => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ended = connection.await;
}
