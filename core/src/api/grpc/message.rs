//! One gRPC message on the wire: a flag byte, the length in four bytes, the protobuf.
//!
//! Requests are decoded from the receive buffer into fields of their own, so that a key that is kept
//! does not keep the buffer. Answers are encoded once into a buffer of the exact size.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::RecvStream;
use keelkv_proto::lenient;
use prost::{Message, Name};
use tokio::sync::mpsc;

use super::{Status, gzip};
use crate::node::ReadMemory;
use crate::types::{Error, GrpcCode};

/// Flag byte and length.
pub(super) const PREFIX: usize = 5;

/// Why no message came out of a request stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReadError {
    /// The client ended the stream where a message, or its prefix, could have begun.
    End,
    /// The client ended the stream in the middle of a message.
    Truncated,
    /// The client, or the connection, gave the stream up.
    Gone,
    /// The message breaks a rule.
    Status(Status),
}

/// Takes the messages out of a request stream, one after the other.
pub(crate) struct Inbound {
    source: Source,
    buffered: BytesMut,
    /// The whole of a message that came in one piece, as it mostly does.
    piece: Bytes,
    max_message: usize,
    /// Whether the client said that its messages may be compressed.
    gzip: bool,
}

enum Source {
    Stream(RecvStream),
    /// Whole messages, without their prefixes.
    Messages(mpsc::Receiver<Result<Bytes, ReadError>>),
}

impl Inbound {
    /// Messages that somebody else has read; the stream ends with the channel.
    pub(crate) fn from_messages(messages: mpsc::Receiver<Result<Bytes, ReadError>>) -> Self {
        let (buffered, piece) = (BytesMut::new(), Bytes::new());
        Self { source: Source::Messages(messages), buffered, piece, max_message: 0, gzip: false }
    }

    /// Reads from `stream`; a message longer than `max_message` is refused before it is received.
    pub(crate) fn new(stream: RecvStream, max_message: usize, gzip: bool) -> Self {
        Self { source: Source::Stream(stream), buffered: BytesMut::new(), piece: Bytes::new(), max_message, gzip }
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Result<Bytes, ReadError> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The one message of a method whose answers are a stream.
    pub(crate) async fn only(&mut self) -> Result<Bytes, ReadError> {
        let violation = |text| ReadError::Status(Status::new(GrpcCode::Internal, text));
        let message = match self.next().await {
            Err(ReadError::End) => {
                let text = "cardinality violation: received no request message from non-client-streaming RPC";
                return Err(violation(text));
            }
            other => other?,
        };
        match self.next().await {
            Err(ReadError::End) => Ok(message),
            Err(error) => Err(error),
            Ok(_) => {
                let text = "cardinality violation: received multiple request messages for non-client-streaming RPC";
                Err(violation(text))
            }
        }
    }

    /// The next message.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, ReadError>> {
        loop {
            if let Some(message) = self.take().map_err(ReadError::Status)? {
                return Poll::Ready(Ok(message));
            }
            let stream = match &mut self.source {
                Source::Stream(stream) => stream,
                Source::Messages(messages) => {
                    return messages.poll_recv(cx).map(|message| message.unwrap_or(Err(ReadError::End)));
                }
            };
            match ready!(stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    if stream.flow_control().release_capacity(data.len()).is_err() {
                        return Poll::Ready(Err(ReadError::Gone));
                    }
                    self.put(data);
                }
                Some(Err(_)) => return Poll::Ready(Err(ReadError::Gone)),
                None if self.piece.len().max(self.buffered.len()) < PREFIX => return Poll::Ready(Err(ReadError::End)),
                None => return Poll::Ready(Err(ReadError::Truncated)),
            }
        }
    }

    fn put(&mut self, data: Bytes) {
        if self.buffered.is_empty() && self.piece.is_empty() {
            self.piece = data;
            return;
        }
        if !self.piece.is_empty() {
            self.buffered.extend_from_slice(&std::mem::take(&mut self.piece));
        }
        self.buffered.extend_from_slice(&data);
    }

    /// A complete message out of what has come.
    fn take(&mut self) -> Result<Option<Bytes>, Status> {
        let held: &[u8] = if self.piece.is_empty() { &self.buffered } else { &self.piece };
        let Some((prefix, rest)) = held.split_first_chunk::<PREFIX>() else { return Ok(None) };
        let [flag, length @ ..] = *prefix;
        let length = u32::from_be_bytes(length) as usize;
        if length > self.max_message {
            return Err(too_long(length, self.max_message));
        }
        if rest.len() < length {
            return Ok(None);
        }
        let compressed = self.is_compressed(flag)?;
        let whole = PREFIX + length;
        let mut message = if self.piece.is_empty() {
            let taken = self.buffered.split_to(whole).freeze();
            if self.buffered.is_empty() {
                self.buffered = BytesMut::new();
            }
            taken
        } else {
            self.piece.split_to(whole)
        };
        if self.piece.is_empty() {
            // An empty slice would still hold the receive buffer.
            self.piece = Bytes::new();
        }
        let message = message.split_off(PREFIX);
        if compressed { gzip::unpack(&message, self.max_message).map(Some) } else { Ok(Some(message)) }
    }

    fn is_compressed(&self, flag: u8) -> Result<bool, Status> {
        match flag {
            0 => Ok(false),
            1 if self.gzip => Ok(true),
            1 => Err(Status::new(GrpcCode::Internal, "grpc: compressed flag set with identity or empty encoding")),
            other => Err(Status::new(GrpcCode::Internal, format!("grpc: received unexpected payload format {other}"))),
        }
    }
}

