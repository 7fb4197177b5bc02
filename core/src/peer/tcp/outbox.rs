//! What a connection has to write: frames gather here and go out together.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::frame::{Kind, put_header};

/// Payloads up to this size are copied behind each other; larger ones are written from where they are.
const SMALL: usize = 4096;
/// Pieces for one system call.
const PIECES: usize = 64;
/// Over this many bytes nothing more should be put in before some were written.
const FULL: u64 = 128 * 1024;
/// A buffer that grew beyond this is given back once it is empty.
const KEEP: usize = 64 * 1024;

/// Bytes to be written, in order.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pieces: VecDeque<Bytes>,
    // Comes after all pieces.
    tail: BytesMut,
    pushed: u64,
    written: u64,
    unflushed: bool,
}

impl Outbox {
    /// Puts bytes that are no frame.
    pub(super) fn push_raw(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.pushed += bytes.len() as u64;
    }

    /// Puts a frame.
    pub(super) fn push(&mut self, kind: Kind, call: u64, payload: Bytes) {
        let before = self.tail.len();
        put_header(&mut self.tail, kind, call, payload.len());
        self.pushed += (self.tail.len() - before + payload.len()) as u64;
        if payload.len() <= SMALL {
            self.tail.extend_from_slice(&payload);
        } else {
            self.pieces.push_back(self.tail.split().freeze());
            self.pieces.push_back(payload);
        }
    }

    /// Puts a frame that is a line for people.
    pub(super) fn push_text(&mut self, kind: Kind, call: u64, text: &str) {
        self.push(kind, call, Bytes::copy_from_slice(text.as_bytes()));
    }

    /// Has everything been written?
    pub(super) fn is_empty(&self) -> bool {
        self.pushed == self.written && !self.unflushed
    }

    /// Should whoever puts something in wait?
    pub(super) fn is_full(&self) -> bool {
        self.pushed - self.written >= FULL
    }

    /// How many bytes were put in, from the beginning of the connection.
    pub(super) fn pushed(&self) -> u64 {
        self.pushed
    }

    /// How many of them were handed over to the system.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Writes once, what the system takes. Nothing is lost or doubled when this is dropped early.
    pub(super) async fn write(&mut self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        if self.pushed > self.written {
            let mut slices = [IoSlice::new(&[]); PIECES];
            let mut used = 0;
            let tail: &[u8] = &self.tail;
            let rest = self.pieces.iter().map(|p| &p[..]).chain([tail]).filter(|p| !p.is_empty());
            for (slice, piece) in slices.iter_mut().zip(rest) {
                *slice = IoSlice::new(piece);
                used += 1;
            }
            let count = to.write_vectored(&slices[..used]).await?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.unflushed = true;
            self.drop_first(count);
        }
        if self.pushed == self.written {
            to.flush().await?;
            self.unflushed = false;
        }
        Ok(())
    }

    /// Writes until nothing is left.
    pub(super) async fn write_all(&mut self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        while !self.is_empty() {
            self.write(to).await?;
        }
        Ok(())
    }

    fn drop_first(&mut self, mut count: usize) {
        self.written += count as u64;
        while let Some(piece) = self.pieces.front_mut() {
            if count < piece.len() {
                piece.advance(count);
                return;
            }
            count -= piece.len();
            self.pieces.pop_front();
        }
        self.tail.advance(count);
        if self.tail.is_empty() && self.tail.capacity() > KEEP {
            self.tail = BytesMut::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt;

    use super::super::frame::{Decoder, Frame};
    use super::*;

    proptest! {
        #[test]
        fn frames_arrive_as_they_were_put_in(
            sizes in prop::collection::vec(prop_oneof![0usize..100, 4000usize..20_000], 1..40),
            pipe in 1usize..30_000,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let put: Vec<_> = sizes
                .iter()
                .enumerate()
                .map(|(n, size)| Frame {
                    kind: Kind::Request,
                    call: n as u64,
                    payload: (0..*size).map(|i| (i * 7 + n) as u8).collect::<Vec<_>>().into(),
                })
                .collect();
            let found = runtime.block_on(async {
                let (mut near, mut far) = tokio::io::duplex(pipe);
                let sending = async {
                    let mut outbox = Outbox::default();
                    for frame in &put {
                        outbox.push(frame.kind, frame.call, frame.payload.clone());
                    }
                    outbox.write_all(&mut near).await.unwrap();
                    assert_eq!(outbox.pushed(), outbox.written());
                    drop(near);
                };
                let receiving = async {
                    let (mut decoder, mut found) = (Decoder::new(20_000), Vec::new());
                    while decoder.fill(&mut far).await.unwrap() > 0 {
                        while let Some(frame) = decoder.next().unwrap() {
                            found.push(frame);
                        }
                    }
                    found
                };
                futures::join!(sending, receiving).1
            });
            prop_assert_eq!(found, put);
        }
    }

    #[tokio::test]
    async fn what_was_put_in_and_not_written_is_known() {
        let (mut near, mut far) = tokio::io::duplex(10);
        let mut outbox = Outbox::default();
        outbox.push_raw(&[0; 8]);
        let start = outbox.pushed();
        outbox.push(Kind::Request, 1, Bytes::from_static(b"payload"));
        outbox.write(&mut near).await.unwrap();
        assert_eq!((start, outbox.written(), outbox.is_empty()), (8, 10, false));
        let mut read = [0; 10];
        far.read_exact(&mut read).await.unwrap();
        outbox.write(&mut near).await.unwrap();
        assert_eq!(outbox.written(), 20);
    }
}
