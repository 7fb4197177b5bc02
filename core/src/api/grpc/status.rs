//! How a call ended, as gRPC's trailers say it.

use std::borrow::Cow;
use std::fmt::Write as _;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use crate::types::{Error, GrpcCode};

/// The trailer that carries the code.
pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// The trailer that carries the text.
pub(crate) const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// The content type of every gRPC answer.
pub(crate) const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// A failed call: code and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    code: GrpcCode,
    message: Cow<'static, str>,
}

impl Status {
    /// A status with this code and text.
    pub fn new(code: GrpcCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }

    /// The code.
    pub const fn code(&self) -> GrpcCode {
        self.code
    }

    /// The text.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The trailers that end a stream with this status.
    pub(crate) fn trailers(&self) -> HeaderMap {
        let mut trailers = HeaderMap::with_capacity(4);
        self.write(&mut trailers);
        trailers
    }

    /// The only headers of an answer that has no message.
    pub(crate) fn headers_only(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(CONTENT_TYPE, GRPC);
        self.write(&mut headers);
        headers
    }

    fn write(&self, headers: &mut HeaderMap) {
        headers.insert(GRPC_STATUS, code_value(self.code));
        let text = HeaderValue::from_str(&escape(&self.message));
        headers.insert(GRPC_MESSAGE, text.unwrap_or(HeaderValue::from_static("")));
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        Self { code: error.code().grpc(), message: Cow::Owned(error.message().to_owned()) }
    }
}

/// The trailers of a call that went well.
pub(crate) fn ok_trailers() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert(GRPC_STATUS, code_value(GrpcCode::Ok));
    trailers.insert(GRPC_MESSAGE, HeaderValue::from_static(""));
    trailers
}

fn code_value(code: GrpcCode) -> HeaderValue {
    const TEXTS: [&str; 17] =
        ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"];
    HeaderValue::from_static(TEXTS[code as usize])
}

/// Percent-encodes what may not stand in a header, as every gRPC library expects it.
fn escape(text: &str) -> Cow<'_, str> {
    let plain = |byte: u8| (0x20..=0x7e).contains(&byte) && byte != b'%';
    if text.bytes().all(plain) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if plain(byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_headers_cannot_carry_is_percent_encoded() {
        assert_eq!(escape("etcdserver: no leader"), "etcdserver: no leader");
        assert_eq!(escape("50% of\n\u{e9}"), "50%25 of%0A%C3%A9");
    }

    #[test]
    fn every_code_has_its_number() {
        for (code, text) in [(GrpcCode::Ok, "0"), (GrpcCode::Unknown, "2"), (GrpcCode::Unauthenticated, "16")] {
            assert_eq!(code_value(code), text);
        }
    }
}
