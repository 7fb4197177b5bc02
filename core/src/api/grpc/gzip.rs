//! The one compression that etcd's server knows. A client that uses it gets its answers compressed too.

use std::io::{Read as _, Write as _};

use bytes::{BufMut, Bytes, BytesMut};
use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;

use super::message::{PREFIX, prefix};
use super::{Framed, Status};
use crate::node::ReadMemory;
use crate::types::GrpcCode;

/// The name on the wire.
pub(crate) const NAME: &str = "gzip";
/// What a gzip stream begins with.
const MAGIC: &[u8] = &[0x1f, 0x8b];
/// The shortest header of one.
const HEADER: usize = 10;
const COMPRESSED: u8 = 1;

/// Unpacks a message, which may have at most `max` bytes.
pub(super) fn unpack(packed: &[u8], max: usize) -> Result<Bytes, Status> {
    let wrong = match packed.len() {
        0 => Some("EOF"),
        1..HEADER => Some("unexpected EOF"),
        _ if !packed.starts_with(MAGIC) => Some("gzip: invalid header"),
        _ => None,
    };
    if let Some(wrong) = wrong {
        let text = format!("grpc: failed to decompress the message: {wrong}");
        return Err(Status::new(GrpcCode::Internal, text));
    }
    let mut message = Vec::new();
    let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    if let Err(error) = GzDecoder::new(packed).take(limit).read_to_end(&mut message) {
        return Err(Status::new(GrpcCode::Internal, format!("grpc: failed to read decompressed data: {error}")));
    }
    if message.len() > max {
        let text = format!("grpc: received message after decompression larger than max {max}");
        return Err(Status::new(GrpcCode::ResourceExhausted, text));
    }
    Ok(message.into())
}

/// Packs each message of a run of messages with their prefixes.
pub(super) fn pack(mut framed: Bytes) -> Result<Bytes, Status> {
    let mut packed = BytesMut::new();
    while framed.len() >= PREFIX {
        let length = framed[1..PREFIX].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        let mut message = framed.split_to((PREFIX + length).min(framed.len()));
        if length == 0 {
            packed.extend_from_slice(&message);
            continue;
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        let small = encoder.write_all(&message.split_off(PREFIX)).and_then(|()| encoder.finish());
        let small = small
            .map_err(|error| Status::new(GrpcCode::Internal, format!("grpc: error while compressing: {error}")))?;
        let [_, length @ ..] = prefix(small.len())?;
        packed.put_u8(COMPRESSED);
        packed.put_slice(&length);
        packed.put_slice(&small);
    }
    Ok(packed.freeze())
}

/// Packs one message that comes in pieces, and gives way in between.
pub(super) async fn pack_pieces(framed: Framed, memory: &ReadMemory) -> Result<Framed, Status> {
    /// What takes a millisecond or two.
    const SLICE: usize = 64 << 10;
    let failed = |error| Status::new(GrpcCode::Internal, format!("grpc: error while compressing: {error}"));
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let mut packed = Vec::new();
    let mut length = 0;
    let head = framed.first.slice(PREFIX..);
    for piece in std::iter::once(head).chain(framed.rest) {
        for slice in piece.chunks(SLICE) {
            encoder.write_all(slice).map_err(failed)?;
            let part = std::mem::take(encoder.get_mut());
            length += part.len();
            if !part.is_empty() {
                packed.push(memory.hold_anyway(part.len()).over(part));
            }
            tokio::task::yield_now().await;
        }
    }
    let part = encoder.finish().map_err(failed)?;
    length += part.len();
    packed.push(memory.hold_anyway(part.len()).over(part));
    let [_, length @ ..] = prefix(length)?;
    let first = [&[COMPRESSED], &length[..]].concat();
    Ok(Framed { first: first.into(), rest: packed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_can_be_unpacked_within_the_limit() {
        let framed = [&[0, 0, 0, 0, 3][..], b"abc", &[0, 0, 0, 0, 0], &[0, 0, 0, 0, 4], &[7; 4]].concat();
        let packed = pack(framed.into()).expect("short messages");
        assert_eq!(packed[0], COMPRESSED);
        let length = usize::from(packed[4]);
        assert_eq!(unpack(&packed[PREFIX..PREFIX + length], 3).expect("within the limit"), &b"abc"[..]);
        assert_eq!(packed[PREFIX + length..][..PREFIX], [0; PREFIX], "an empty message stays as it is");
        let status = unpack(&packed[PREFIX..PREFIX + length], 2).expect_err("over the limit");
        assert_eq!(status.message(), "grpc: received message after decompression larger than max 2");
    }

    #[tokio::test]
    async fn pieces_are_packed_as_one_message() {
        let pieces: Vec<Bytes> = vec![vec![1; 100_000].into(), Bytes::new(), vec![2; 10].into()];
        // The first piece comes with the prefix.
        let whole = [&[1; 7][..], &pieces.concat()].concat();
        let first = prefix(whole.len()).expect("a short message");
        let framed = Framed { first: [&first[..], &whole[..7]].concat().into(), rest: pieces };
        let packed = pack_pieces(framed, &ReadMemory::new(1 << 20)).await.expect("a short message");
        let body = packed.rest.concat();
        let length = u32::try_from(body.len()).expect("a short message").to_be_bytes();
        assert_eq!(packed.first, [&[COMPRESSED], &length[..]].concat());
        assert_eq!(unpack(&body, whole.len()).expect("good gzip"), whole);
    }

    #[test]
    fn what_is_not_gzip_is_refused() {
        for (packed, text) in [
            (&b""[..], "grpc: failed to decompress the message: EOF"),
            (b"short", "grpc: failed to decompress the message: unexpected EOF"),
            (b"long nonsense", "grpc: failed to decompress the message: gzip: invalid header"),
        ] {
            assert_eq!(unpack(packed, 100).expect_err("nonsense").message(), text);
        }
        assert!(unpack(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0, 0], 100).is_err());
    }
}
