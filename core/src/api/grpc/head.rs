//! What the headers of a request say, and the refusals that need nothing but the headers.

use std::time::Duration;

use http::header::{CONNECTION, CONTENT_TYPE, HOST};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method as HttpMethod, StatusCode};

use super::{Status, quote};
use crate::types::GrpcCode;

/// A refusal before any method is looked up: with an HTTP status besides gRPC's own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Answer with this.
    Answer(StatusCode, Status),
    /// The request is malformed HTTP/2: reset the stream.
    Reset,
}

/// The deadline and encoding of a request that is proper gRPC.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// How long the client waits.
    pub(crate) timeout: Option<Duration>,
    /// How messages are compressed, if they are.
    pub(crate) encoding: Option<String>,
}

/// Checks the headers in the order in which grpc-go does, so that the same one of two faults is named.
pub(crate) fn check(parts: &Parts) -> Result<Head, Refusal> {
    let headers = &parts.headers;
    if headers.get_all(HOST).iter().nth(1).is_some() {
        let authorities = usize::from(parts.uri.authority().is_some());
        let hosts = headers.get_all(HOST).iter().count();
        let text = format!(
            "num values of :authority: {authorities}, num values of host: {hosts}, \
             both must only have 1 value as per HTTP/2 spec"
        );
        return Err(internal(StatusCode::BAD_REQUEST, text));
    }
    if headers.contains_key(CONNECTION) {
        return Err(Refusal::Reset);
    }
    let content_type = headers.get(CONTENT_TYPE);
    if !content_type.is_some_and(is_grpc) {
        let given = quote(content_type.map_or(&[][..], HeaderValue::as_bytes));
        let status = Status::new(GrpcCode::InvalidArgument, format!("invalid gRPC request content-type {given}"));
        return Err(Refusal::Answer(StatusCode::UNSUPPORTED_MEDIA_TYPE, status));
    }
    let timeout = match headers.get("grpc-timeout") {
        None => None,
        Some(value) => Some(
            parse_timeout(value.as_bytes())
                .map_err(|reason| internal(StatusCode::BAD_REQUEST, format!("malformed grpc-timeout: {reason}")))?,
        ),
    };
    if parts.uri.authority().is_none() && !headers.contains_key(HOST) {
        return Err(internal(StatusCode::BAD_REQUEST, "no host or :authority header present".to_owned()));
    }
    if parts.method != HttpMethod::POST {
        let text = format!(
            "Received a HEADERS frame with :method {} which should be POST",
            quote(parts.method.as_str().as_bytes())
        );
        return Err(internal(StatusCode::METHOD_NOT_ALLOWED, text));
    }
    if timeout == Some(Duration::ZERO) {
        let status = Status::new(GrpcCode::DeadlineExceeded, "context deadline exceeded");
        return Err(Refusal::Answer(StatusCode::OK, status));
    }
    Ok(Head { timeout, encoding: encoding(headers) })
}

/// Whether a content type is gRPC's: `application/grpc`, also with a suffix.
pub(crate) fn is_grpc(value: &HeaderValue) -> bool {
    match value.as_bytes().strip_prefix(b"application/grpc") {
        Some(rest) => matches!(rest.first(), None | Some(b'+' | b';')),
        None => false,
    }
}

fn encoding(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("grpc-encoding")?.as_bytes();
    let named = !value.is_empty() && value != b"identity";
    named.then(|| String::from_utf8_lossy(value).into_owned())
}

fn internal(http: StatusCode, text: String) -> Refusal {
    Refusal::Answer(http, Status::new(GrpcCode::Internal, text))
}

/// Reads gRPC's timeout: up to eight digits and a unit.
fn parse_timeout(value: &[u8]) -> Result<Duration, String> {
    let quoted = || quote(value);
    if value.len() < 2 {
        return Err(format!("transport: timeout string is too short: {}", quoted()));
    }
    if value.len() > 9 {
        return Err(format!("transport: timeout string is too long: {}", quoted()));
    }
    let (digits, unit) = value.split_at(value.len() - 1);
    let unit = match unit {
        b"H" => Duration::from_secs(3600),
        b"M" => Duration::from_secs(60),
        b"S" => Duration::from_secs(1),
        b"m" => Duration::from_millis(1),
        b"u" => Duration::from_micros(1),
        b"n" => Duration::from_nanos(1),
        _ => return Err(format!("transport: timeout unit is not recognized: {}", quoted())),
    };
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(format!("strconv.ParseUint: parsing {}: invalid syntax", quote(digits)));
    }
    // Eight digits at most: this cannot overflow.
    let amount = digits.iter().fold(0_u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    Ok(unit * amount)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_or_refused_with_the_reason() {
        assert_eq!(parse_timeout(b"5S"), Ok(Duration::from_secs(5)));
        assert_eq!(parse_timeout(b"99999999H"), Ok(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(parse_timeout(b"0n"), Ok(Duration::ZERO));
        assert_eq!(parse_timeout(b"5"), Err("transport: timeout string is too short: \"5\"".to_owned()));
        assert_eq!(
            parse_timeout(b"123456789S"),
            Err("transport: timeout string is too long: \"123456789S\"".to_owned())
        );
        assert_eq!(parse_timeout(b"5x"), Err("transport: timeout unit is not recognized: \"5x\"".to_owned()));
        assert_eq!(parse_timeout(b"-1S"), Err("strconv.ParseUint: parsing \"-1\": invalid syntax".to_owned()));
    }

    #[test]
    fn only_grpc_content_types_are_grpc() {
        for (value, grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=utf-8", true),
            ("application/grpcx", false),
            ("application/json", false),
        ] {
            assert_eq!(is_grpc(&HeaderValue::from_static(value)), grpc, "{value}");
        }
    }
}
