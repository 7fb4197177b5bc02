//! One connection: what it reads and what it writes, from the first byte on.

use std::time::Duration;

use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};

use super::frame::{Decoder, Frame, Kind};
use super::introduction::Introduction;
use super::outbox::Outbox;
use super::preface::{self, First};
use super::shared::Shared;
use super::socket::Socket;
use crate::env::within;

/// Largest frame of somebody who has not been let in.
const INTRODUCTION: usize = 64 * 1024;
/// How long the last words to somebody may take.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// What is read at most after the last words.
const LEFTOVERS: usize = 256 * 1024;

/// A connection.
pub(super) struct Channel {
    pub(super) reader: ReadHalf<Socket>,
    pub(super) writer: WriteHalf<Socket>,
    pub(super) decoder: Decoder,
    pub(super) outbox: Outbox,
}

impl Channel {
    /// A connection on which nothing was said yet.
    pub(super) fn new(socket: Socket) -> Self {
        let (reader, writer) = tokio::io::split(socket);
        Self { reader, writer, decoder: Decoder::new(INTRODUCTION), outbox: Outbox::default() }
    }

    /// Puts our first words.
    pub(super) fn introduce(&mut self, us: &Introduction) {
        self.outbox.push_raw(&preface::preface());
        self.outbox.push(Kind::Hello, 0, us.encode());
    }

    /// Puts why we will have nothing to do with the other side, if these are our first words.
    pub(super) fn refuse(&mut self, why: &str) {
        self.outbox.push_raw(&preface::preface());
        self.outbox.push_text(Kind::Refusal, 0, why);
    }

    /// Writes what was put.
    pub(super) async fn flush(&mut self) -> std::io::Result<()> {
        self.outbox.write_all(&mut self.writer).await
    }

    /// What the other side says first. None if it left without a word.
    pub(super) async fn first(&mut self) -> std::io::Result<Option<First>> {
        loop {
            match preface::take(&mut self.decoder) {
                First::Unclear if self.decoder.fill(&mut self.reader).await? == 0 => {
                    return Ok((!self.decoder.held().is_empty()).then_some(First::Unknown));
                }
                First::Unclear => {}
                clear => return Ok(Some(clear)),
            }
        }
    }

    /// The next frame; `None` at the end. An error is a line.
    pub(super) async fn receive(&mut self) -> Result<Option<Frame>, String> {
        loop {
            if let Some(frame) = self.decoder.next()? {
                return Ok(Some(frame));
            }
            if self.decoder.fill(&mut self.reader).await.map_err(|e| e.to_string())? == 0 {
                return Ok(None);
            }
        }
    }

    /// Writes what was put and ends the connection so that the other side can read it: closing a socket that holds
    /// unread bytes would take the last words back.
    pub(super) async fn end(mut self, shared: &Shared) {
        let ending = async {
            self.flush().await?;
            self.writer.shutdown().await?;
            let mut read = self.decoder.held().len();
            while read < LEFTOVERS {
                self.decoder.skip(usize::MAX);
                match self.decoder.fill(&mut self.reader).await? {
                    0 => break,
                    count => read += count,
                }
            }
            std::io::Result::Ok(())
        };
        // Who does not listen is not waited for.
        let _ended = within(shared.env(), LAST_WORDS, ending).await;
    }
}
