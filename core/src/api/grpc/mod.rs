//! gRPC over one HTTP/2 stream: headers in, messages in, messages out, trailers out.
//!
//! ```text
//! head::check -> Method::find -> Inbound -> service (decode, handle, encode) -> Outbound -> trailers
//! ```
//!
//! Clients of etcd were written against grpc-go, so where a call is refused before any handler sees it,
//! the code and the text are grpc-go's.

mod call;
mod gzip;
mod head;
mod message;
mod outbound;
mod status;

pub(crate) use self::call::{Begun, Call, End, Engine, answer};
pub(crate) use self::head::{Refusal, is_grpc};
pub(crate) use self::message::{Framed, Inbound, Parts, ReadError, cut, decode, encode, split_message, too_long};
pub(crate) use self::outbound::{Gone, Outbound, PATIENCE, send};
pub use self::status::Status;

/// Quotes bytes as Go's `%q` does.
pub(crate) fn quote(bytes: &[u8]) -> String {
    let mut quoted = String::with_capacity(bytes.len() + 2);
    quoted.push('"');
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => quoted.push_str("\\\""),
                '\\' => quoted.push_str("\\\\"),
                '\u{7}' => quoted.push_str("\\a"),
                '\u{8}' => quoted.push_str("\\b"),
                '\u{c}' => quoted.push_str("\\f"),
                '\n' => quoted.push_str("\\n"),
                '\r' => quoted.push_str("\\r"),
                '\t' => quoted.push_str("\\t"),
                '\u{b}' => quoted.push_str("\\v"),
                control if control.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(control))),
                printable => quoted.push(printable),
            }
        }
        for byte in chunk.invalid() {
            quoted.push_str(&format!("\\x{byte:02x}"));
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    #[test]
    fn quotes_like_go() {
        assert_eq!(super::quote(b"a\"b\\\n\x01\xff"), r#""a\"b\\\n\x01\xff""#);
    }
}
