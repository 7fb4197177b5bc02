//! Reads, on whatever thread asks.

use std::cell::Cell;
use std::sync::Arc;

use keelkv_proto::etcdserverpb::request_op::Request;
use keelkv_proto::etcdserverpb::response_op::Response;
use keelkv_proto::etcdserverpb::{RangeRequest, RangeResponse, ResponseHeader, ResponseOp, TxnRequest, TxnResponse};
use keelkv_proto::mvccpb::KeyValue;

use super::events;
use super::hash_kv::{HashKvWalk, KvHash};
use super::range::{self, Count};
use super::range_stream::RangeStream;
use super::read_error::ReadError;
use super::store::Store;
use super::txn;
use super::view::View;
use crate::storage::engine::{EngineRead, Table};
use crate::types::{Code, Error, Result, Revision, RevisionEvents};

/// Reads the store as it was after some revision, without stopping whoever writes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader {
    pub(super) store: Arc<Store>,
}

impl Reader {
    pub(crate) const fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// The newest revision.
    pub fn current_revision(&self) -> i64 {
        self.store.current()
    }

    /// The compaction watermark: reads below it are refused. -1 if there never was a compaction.
    pub fn compact_revision(&self) -> i64 {
        self.store.compacted()
    }

    /// How many keys exist.
    pub fn key_count(&self) -> usize {
        use super::key_index::KeyIndex;
        self.store.index.read().live()
    }