/// The refusal of a compression that this server does not have.
pub(crate) fn no_decompressor(encoding: &str) -> Status {
    let text = format!("grpc: Decompressor is not installed for grpc-encoding {}", super::quote(encoding.as_bytes()));
    Status::new(GrpcCode::Unimplemented, text)
}

/// Takes a message off bytes in which each has its prefix, none of which is compressed; `None` if it is not complete.
pub(crate) fn split_message(held: &mut BytesMut) -> Option<Bytes> {
    let (&[_, length @ ..], rest) = held.split_first_chunk::<PREFIX>()?;
    let length = u32::from_be_bytes(length) as usize;
    if rest.len() < length {
        return None;
    }
    let mut message = held.split_to(PREFIX + length).freeze();
    message.advance(PREFIX);
    Some(message)
}

/// The refusal of a message that is too long.
pub(crate) fn too_long(length: usize, max: usize) -> Status {
    Status::new(GrpcCode::ResourceExhausted, format!("grpc: received message larger than max ({length} vs. {max})"))
}

/// Reads a message as etcd does; its byte fields are copies that keep nothing else alive.
pub(crate) fn decode<M: Message + Name + Default>(encoded: &[u8]) -> Result<M, prost::DecodeError> {
    lenient::decode(encoded)
}

/// An encoded answer with its prefix. Mostly in one piece; a large one comes in several, none of which
/// takes long to make or to let go.
#[derive(Debug, Default)]
pub(crate) struct Framed {
    pub(super) first: Bytes,
    pub(super) rest: Vec<Bytes>,
}

impl Framed {
    /// The message, without its prefix, in one piece. If it was in several, this one counts against `memory`.
    pub(crate) fn into_message(self, memory: &ReadMemory) -> Bytes {
        let Self { mut first, rest } = self;
        let first = first.split_off(PREFIX.min(first.len()));
        if rest.is_empty() {
            return first;
        }
        let length = first.len() + rest.iter().map(Bytes::len).sum::<usize>();
        // The pieces are let go meanwhile, and count until then.
        let charge = memory.hold_anyway(length);
        let mut whole = Vec::with_capacity(length);
        whole.put(first);
        rest.into_iter().for_each(|piece| whole.put(piece));
        charge.over(whole)
    }

    /// Bytes in all.
    pub(crate) fn len(&self) -> usize {
        self.first.len() + self.rest.iter().map(Bytes::len).sum::<usize>()
    }
}

impl From<Bytes> for Framed {
    fn from(first: Bytes) -> Self {
        Self { first, rest: Vec::new() }
    }
}

/// Encodes an answer with its prefix.
pub(crate) fn encode(message: &impl Message) -> Result<Bytes, Status> {
    let length = message.encoded_len();
    let prefix = prefix(length)?;
    let mut framed = BytesMut::with_capacity(PREFIX + length);
    framed.put_slice(&prefix);
    message.encode_raw(&mut framed);
    Ok(framed.freeze())
}

/// A message that is encoded in parts: messages of its type that follow each other are one, whose
/// lists are those of all.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    /// Empty once they are longer than `max`: then only the length is of interest, for the refusal.
    pieces: Vec<Bytes>,
    length: usize,
    max: usize,
    memory: &'a ReadMemory,
}

