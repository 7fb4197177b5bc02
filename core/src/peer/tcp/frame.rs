//! Frames: `u32` length of the payload, `u8` kind, `u64` call, payload. Numbers are big-endian.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes before a payload.
pub(super) const HEADER: usize = 4 + 1 + 8;
/// How much is read at a time, if no larger frame is under way.
const READ: usize = 32 * 1024;

/// Longest line that is taken from another side, bytes.
const LINE: usize = 2048;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Who the sender is; once, first.
    Hello = 1,
    /// Why the sender will have nothing to do with the other side; the last one.
    Refusal = 2,
    /// A call.
    Request = 3,
    /// Its answer.
    Answer = 4,
    /// Why it was not carried out.
    Refused = 5,
    /// The sender is alive.
    Ping = 6,
    /// Why the sender ends the connection; the last one.
    Goodbye = 7,
}

impl Kind {
    const fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Hello,
            2 => Self::Refusal,
            3 => Self::Request,
            4 => Self::Answer,
            5 => Self::Refused,
            6 => Self::Ping,
            7 => Self::Goodbye,
            _ => return None,
        })
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    /// The call that it is about; 0 if about none.
    pub(super) call: u64,
    pub(super) payload: Bytes,
}

impl Frame {
    /// The payload as a line for people.
    pub(super) fn text(&self) -> String {
        let shown = &self.payload[..self.payload.len().min(LINE)];
        String::from_utf8_lossy(shown).chars().filter(|c| !c.is_control()).collect()
    }
}

/// Puts a frame's header.
pub(super) fn put_header(out: &mut BytesMut, kind: Kind, call: u64, length: usize) {
    // Payloads are limited to far less.
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    out.put_u8(kind as u8);
    out.put_u64(call);
}

/// Cuts what arrives into frames, without copying payloads.
#[derive(Debug)]
pub(super) struct Decoder {
    buffer: BytesMut,
    largest: usize,
}

impl Decoder {
    /// Refuses frames with payloads of more than `largest` bytes.
    pub(super) fn new(largest: usize) -> Self {
        Self { buffer: BytesMut::new(), largest }
    }

    /// From now on, another limit.
    pub(super) fn set_largest(&mut self, largest: usize) {
        self.largest = largest;
    }

    /// What arrived and was not cut off yet.
    pub(super) fn held(&self) -> &[u8] {
        &self.buffer
    }

    /// Drops the first bytes of what is held.
    pub(super) fn skip(&mut self, count: usize) {
        self.buffer.advance(count.min(self.buffer.len()));
    }

    /// Reads once. 0 at the end. What was read is not lost when this is dropped early.
    pub(super) async fn fill(&mut self, from: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        let missing = self.length().map_or(0, |length| (HEADER + length).saturating_sub(self.buffer.len()));
        if self.buffer.capacity() - self.buffer.len() < missing.max(READ / 8) {
            self.buffer.reserve(missing.max(READ));
        }
        from.read_buf(&mut self.buffer).await
    }

    /// The next frame, if all of it is there. An error is a line that says what is wrong with it.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, String> {
        if self.buffer.len() < HEADER {
            return Ok(None);
        }
        let Some(kind) = Kind::of(self.buffer[4]) else {
            return Err(format!("a frame of unknown kind {}", self.buffer[4]));
        };
        let mut header = &self.buffer[..HEADER];
        let length = header.get_u32() as usize;
        if length > self.largest {
            return Err(format!("a frame of {length} bytes, where at most {} are allowed", self.largest));
        }
        if self.buffer.len() < HEADER + length {
            return Ok(None);
        }
        header.advance(1);
        let call = header.get_u64();
        let mut whole = self.buffer.split_to(HEADER + length);
        whole.advance(HEADER);
        Ok(Some(Frame { kind, call, payload: whole.freeze() }))
    }

    /// Length of the payload that is arriving, if it is known and allowed.
    fn length(&self) -> Option<usize> {
        let length = u32::from_be_bytes(*self.buffer.first_chunk()?) as usize;
        (length <= self.largest).then_some(length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_announced_length_is_checked_before_anything_is_reserved() {
        let mut decoder = Decoder::new(1000);
        put_header(&mut decoder.buffer, Kind::Request, 1, 1001);
        assert_eq!(decoder.length(), None);
        assert_eq!(decoder.next(), Err("a frame of 1001 bytes, where at most 1000 are allowed".to_owned()));
    }

    proptest! {
        #[test]
        fn frames_survive_any_cuts(
            frames in prop::collection::vec((1u8..=7, any::<u64>(), prop::collection::vec(any::<u8>(), 0..300)), 0..20),
            cut in 1usize..100,
        ) {
            let mut stream = BytesMut::new();
            let frames: Vec<_> = frames
                .into_iter()
                .map(|(kind, call, payload)| Frame { kind: Kind::of(kind).unwrap(), call, payload: payload.into() })
                .collect();
            for frame in &frames {
                put_header(&mut stream, frame.kind, frame.call, frame.payload.len());
                stream.extend_from_slice(&frame.payload);
            }
            let mut decoder = Decoder::new(300);
            let mut found = Vec::new();
            for piece in stream.chunks(cut) {
                decoder.buffer.extend_from_slice(piece);
                while let Some(frame) = decoder.next().unwrap() {
                    found.push(frame);
                }
            }
            prop_assert_eq!(found, frames);
            prop_assert!(decoder.held().is_empty());
        }

        #[test]
        fn garbage_neither_panics_nor_takes_memory(garbage in prop::collection::vec(any::<u8>(), 0..2000)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let mut decoder = Decoder::new(500);
            let mut from = &garbage[..];
            while runtime.block_on(decoder.fill(&mut from)).unwrap() > 0 {
                while let Ok(Some(frame)) = decoder.next() {
                    prop_assert!(frame.payload.len() <= 500);
                }
                prop_assert!(decoder.buffer.capacity() <= 4 * READ);
            }
        }
    }
}