    /// Executes a range. The request must have passed its checks.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse> {
        self.range_counting(request, Count::Whole)
    }

    pub(super) fn range_counting(&self, request: &RangeRequest, count: Count) -> Result<RangeResponse> {
        let pinned = (request.revision > 0).then_some(request.revision);
        self.read(&Cell::new(pinned), |view| range::execute(view, request, count))
    }

    /// Starts a range that is answered in several messages. The request must have passed its checks;
    /// `chunk_bytes` is about how large a message may become.
    pub fn range_stream(&self, request: RangeRequest, chunk_bytes: usize) -> RangeStream {
        RangeStream::new(self.clone(), request, chunk_bytes)
    }

    /// Executes a transaction that consists of ranges only.
    pub fn read_only_txn(&self, request: &TxnRequest) -> Result<TxnResponse> {
        debug_assert!(txn::is_read_only(request), "this transaction belongs into the log");
        let pinned = Cell::new(None);
        self.read(&pinned, |view| {
            let path = txn::path(view, request)?;
            // Only the branch that is taken reads anything.
            let ranges = txn::branch(request, path[0]).iter().filter_map(|op| match &op.request {
                Some(Request::RequestRange(range)) if range.revision > 0 => Some(range.revision),
                _ => None,
            });
            pinned.set(ranges.min());
            txn::check(view, request, &path, &|_| false)?;
            let succeeded = path[0];
            let mut responses = Vec::new();
            for op in txn::branch(request, succeeded) {
                let response = match &op.request {
                    Some(Request::RequestRange(range)) => {
                        Some(Response::ResponseRange(range::execute(view, range, Count::Whole)?))
                    }
                    _ => None,
                };
                responses.push(ResponseOp { response });
            }
            let header = Some(ResponseHeader { revision: view.revision, ..ResponseHeader::default() });
            Ok(TxnResponse { header, succeeded, responses })
        })
    }

    /// What changed from revision `from` on: whole revisions, in order, at least one if there is
    /// one, and no more than about as many and as large as asked for.
    pub fn events(&self, from: i64, max_revisions: usize, max_bytes: usize) -> Result<Vec<Arc<RevisionEvents>>> {
        let epoch = self.store.epoch()?;
        let current = self.store.current();
        let found = events::read(&self.store.backing, from, current, max_revisions, max_bytes);
        // The watermark is looked at last: a compaction may have passed while rows were read.
        if from < self.store.compacted() {
            return Err(Code::Compacted.into());
        }
        if self.store.epoch()? != epoch {
            return Err(Code::LeaderChanged.into());
        }
        Ok(found.map_err(ReadError::from)?)
    }

    /// The key that an event replaced, as it was; `None` if it was compacted.
    pub fn previous(&self, replaced: Revision) -> Result<Option<KeyValue>> {
        Ok(self.try_previous(replaced)?)
    }

    fn try_previous(&self, replaced: Revision) -> Result<Option<KeyValue>, ReadError> {
        use super::key_index::KeyIndex;
        let Some(row) = self.store.backing.get(Table::History, &replaced.to_key())? else { return Ok(None) };
        let row = super::history::Row::decode(&replaced.to_key(), row)?;
        let Some(value) = self.store.backing.value(replaced)? else { return Ok(None) };
        let successor = self.store.index.read().successor(&row.record.key, replaced);
        // It was readable until the revision before the one that replaced it.
        let visible = successor.is_some_and(|successor| successor.main > self.store.compacted());
        Ok(visible.then(|| row.key_value(value)))
    }

    /// etcd's HashKV of everything up to `revision`, 0 for the current one. Reads all rows: use
    /// [`Reader::hash_kv_walk`] where others wait for the thread.
    pub fn hash_kv(&self, revision: i64) -> Result<KvHash> {
        let mut walk = self.hash_kv_walk(revision)?;
        loop {
            if let Some(hash) = walk.step()? {
                return Ok(hash);
            }
        }
    }

    /// Starts [`Reader::hash_kv`], to be done in small steps.
    pub fn hash_kv_walk(&self, revision: i64) -> Result<HashKvWalk> {
        HashKvWalk::start(Arc::clone(&self.store), revision)
    }

    /// Waits until everything that the compaction at `revision` made unreadable is removed.
    pub async fn removed(&self, revision: i64) -> Result<()> {
        let mut walked = self.store.walked.subscribe();
        let seen = walked.wait_for(|walked| walked.revision >= revision || walked.stopped.is_some()).await;
        match seen {
            Ok(walked) if walked.revision >= revision => Ok(()),
            _ => Err(Code::Stopped.into()),
        }
    }

    /// A checksum over all tables, for tests of one member against itself.
    pub fn hash(&self) -> Result<u32> {
        let mut hash = 0;
        for table in Table::ALL {
            let mut from = Vec::new();
            hash = crc32c::crc32c_append(hash, &[table as u8]);
            loop {
                let rows = self.store.backing.scan(table, &from, &[], 64).map_err(ReadError::from)?;
                let Some((last, _)) = rows.last() else { break };
                from = [&last[..], &[0]].concat();
                for (key, value) in &rows {
                    hash = crc32c::crc32c_append(crc32c::crc32c_append(hash, key), value);
                }
            }
        }
        Ok(hash)
    }

    /// Revisions whose compaction hash is kept.
    #[cfg(test)]
    pub(crate) fn kept_hashes(&self) -> Vec<i64> {
        self.store.hashes.lock().iter().map(|hash| hash.hash_revision).collect()
    }

    /// Rows of the history that were not removed.
    #[cfg(test)]
    pub(crate) fn row_count(&self) -> usize {
        self.store.backing.scan(Table::History, &[], &[], usize::MAX).expect("rows can be read").len()
    }

    /// Runs `read` on a view of the current revision. If a compaction passed what was read, the
    /// answer is not trusted: a read of the latest state is done again, one that named a revision
    /// (`pinned`, the lowest that it names, which `read` may still find out) is refused.
    fn read<T>(&self, pinned: &Cell<Option<i64>>, read: impl Fn(View<'_>) -> Result<T, ReadError>) -> Result<T> {
        loop {
            let epoch = self.store.epoch()?;
            let revision = self.store.current();
            let view = View { store: &self.store, revision, compacted: self.store.compacted(), unwritten: None };
            let answer = read(view);
            let pinned = pinned.get();
            if self.store.epoch()? != epoch {
                continue;
            }
            let lowest = pinned.map_or(revision, |pinned| pinned.min(revision));
            if self.store.compacted() <= lowest {
                return answer.map_err(Error::from);
            }
            if pinned.is_some_and(|pinned| pinned < self.store.compacted()) {
                return match answer {
                    Err(ReadError::Refused(error)) => Err(error),
                    _ => Err(Code::Compacted.into()),
                };
            }
        }
    }
}

impl From<ReadError> for std::io::Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io(error) => error,
            other => Self::other(other.to_string()),
        }
    }
}