impl<'a> Parts<'a> {
    /// A message without parts, which takes its memory from here.
    pub(crate) const fn new(memory: &'a ReadMemory) -> Self {
        Self::up_to(MAX_SEND, memory)
    }

    const fn up_to(max: usize, memory: &'a ReadMemory) -> Self {
        Self { pieces: Vec::new(), length: 0, max, memory }
    }

    /// Whether there is nothing in it.
    pub(crate) const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Adds a part, if there is memory for it.
    pub(crate) fn add(&mut self, part: &impl Message) -> Result<(), Error> {
        let length = part.encoded_len();
        self.length += length;
        if self.length > self.max {
            self.pieces = Vec::new();
            return Ok(());
        }
        let charge = self.memory.hold_of(length, self.length)?;
        let mut piece = Vec::with_capacity(length);
        part.encode_raw(&mut piece);
        self.pieces.push(charge.over(piece));
        Ok(())
    }

    /// The message, complete with its first part, which is known last.
    pub(crate) fn finish(self, head: &impl Message) -> Result<Framed, Status> {
        let head = head.encode_to_vec();
        let first = [&prefix_within(self.length + head.len(), self.max)?[..], &head].concat();
        Ok(Framed { first: first.into(), rest: self.pieces })
    }
}

/// Cuts a large message, so that it is let go bit by bit as it is sent.
pub(crate) fn cut(mut framed: Bytes) -> Framed {
    const PIECE: usize = 256 << 10;
    let mut cut = Framed::from(framed.split_to(PREFIX.min(framed.len())));
    while !framed.is_empty() {
        cut.rest.push(framed.split_to(PIECE.min(framed.len())));
    }
    cut
}

/// The largest message that is sent.
const MAX_SEND: usize = i32::MAX as usize;

pub(super) fn prefix(length: usize) -> Result<[u8; PREFIX], Status> {
    prefix_within(length, MAX_SEND)
}

fn prefix_within(length: usize, max: usize) -> Result<[u8; PREFIX], Status> {
    match u32::try_from(length) {
        Ok(short) if length <= max => {
            let [a, b, c, d] = short.to_be_bytes();
            Ok([0, a, b, c, d])
        }
        _ => {
            let text = format!("grpc: trying to send message larger than max ({length} vs. {max})");
            Err(Status::new(GrpcCode::ResourceExhausted, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use keelkv_proto::etcdserverpb::RangeResponse;

    use super::*;
    use crate::types::Code;

    fn part(keys: usize) -> RangeResponse {
        RangeResponse { kvs: vec![Default::default(); keys], ..RangeResponse::default() }
    }

    #[test]
    fn parts_are_one_message() {
        let memory = ReadMemory::new(1000);
        let mut parts = Parts::new(&memory);
        assert!(parts.is_empty());
        parts.add(&part(3)).expect("there is room");
        parts.add(&part(2)).expect("there is room");
        assert_eq!(memory.held(), part(5).encoded_len());
        let framed = parts.finish(&RangeResponse { count: 5, ..RangeResponse::default() }).expect("a short message");
        let whole = RangeResponse { count: 5, ..part(5) };
        let bytes = [&framed.first[..], &framed.rest.concat()].concat();
        assert_eq!(RangeResponse::decode(&bytes[PREFIX..]).expect("a good message"), whole);
        assert_eq!(bytes[..PREFIX], encode(&whole).expect("a short message")[..PREFIX]);
        drop(framed);
        assert_eq!(memory.held(), 0, "what was sent is held no more");
    }

    #[test]
    fn what_is_too_long_is_counted_and_not_kept() {
        let memory = ReadMemory::new(1000);
        let mut parts = Parts::up_to(10, &memory);
        for added in 1..=100 {
            parts.add(&part(1)).expect("there is room");
            assert!(memory.held() <= 10, "{added}");
        }
        let status = parts.finish(&part(1)).expect_err("it is too long");
        assert_eq!(status.message(), "grpc: trying to send message larger than max (202 vs. 10)");
    }

    #[test]
    fn what_there_is_no_memory_for_is_refused_and_given_back() {
        let memory = ReadMemory::new(10);
        let mut parts = Parts::new(&memory);
        while parts.length + part(1).encoded_len() <= 10 {
            parts.add(&part(1)).expect("there is room");
        }
        assert_eq!(parts.add(&part(1)).expect_err("there is none").code(), Code::Overloaded);
        drop(parts);
        assert_eq!(memory.held(), 0);
    }
}
