//! A range in several messages.

use std::ops::ControlFlow;

use keelkv_proto::etcdserverpb::{RangeRequest, RangeResponse, ResponseHeader};
use prost::Message;

use super::range::Count;
use super::range_steps::RangeSteps;
use super::reader::Reader;
use super::steps::{Begun, Walk};
use crate::types::Result;

/// Keys in the first message.
const FIRST_CHUNK: i64 = 10;
/// Keys in a message at most, so that none takes long.
const CHUNK_MAX: i64 = 1024;

/// The messages of a RangeStream, one by one; all show the revision of the first. Only the last has
/// header, `more` and `count`.
///
/// Between two messages nothing is held: if a compaction passes the revision, the next step says so.
#[derive(Debug)]
pub struct RangeStream {
    reader: Reader,
    request: RangeRequest,
    chunk_bytes: usize,
    /// Keys that may be sent in all.
    limit: i64,
    sent: i64,
    header_revision: Option<i64>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// The next message was not begun.
    Between,
    /// Its keys are read.
    Reading(Box<Walk<RangeSteps>>),
    /// It is the last one, and those that it leaves out are counted.
    Counting(RangeResponse, Option<Box<Walk<RangeSteps>>>),
    Finished,
}

/// What a step of a [`RangeStream`] came to.
#[derive(Debug)]
pub enum Streamed {
    /// The next message is complete.
    Chunk(RangeResponse),
    /// It takes another step.
    NotYet,
    /// There are no more.
    End,
}

impl RangeStream {
    pub(super) fn new(reader: Reader, mut request: RangeRequest, chunk_bytes: usize) -> Self {
        let limit = if request.limit == 0 { i64::MAX } else { request.limit };
        if !request.count_only {
            request.limit = FIRST_CHUNK.min(limit);
        }
        Self { reader, request, chunk_bytes, limit, sent: 0, header_revision: None, stage: Stage::Between }
    }

    /// The next message, however long it takes; `None` after the last. May read from disk.
    pub fn next_chunk(&mut self) -> Result<Option<RangeResponse>> {
        loop {
            match self.step()? {
                Streamed::Chunk(chunk) => return Ok(Some(chunk)),
                Streamed::NotYet => {}
                Streamed::End => return Ok(None),
            }
        }
    }

    /// Goes on for as long as a step of any read, on the way to the next message. What was begun for it holds its
    /// revision until it is complete.
    pub fn step(&mut self) -> Result<Streamed> {
        let (last, begun) = match std::mem::replace(&mut self.stage, Stage::Finished) {
            Stage::Finished => return Ok(Streamed::End),
            Stage::Between => (None, self.reader.begin_counting(&self.request, Count::Seen)?),
            Stage::Reading(walk) => (None, Begun::Walk(walk).step()?),
            Stage::Counting(last, Some(walk)) => (Some(last), Begun::Walk(walk).step()?),
            Stage::Counting(last, None) => {
                let begun = self.reader.begin_counting(&self.request, Count::Whole)?;
                (Some(last), begun)
            }
        };
        match (begun, last) {
            (Begun::Walk(walk), None) => self.stage = Stage::Reading(walk),
            (Begun::Walk(walk), Some(last)) => self.stage = Stage::Counting(last, Some(walk)),
            (Begun::Whole(response), None) => return Ok(self.chunk(response)),
            (Begun::Whole(response), Some(last)) => {
                let count = last.count + response.count;
                return Ok(Streamed::Chunk(RangeResponse { count, ..last }));
            }
        }
        Ok(Streamed::NotYet)
    }

    /// Bytes that are kept for the next message, about.
    pub fn kept(&self) -> usize {
        match &self.stage {
            Stage::Reading(walk) => walk.kept() + walk.steps().given(),
            Stage::Counting(last, _) => last.encoded_len(),
            Stage::Between | Stage::Finished => 0,
        }
    }

    /// Whether the next step takes longer: it should be done where nobody waits.
    pub fn is_long(&self) -> bool {
        match &self.stage {
            Stage::Reading(walk) => walk.is_long(),
            Stage::Between | Stage::Counting(..) | Stage::Finished => false,
        }
    }

