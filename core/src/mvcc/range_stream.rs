//! A range in several messages.

use std::ops::ControlFlow;

use keelkv_proto::etcdserverpb::{RangeRequest, RangeResponse, ResponseHeader};
use prost::Message;

use super::range::Count;
use super::reader::Reader;
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
    finished: bool,
}

impl RangeStream {
    pub(super) fn new(reader: Reader, mut request: RangeRequest, chunk_bytes: usize) -> Self {
        let limit = if request.limit == 0 { i64::MAX } else { request.limit };
        if !request.count_only {
            request.limit = FIRST_CHUNK.min(limit);
        }
        Self { reader, request, chunk_bytes, limit, sent: 0, header_revision: None, finished: false }
    }

    /// The next message; `None` after the last. May read from disk.
    pub fn next_chunk(&mut self) -> Result<Option<RangeResponse>> {
        if self.finished {
            return Ok(None);
        }
        let response = self.reader.begin_counting(&self.request, Count::Seen)?.finish()?;
        let current = response.header.as_ref().map_or(0, |header| header.revision);
        if self.request.count_only {
            self.finished = true;
            return Ok(Some(response));
        }
        let revision = *self.header_revision.get_or_insert(current);
        if self.request.revision == 0 {
            self.request.revision = revision;
        }
        self.sent += i64::try_from(response.kvs.len()).unwrap_or(i64::MAX);
        let bytes = response.encoded_len();
        let next = response.kvs.last().filter(|_| response.more).map(|last| [&last.key[..], &[0]].concat());
        let chunk = RangeResponse { kvs: response.kvs, ..RangeResponse::default() };
        let advance = match next {
            Some(next) if self.sent != self.limit => ControlFlow::Continue(next),
            last => ControlFlow::Break(last),
        };
        match advance {
            ControlFlow::Continue(next) => {
                self.request.key = next.into();
                self.request.limit =
                    resize(self.request.limit, bytes, self.chunk_bytes).min(CHUNK_MAX).min(self.limit - self.sent);
                Ok(Some(chunk))
            }
            ControlFlow::Break(next) => {
                self.finished = true;
                let header = Some(ResponseHeader { revision, ..ResponseHeader::default() });
                let more = next.is_some();
                let count = self.sent + next.map_or(Ok(0), |next| self.remaining(next))?;
                Ok(Some(RangeResponse { header, more, count, ..chunk }))
            }
        }
    }

    fn remaining(&self, from: Vec<u8>) -> Result<i64> {
        let request = RangeRequest {
            key: from.into(),
            range_end: self.request.range_end.clone(),
            revision: self.request.revision,
            count_only: true,
            ..RangeRequest::default()
        };
        Ok(self.reader.range(&request)?.count)
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
