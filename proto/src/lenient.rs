//! Messages as Go's protobuf library reads them, for what prost refuses: a known field that comes with
//! another wire type than the schema's is a field that is not known, and is left out.
//!
//! ```text
//! decode: prost -> done
//!               -> refused: without_misfits -> prost again, whose word is final
//! ```

use bytes::{Buf, BufMut};
use prost::encoding::{WireType, decode_varint, encode_varint};
use prost::{DecodeError, Message, Name};

use crate::schema::{self, Field, Kind};

/// Messages within messages at most, as prost has it.
const DEPTH_MAX: u32 = 100;

/// Reads a message. Fields of a wire type that is not theirs are ignored.
///
/// # Errors
/// Those of prost, for what is malformed apart from that.
pub fn decode<M: Message + Name + Default>(encoded: &[u8]) -> Result<M, DecodeError> {
    M::decode(encoded).or_else(|error| retry(encoded, error))
}

#[cold]
fn retry<M: Message + Name + Default>(encoded: &[u8], error: DecodeError) -> Result<M, DecodeError> {
    let Some(message) = schema::Message::find(&M::full_name()) else { return Err(error) };
    let fitting = without_misfits(message, encoded, DEPTH_MAX);
    if fitting.len() == encoded.len() { Err(error) } else { M::decode(&fitting[..]) }
}

/// The message without the fields whose wire type is not the schema's. From the first malformed byte on
/// it is copied as it is, for the decoder to find the same fault.
fn without_misfits(message: &schema::Message, encoded: &[u8], depth: u32) -> Vec<u8> {
    let mut fitting = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    loop {
        let before = rest;
        let Some((number, wire, field)) = next_field(&mut rest, depth) else { break };
        if wire == WireType::EndGroup as u8 {
            // Of no group.
            rest = before;
            break;
        }
        match message.field(number) {
            Some(known) if known.wire() != wire && !(known.packable() && wire == WireType::LengthDelimited as u8) => {}
            Some(Field { kind: Kind::Message(inner), .. }) if depth > 0 => {
                let mut content = field;
                // Both were read before.
                let (Ok(key), Ok(_length)) = (decode_varint(&mut content), decode_varint(&mut content)) else { break };
                let content = without_misfits(inner, content, depth - 1);
                encode_varint(key, &mut fitting);
                encode_varint(content.len() as u64, &mut fitting);
                fitting.put_slice(&content);
            }
            _ => fitting.put_slice(field),
        }
    }
    fitting.put_slice(rest);
    fitting
}

/// Takes a field off the front: its number, its wire type and all its bytes. `None` at the end, and
/// before what is malformed.
fn next_field<'a>(rest: &mut &'a [u8], depth: u32) -> Option<(u32, u8, &'a [u8])> {
    let start = *rest;
    let mut after = start;
    let key = u32::try_from(decode_varint(&mut after).ok()?).ok()?;
    let (number, wire) = (key >> 3, (key & 7) as u8);
    let length = match WireType::try_from(u64::from(wire)).ok()? {
        WireType::Varint => {
            decode_varint(&mut after).ok()?;
            0
        }
        WireType::SixtyFourBit => 8,
        WireType::ThirtyTwoBit => 4,
        WireType::LengthDelimited => usize::try_from(decode_varint(&mut after).ok()?).ok()?,
        WireType::StartGroup => {
            let depth = depth.checked_sub(1)?;
            loop {
                let (inner, wire, _) = next_field(&mut after, depth)?;
                if wire == WireType::EndGroup as u8 {
                    if inner != number {
                        return None;
                    }
                    break 0;
                }
            }
        }
        WireType::EndGroup => 0,
    };
    if number == 0 || after.len() < length {
        return None;
    }
    after.advance(length);
    *rest = after;
    Some((number, wire, &start[..start.len() - after.len()]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcdserverpb::{
        CompactionRequest, HashKvRequest, RangeRequest, RequestOp, TxnRequest, WatchCreateRequest,
    };

    #[test]
    fn a_field_of_another_wire_type_is_ignored() {
        let read: HashKvRequest = decode(b"\x0a\x01k").unwrap();
        assert_eq!(read, HashKvRequest::default());
        let read: RangeRequest = decode(b"\x0d\x01\x02\x03\x04\x12\x01z").unwrap();
        assert_eq!(read, RangeRequest { range_end: "z".into(), ..RangeRequest::default() });
        let read: CompactionRequest = decode(b"\x08\x07\x11\0\0\0\0\0\0\0\0").unwrap();
        assert_eq!(read, CompactionRequest { revision: 7, physical: false });
        // A group in the place of a key.
        let read: RangeRequest = decode(b"\x0b\x10\x01\x0c\x12\x01z").unwrap();
        assert_eq!(read, RangeRequest { range_end: "z".into(), ..RangeRequest::default() });
    }

    #[test]
    fn messages_within_messages_are_read_alike() {
        // A put as the second operation of a transaction, with a number for its key.
        let op: RequestOp = decode(b"\x12\x05\x08\x01\x12\x01v").unwrap();
        let encoded = [&b"\x12\x07"[..], b"\x12\x05\x08\x01\x12\x01v"].concat();
        let read: TxnRequest = decode(&encoded).unwrap();
        assert_eq!(read, TxnRequest { success: vec![op.clone()], ..TxnRequest::default() });
        let Some(crate::etcdserverpb::request_op::Request::RequestPut(put)) = op.request else { panic!("{op:?}") };
        assert_eq!((&put.key[..], &put.value[..]), (&b""[..], &b"v"[..]));
    }

    #[test]
    fn packed_and_single_values_are_both_good() {
        for encoded in [&b"\x2a\x02\0\x01\x0d\0\0\0\0"[..], b"\x28\0\x28\x01\x0d\0\0\0\0"] {
            let read: WatchCreateRequest = decode(encoded).unwrap();
            assert_eq!(read.filters, [0, 1], "{encoded:?}");
        }
    }

    #[test]
    fn what_is_malformed_stays_so() {
        for encoded in [
            &b"\x0a\x05k"[..],
            // Behind a field that is ignored.
            b"\x08\x01\x0a\x05k",
            b"\x08\x01\x0f",
            b"\x08\x01\x02\x01k",
            b"\x08\x01\x0c",
            b"\x0b\x10\x01\x14",
            b"\x0b\x10\x01",
            b"\x0d\x01\x02",
            b"\xff",
        ] {
            assert!(decode::<RangeRequest>(encoded).is_err(), "{encoded:?}");
        }
        let deep = [b"\x0b".repeat(200), b"\x0c".repeat(200)].concat();
        assert!(decode::<RangeRequest>(&deep).is_err());
    }
}