    /// Makes a message of what was read for it.
    fn chunk(&mut self, response: RangeResponse) -> Streamed {
        let current = response.header.as_ref().map_or(0, |header| header.revision);
        if self.request.count_only {
            return Streamed::Chunk(response);
        }
        let revision = *self.header_revision.get_or_insert(current);
        if self.request.revision == 0 {
            self.request.revision = revision;
        }
        self.sent += i64::try_from(response.kvs.len()).unwrap_or(i64::MAX);
        let next = response.kvs.last().filter(|_| response.more).map(|last| [&last.key[..], &[0]].concat());
        let chunk = RangeResponse { kvs: response.kvs, ..RangeResponse::default() };
        let advance = match next {
            Some(next) if self.sent != self.limit => ControlFlow::Continue(next),
            last => ControlFlow::Break(last),
        };
        match advance {
            ControlFlow::Continue(next) => {
                self.request.key = next.into();
                self.request.limit = resize(self.request.limit, chunk.encoded_len(), self.chunk_bytes)
                    .min(CHUNK_MAX)
                    .min(self.limit - self.sent);
                self.stage = Stage::Between;
                Streamed::Chunk(chunk)
            }
            ControlFlow::Break(next) => {
                let header = Some(ResponseHeader { revision, ..ResponseHeader::default() });
                let last = RangeResponse { header, more: next.is_some(), count: self.sent, ..chunk };
                let Some(next) = next else { return Streamed::Chunk(last) };
                self.request = RangeRequest {
                    key: next.into(),
                    range_end: self.request.range_end.clone(),
                    revision: self.request.revision,
                    count_only: true,
                    ..RangeRequest::default()
                };
                self.stage = Stage::Counting(last, None);
                Streamed::NotYet
            }
        }
    }
}

/// Keys in the next message, so that its size comes near `target`.
fn resize(keys: i64, bytes: usize, target: usize) -> i64 {
    if bytes < target / 2 {
        keys.saturating_mul(2)
    } else if bytes > target.saturating_mul(2) {
        (keys / 2).max(1)
    } else {
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::testing::{Bench, put, range};

    /// What a stream gives, and the most steps that it takes from one message to the next.
    fn read(mut stream: RangeStream) -> (Vec<RangeResponse>, usize) {
        let (mut chunks, mut steps, mut steps_max) = (Vec::new(), 0, 0);
        loop {
            steps += 1;
            steps_max = steps_max.max(steps);
            match stream.step().expect("the stream goes on") {
                Streamed::Chunk(chunk) => {
                    chunks.push(chunk);
                    steps = 0;
                }
                Streamed::NotYet => {}
                Streamed::End => return (chunks, steps_max),
            }
        }
    }

    #[tokio::test]
    async fn chunks_and_counts_are_divided() {
        let mut bench = Bench::new();
        for number in 0..200 {
            bench.put(put(&format!("a{number:03}"), "v")).expect("a good put");
        }
        let old = bench.reader().current_revision();
        // So many that the index does not remember how many there were before.
        for number in 0..9_000 {
            bench.put(put(&format!("0{number:05}"), "v")).expect("a good put");
        }
        let all = RangeRequest { revision: old, ..range("0", "b") };
        let counted = RangeRequest { count_only: true, ..all.clone() };
        let limited = RangeRequest { limit: 5, ..all.clone() };
        let unlimited = RangeRequest { limit: -1, ..all.clone() };
        for request in [all, counted, limited, unlimited] {
            let (chunks, steps_max) = read(bench.reader().range_stream(request.clone(), 1 << 20));
            let expected = bench.reader().range(&request).expect("a good range");
            let last = chunks.last().expect("a message at least");
            assert_eq!((&last.header, last.more, last.count), (&expected.header, expected.more, expected.count));
            let kvs: Vec<_> = chunks.iter().flat_map(|chunk| chunk.kvs.clone()).collect();
            assert_eq!(kvs, expected.kvs, "{request:?}");
            // A step looks at a few keys only, whether they existed then or not.
            assert!(steps_max > 9_000 / 50, "{steps_max} steps for {request:?}");
        }
    }
}
