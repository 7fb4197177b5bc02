//! HTTP/2 frame headers (RFC 9113, section 4.1).

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
pub(crate) const PADDED: u8 = 0x8;
pub(crate) const PRIORITY: u8 = 0x20;

pub(crate) const HEADER_BYTES: usize = 9;
/// The frame size that every peer must accept; also what we announce by saying nothing.
pub(crate) const MAX_PAYLOAD: usize = 16_384;

/// What stands in front of each frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameHeader {
    pub(crate) length: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl FrameHeader {
    /// `None` while fewer than nine bytes are there.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let head: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        Some(Self {
            length: u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize,
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff,
        })
    }

    pub(crate) fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.length as u32).to_be_bytes()[1..]);
        out.extend_from_slice(&[self.kind, self.flags]);
        out.extend_from_slice(&self.stream.to_be_bytes());
    }
}

/// Writes a whole frame.
pub(crate) fn write(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    FrameHeader { length: payload.len(), kind, flags, stream }.write(out);
    out.extend_from_slice(payload);
}

/// The payload without padding and, for HEADERS, without the priority fields.
pub(crate) fn content(header: FrameHeader, payload: &[u8]) -> Option<&[u8]> {
    let mut rest = payload;
    if header.flags & PADDED != 0 {
        let (&padding, after) = rest.split_first()?;
        rest = after.get(..after.len().checked_sub(usize::from(padding))?)?;
    }
    if header.kind == HEADERS && header.flags & PRIORITY != 0 {
        rest = rest.get(5..)?;
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_survives_a_round_trip() {
        let mut bytes = Vec::new();
        write(&mut bytes, DATA, END_STREAM, 7, b"abc");
        let header = FrameHeader::parse(&bytes).unwrap();
        assert_eq!((header.length, header.kind, header.flags, header.stream), (3, DATA, END_STREAM, 7));
        assert_eq!(&bytes[HEADER_BYTES..], b"abc");
        assert!(FrameHeader::parse(&bytes[..8]).is_none());
    }

    #[test]
    fn padding_and_priority_are_stripped() {
        let header = FrameHeader { length: 0, kind: HEADERS, flags: PADDED | PRIORITY, stream: 1 };
        assert_eq!(content(header, &[2, 0, 0, 0, 0, 9, 0x88, 0, 0]), Some(&[0x88_u8][..]));
        assert_eq!(content(header, &[200, 1]), None);
    }
}
