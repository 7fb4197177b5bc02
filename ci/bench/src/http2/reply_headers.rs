//! Header blocks of replies: decoded when new, recognised when repeated.

use std::io;

/// What a gRPC client wants to know from a header block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReplyStatus {
    /// `grpc-status`; headers before the first message have none.
    pub(crate) code: Option<u32>,
    /// `grpc-message`, as sent.
    pub(crate) message: String,
}

/// Decoder of one connection's reply headers.
pub(crate) struct ReplyHeaders {
    decoder: fluke_hpack::Decoder<'static>,
    /// Blocks that only refer to the tables. They mean the same until the dynamic table changes.
    known: Vec<(Vec<u8>, ReplyStatus)>,
}

const KNOWN_MAX: usize = 8;

impl ReplyHeaders {
    pub(crate) fn new() -> Self {
        Self { decoder: fluke_hpack::Decoder::new(), known: Vec::new() }
    }

    pub(crate) fn status(&mut self, block: &[u8]) -> io::Result<ReplyStatus> {
        if let Some((_, status)) = self.known.iter().find(|(bytes, _)| bytes == block) {
            return Ok(status.clone());
        }
        let mut status = ReplyStatus::default();
        let mut ok = true;
        self.decoder
            .decode_with_cb(block, |name, value| {
                if &*name == b"grpc-status" {
                    status.code = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok());
                    ok &= status.code.is_some();
                } else if &*name == b"grpc-message" {
                    status.message = String::from_utf8_lossy(&value).into_owned();
                } else if &*name == b":status" {
                    ok &= &*value == b"200";
                }
            })
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("reply headers: {error:?}")))?;
        if !ok {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the reply is not gRPC"));
        }
        let only_indices = block.iter().all(|byte| (0x80..0xff).contains(byte));
        if !only_indices {
            self.known.clear();
        } else if self.known.len() < KNOWN_MAX {
            self.known.push((block.to_vec(), status.clone()));
        }
        Ok(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `grpc-status` as a literal that enters the dynamic table.
    fn new_status(value: &[u8]) -> Vec<u8> {
        [&[0x40, 11][..], b"grpc-status", &[value.len() as u8], value].concat()
    }

    const NEWEST: &[u8] = &[0xbe];

    #[test]
    fn a_repeated_block_means_what_the_table_says() {
        let mut headers = ReplyHeaders::new();
        let mut code = |block: &[u8]| headers.status(block).unwrap().code;
        assert_eq!(code(&new_status(b"0")), Some(0));
        assert_eq!(code(NEWEST), Some(0));
        assert_eq!(code(NEWEST), Some(0));
        assert_eq!(code(&new_status(b"5")), Some(5));
        assert_eq!(code(NEWEST), Some(5));
        assert_eq!(code(&[0xbf]), Some(0));
        assert_eq!(code(NEWEST), Some(5));
    }

    #[test]
    fn a_page_instead_of_grpc_is_refused() {
        let mut encoder = fluke_hpack::Encoder::new();
        let page: [(&[u8], &[u8]); 1] = [(b":status", b"404")];
        assert!(ReplyHeaders::new().status(&encoder.encode(page)).is_err());
    }
}
