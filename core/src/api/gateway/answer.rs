//! Answers as grpc-gateway writes them.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::{Response, StatusCode};

use super::json::{Text, write_string};
use crate::api::grpc::{End, Status};
use crate::api::net::ResponseBody;
use crate::api::server::Api;
use crate::types::GrpcCode;

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// The metadata that came with the answer of a call: that it was one of gRPC.
pub(super) const METADATA: (HeaderName, HeaderValue) =
    (HeaderName::from_static("grpc-metadata-content-type"), HeaderValue::from_static("application/grpc"));

/// The answer to a call that failed, or never was one.
pub(super) fn refuse(status: &Status) -> Response<ResponseBody> {
    let mut response = Response::new(Bytes::from(write_status(status, Text::Plain)).into());
    *response.status_mut() = http_status(status.code());
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    if status.code() == GrpcCode::Unauthenticated
        && let Ok(message) = HeaderValue::from_str(status.message())
    {
        response.headers_mut().insert(WWW_AUTHENTICATE, message);
    }
    response
}

/// A status as a message in JSON.
pub(super) fn write_status(status: &Status, text: Text) -> Vec<u8> {
    let mut out = format!("{{\"code\":{}", status.code() as i32).into_bytes();
    if !status.message().is_empty() {
        out.extend_from_slice(b",\"message\":");
        write_string(status.message(), text, &mut out);
    }
    out.push(b'}');
    out
}

/// The status of HTTP that goes with a code.
pub(super) fn http_status(code: GrpcCode) -> StatusCode {
    match code {
        GrpcCode::Ok => StatusCode::OK,
        // nginx's word for a client that has gone.
        GrpcCode::Canceled => StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT),
        GrpcCode::InvalidArgument | GrpcCode::FailedPrecondition | GrpcCode::OutOfRange => StatusCode::BAD_REQUEST,
        GrpcCode::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        GrpcCode::NotFound => StatusCode::NOT_FOUND,
        GrpcCode::AlreadyExists | GrpcCode::Aborted => StatusCode::CONFLICT,
        GrpcCode::PermissionDenied => StatusCode::FORBIDDEN,
        GrpcCode::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        GrpcCode::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        GrpcCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        GrpcCode::Unauthenticated => StatusCode::UNAUTHORIZED,
        GrpcCode::Unknown | GrpcCode::Internal | GrpcCode::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Does the work of a call by the time that its client has set, if it has: on the clock of the member's surroundings.
pub(super) async fn in_time<T, E: Into<End>>(
    api: &Api,
    deadline: Option<Duration>,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Status> {
    let done = match deadline {
        None => work.await.map_err(Into::into),
        Some(deadline) => {
            let left = time_left(api, deadline)?;
            match tokio::time::timeout(left, work).await {
                Ok(done) => done.map_err(Into::into),
                Err(_) => Err(End::Late),
            }
        }
    };
    done.map_err(|end| match end {
        End::Status(status) => status,
        End::Gone => Status::new(GrpcCode::Canceled, "context canceled"),
        End::Late => late(),
    })
}

/// How long there is until then; an error if it has passed.
pub(super) fn time_left(api: &Api, deadline: Duration) -> Result<Duration, Status> {
    let left = deadline.saturating_sub(api.node.env().now());
    if left.is_zero() { Err(late()) } else { Ok(left) }
}

fn late() -> Status {
    Status::new(GrpcCode::DeadlineExceeded, "context deadline exceeded")
}

/// The code that a call ends with.
pub(super) fn code<T>(result: &Result<T, Status>) -> GrpcCode {
    result.as_ref().map_or_else(Status::code, |_| GrpcCode::Ok)
}

/// The refusal of what cannot be read.
pub(super) fn unreadable(text: String) -> Status {
    Status::new(GrpcCode::InvalidArgument, text)
}
