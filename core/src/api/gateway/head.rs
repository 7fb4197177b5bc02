//! What the fields of a request mean to its call.

use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::api::grpc::Status;
use crate::types::GrpcCode;

/// Fields that begin so are metadata, by the rest of their name.
const METADATA: &str = "grpc-metadata-";
/// What may stand in front of a token.
const BEARER: &[u8] = b"Bearer ";

/// The metadata of a call: the token, and what is meant to be metadata.
pub(super) fn metadata(headers: &HeaderMap) -> HeaderMap {
    let mut metadata = HeaderMap::new();
    for (name, value) in headers {
        if name == AUTHORIZATION {
            let token = value.as_bytes().strip_prefix(BEARER).unwrap_or(value.as_bytes());
            // A part of a good value is one.
            if let Ok(token) = HeaderValue::from_bytes(token) {
                metadata.append(AUTHORIZATION, token);
            }
        } else if let Some(rest) = name.as_str().strip_prefix(METADATA)
            && value.as_bytes().iter().all(|byte| (0x20..=0x7e).contains(byte))
            && let Ok(name) = HeaderName::try_from(rest)
        {
            metadata.append(name, value.clone());
        }
    }
    metadata
}

/// How long the client waits; nothing if it does not say, or says zero.
pub(super) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let given = headers.get("grpc-timeout").map_or(&b""[..], HeaderValue::as_bytes);
    let text = String::from_utf8_lossy(given);
    let Some((unit, amount)) = text.chars().next_back().map(|unit| (unit, &text[..text.len() - unit.len_utf8()]))
    else {
        return Ok(None);
    };
    let invalid = || Status::new(GrpcCode::InvalidArgument, format!("invalid grpc-timeout: {text}"));
    let unit = match unit {
        'H' => Duration::from_secs(3600),
        'M' => Duration::from_secs(60),
        'S' => Duration::from_secs(1),
        'm' => Duration::from_millis(1),
        'u' => Duration::from_micros(1),
        'n' => Duration::from_nanos(1),
        _ => return Err(invalid()),
    };
    let amount: i64 = amount.parse().map_err(|_| invalid())?;
    if amount == 0 {
        return Ok(None);
    }
    // What is below zero has passed already. Nobody waits for more than a century.
    const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
    let amount = u32::try_from(amount.max(0)).unwrap_or(u32::MAX);
    Ok(Some(unit.saturating_mul(amount).min(LONGEST)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn tokens_and_metadata_are_passed_on() {
        let passed = metadata(&headers(&[
            ("authorization", "Bearer token"),
            ("grpc-metadata-hasleader", "true"),
            ("user-agent", "curl"),
            ("hasleader", "true"),
        ]));
        assert_eq!(passed, headers(&[("authorization", "token"), ("hasleader", "true")]));
        let raw = metadata(&headers(&[("authorization", "token")]));
        assert_eq!(raw, headers(&[("authorization", "token")]));
    }

    #[test]
    fn timeouts_are_read() {
        let read = |value| timeout(&headers(&[("grpc-timeout", value)])).map_err(|status| status.message().to_owned());
        assert_eq!(timeout(&HeaderMap::new()), Ok(None));
        assert_eq!(read("5S"), Ok(Some(Duration::from_secs(5))));
        assert_eq!(read("1n"), Ok(Some(Duration::from_nanos(1))));
        // Without a limit, and one that has passed.
        assert_eq!(read("0S"), Ok(None));
        assert_eq!(read("-5S"), Ok(Some(Duration::ZERO)));
        for bad in ["5", "S", "5x", "a5S"] {
            assert_eq!(read(bad), Err(format!("invalid grpc-timeout: {bad}")));
        }
    }
}
