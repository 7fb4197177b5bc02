//! The JSON gateway: the calls of gRPC as POST requests whose bodies are JSON.
//!
//! ```text
//! POST /v3/kv/put -> routes -> json -> Engine::unary  -> json -> one object
//! POST /v3/watch  -> routes -> json -> Engine::stream -> json -> lines, for as long as the stream lasts
//!        websocket: each message a line, both ways
//! ```
//!
//! A call comes in the name of whoever sent it: by its token, and never by a certificate, which would be the
//! gateway's own where etcd's connects to itself. Paths, encodings, refusals and their texts are grpc-gateway's.

mod answer;
mod head;
mod json;
mod openapi;
mod places;
mod routes;
mod stream;
mod unary;
mod websocket;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Method, Request, Response};

use self::answer::refuse;
use self::places::Place;
use super::grpc::{Call, Status};
use super::method::{self, Kind};
use super::net::{Door, RequestBody, ResponseBody};
use super::server::Api;
use crate::types::GrpcCode;

pub(super) use self::openapi::openapi;
pub(super) use self::places::Places;

/// What all paths begin with.
pub(super) const ROOT: &str = "/v3/";

/// Answers a request; `path` is unescaped.
pub(super) async fn answer(
    api: Arc<Api>,
    door: Door,
    path: &str,
    request: Request<RequestBody>,
) -> Response<ResponseBody> {
    if websocket::is_asked_for(request.headers()) {
        return websocket::open(api, door, path, request);
    }
    serve(api, door, path, request).await
}

/// Answers a request that wants nothing but an answer.
async fn serve(api: Arc<Api>, door: Door, path: &str, request: Request<RequestBody>) -> Response<ResponseBody> {
    let (parts, mut body) = request.into_parts();
    let admitted = admit(&api, path, &parts);
    let Admitted { method, deadline, place } = match admitted {
        Ok(admitted) => admitted,
        Err(status) => {
            body.skip().await;
            return refuse(&status);
        }
    };
    let metadata = head::metadata(&parts.headers);
    let call = Call { method, metadata, remote: door.remote.unnamed(), backlog: door.backlog };
    match method.kind() {
        Kind::Unary => unary::answer(api, call, body, deadline, place).await,
        Kind::ServerStream | Kind::Bidi => stream::answer(api, call, body, deadline, place).await,
    }
}

/// A request that is a call.
struct Admitted {
    method: method::Method,
    /// On the clock of the member's surroundings.
    deadline: Option<Duration>,
    place: Place,
}

fn admit(api: &Api, path: &str, parts: &Parts) -> Result<Admitted, Status> {
    let method = routes::find(path).ok_or_else(|| Status::new(GrpcCode::NotFound, "Not Found"))?;
    if parts.method != Method::POST {
        return Err(Status::new(GrpcCode::Unimplemented, "Method Not Allowed"));
    }
    let deadline = head::timeout(&parts.headers)?.map(|timeout| api.node.env().now() + timeout);
    let full = || Status::new(GrpcCode::ResourceExhausted, "keelkv: too many requests to the JSON gateway");
    Ok(Admitted { method, deadline, place: api.gateway.take().ok_or_else(full)? })
}
