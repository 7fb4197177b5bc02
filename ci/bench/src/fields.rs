//! Reads the few fields of a reply that matter, without building the message.

/// The fields of a protobuf message, one after the other. Ends early on malformed bytes.
pub struct Fields<'a> {
    rest: &'a [u8],
}

/// A field's number and content.
#[derive(Debug, PartialEq, Eq)]
pub enum Field<'a> {
    /// Wire type 0.
    Number(u32, u64),
    /// Wire type 2.
    Bytes(u32, &'a [u8]),
    /// A fixed-width field; nothing here reads those.
    Other,
}

impl<'a> Fields<'a> {
    /// The fields of `message`.
    pub fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn skip(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(bytes)?;
        self.rest = rest;
        Some(head)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let key = self.varint()?;
        let number = (key >> 3) as u32;
        match key & 7 {
            0 => Some(Field::Number(number, self.varint()?)),
            1 => self.skip(8).map(|_| Field::Other),
            2 => {
                let length = self.varint()? as usize;
                self.skip(length).map(|bytes| Field::Bytes(number, bytes))
            }
            5 => self.skip(4).map(|_| Field::Other),
            _ => None,
        }
    }
}

/// The varint field `wanted`, 0 when absent.
pub fn number(message: &[u8], wanted: u32) -> u64 {
    Fields::of(message)
        .find_map(|field| match field {
            Field::Number(number, value) if number == wanted => Some(value),
            _ => None,
        })
        .unwrap_or(0)
}

/// The first length-delimited field `wanted`.
pub fn bytes(message: &[u8], wanted: u32) -> Option<&[u8]> {
    Fields::of(message).find_map(|field| match field {
        Field::Bytes(number, value) if number == wanted => Some(value),
        _ => None,
    })
}

/// How often the length-delimited field `wanted` occurs.
pub fn count(message: &[u8], wanted: u32) -> usize {
    Fields::of(message).filter(|field| matches!(field, Field::Bytes(number, _) if *number == wanted)).count()
}

/// `header.revision` of any reply.
pub fn revision(reply: &[u8]) -> i64 {
    bytes(reply, 1).map_or(0, |header| number(header, 3) as i64)
}

#[cfg(test)]
mod tests {
    use keelkv_proto::etcdserverpb::{RangeResponse, ResponseHeader};
    use keelkv_proto::mvccpb::KeyValue;
    use prost::Message;

    use super::*;

    #[test]
    fn agrees_with_the_generated_messages() {
        let pair = KeyValue { key: "a".into(), value: "b".into(), ..Default::default() };
        let header = Some(ResponseHeader { revision: 300, ..Default::default() });
        let reply = RangeResponse { header, kvs: vec![pair.clone(), pair], count: 7, more: true };
        let encoded = reply.encode_to_vec();
        assert_eq!(revision(&encoded), 300);
        assert_eq!(count(&encoded, 2), 2);
        assert_eq!(number(&encoded, 4), 7);
        assert_eq!(bytes(bytes(&encoded, 2).unwrap(), 5), Some(&b"b"[..]));
    }

    #[test]
    fn truncated_bytes_end_the_walk() {
        assert_eq!(Fields::of(&[0x0a, 5, 1]).next(), None);
        assert_eq!(Fields::of(&[0xff; 11]).next(), None);
    }
}
