//! Writing responses.

use bytes::{BufMut, Bytes, BytesMut};
use keelkv_proto::etcdserverpb::WatchResponse;
use prost::{DecodeError, Message};

use super::Stream;
use crate::env::planted;
use crate::types::Result;

/// gRPC's frame: one byte that says "not compressed" and the length.
const FRAME_HEAD: usize = 5;

/// Buffers are made at least this large, so that small responses share one.
const BUFFER: usize = 16 << 10;

/// An encoded `WatchResponse`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing(Bytes);

impl Outgoing {
    /// The message as protobuf.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// The message decoded, for callers in the same process.
    pub fn decode(self) -> Result<WatchResponse, DecodeError> {
        WatchResponse::decode(self.0)
    }
}

impl Stream {
    /// Encodes the next response; `None` if there is none or it failed.
    pub(super) fn write_one(&mut self) -> Option<Outgoing> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let written = self.write(&mut buffer, 0);
        let message = buffer.split().freeze();
        self.buffer = buffer;
        written.then_some(Outgoing(message))
    }

    /// Appends the next response as a frame; false if there is none or it failed.
    pub(super) fn write_frame(&mut self, out: &mut BytesMut) -> bool {
        let start = out.len();
        if !self.write(out, FRAME_HEAD) {
            return false;
        }
        let length = (out.len() - start - FRAME_HEAD) as u32;
        out[start + 1..start + FRAME_HEAD].copy_from_slice(&length.to_be_bytes());
        true
    }

    /// Appends the next response behind `room` zero bytes; false if there is none or it failed.
    fn write(&mut self, out: &mut BytesMut, room: usize) -> bool {
        if let Some(answer) = self.answers.pop_front() {
            reserve(out, room + answer.encoded_len());
            out.put_bytes(0, room);
            answer.encode_raw(out);
            return true;
        }
        match self.write_events(out, room) {
            Ok(written) => written,
            Err(error) => {
                self.failure = Some(error);
                false
            }
        }
    }

    /// Appends the next response of the first watcher that has events.
    fn write_events(&mut self, out: &mut BytesMut, room: usize) -> Result<bool> {
        let Some(slot) = self.ready.front() else { return Ok(false) };
        let Some(watcher) = self.watchers.get_mut(*slot) else { return Ok(false) };
        let hub = &self.hub;
        let selection = watcher.select(&hub.options, &hub.origin, hub.history()?)?;
        let shell = watcher.shell(&hub.origin, selection.revision, selection.fragment);
        reserve(out, room + shell.encoded_len() + selection.bytes);
        out.put_bytes(0, room);
        shell.encode_raw(out);
        for event in watcher.encoded(selection.events) {
            out.put_slice(event);
        }
        let lost = usize::from(selection.fragment && planted::is("fragment-lost"));
        let done = watcher.sent(selection.events + lost);
        if watcher.is_empty() {
            self.ready.pop_front();
        }
        self.mailbox.add_done(done);
        hub.counters.sent(selection.events);
        Ok(true)
    }
}

fn reserve(out: &mut BytesMut, length: usize) {
    if out.capacity() - out.len() < length {
        out.reserve(length.max(BUFFER));
    }
}
