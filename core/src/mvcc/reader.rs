//! Reads, on whatever thread asks.

use std::sync::Arc;

use keelkv_proto::etcdserverpb::{RangeRequest, RangeResponse, TxnRequest, TxnResponse};
use keelkv_proto::mvccpb::KeyValue;

use super::events;
use super::hash_kv::{HashKvWalk, KvHash};
use super::hash_walk::HashWalk;
use super::range::Count;
use super::range_steps::RangeSteps;
use super::range_stream::RangeStream;
use super::read_error::ReadError;
use super::steps::Begun;
use super::store::{Stopped, Store};
use super::txn;
use super::txn_steps::TxnSteps;
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

    /// What the history counts for against a quota: keys and values of all changes that no compaction has removed yet, and
    /// 64 bytes for each.
    pub fn logical_bytes(&self) -> u64 {
        self.store.logical_bytes()
    }

    /// Bytes of the keys and values that were put here since the start.
    pub fn put_bytes(&self) -> u64 {
        self.store.put_bytes()
    }

    /// Executes a range, however long it takes: where others wait for the thread, use
    /// [`Node::range`](crate::node::Node::range). The request must have passed its checks.
    pub fn range(&self, request: &RangeRequest) -> Result<RangeResponse> {
        self.begin_range(request)?.finish()
    }

    /// Does the first step of a range, which is all that a small one needs.
    pub(crate) fn begin_range(&self, request: &RangeRequest) -> Result<Begun<RangeSteps>> {
        self.begin_counting(request, Count::Whole)
    }

    pub(super) fn begin_counting(&self, request: &RangeRequest, count: Count) -> Result<Begun<RangeSteps>> {
        Begun::begin(&self.store, request, |view| RangeSteps::new(view, request, count))
    }

    /// Starts a range that is answered in several messages. The request must have passed its checks;
    /// `chunk_bytes` is about how large a message may become.
    pub fn range_stream(&self, request: RangeRequest, chunk_bytes: usize) -> RangeStream {
        RangeStream::new(self.clone(), request, chunk_bytes)
    }

    /// Executes a transaction that consists of ranges only, however long it takes: where
    /// others wait for the thread, use [`Node::read_only_txn`](crate::node::Node::read_only_txn).
    pub fn read_only_txn(&self, request: &TxnRequest) -> Result<TxnResponse> {
        self.begin_txn(request)?.finish()
    }

    /// Does the first step of a transaction that consists of ranges only.
    pub(crate) fn begin_txn(&self, request: &TxnRequest) -> Result<Begun<TxnSteps>> {
        debug_assert!(txn::is_read_only(request), "this transaction belongs into the log");
        Begun::begin(&self.store, request, |_| Ok(TxnSteps::new()))
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
        let walked = seen.map_err(|_| Code::Stopped)?;
        if walked.revision >= revision {
            return Ok(());
        }
        match &walked.stopped {
            Some(Stopped::Failed(error)) => {
                Err(Error::new(Code::Internal, format!("removal of compacted revisions stopped: {error}")))
            }
            Some(Stopped::WithMember) | None => Err(Code::Stopped.into()),
        }
    }

    /// A checksum over all tables, for tests of one member against itself. Reads everything as it is
    /// just now: nothing may be written meanwhile.
    pub fn hash(&self) -> Result<u32> {
        let mut walk = HashWalk::new(Arc::new(self.store.backing.clone()));
        loop {
            if let Some(hash) = walk.step()? {
                return Ok(hash);
            }
        }
    }

    /// Starts [`Reader::hash`] in small steps, of the state as it is when this returns.
    pub async fn hash_walk(&self) -> Result<HashWalk> {
        let pinned = self.store.backing.pin().await.map_err(ReadError::from)?;
        Ok(HashWalk::new(pinned))
    }

    /// Waits until the removal up to `revision` has to wait for reads (true) or is done.
    #[cfg(test)]
    pub(crate) async fn removal_waits(&self, revision: i64) -> bool {
        let mut walked = self.store.walked.subscribe();
        let seen = walked.wait_for(|walked| walked.revision >= revision || walked.waits).await;
        seen.expect("the store lives").waits
    }

    /// Revisions whose compaction hash is kept, in order.
    pub fn kept_hashes(&self) -> Vec<i64> {
        self.store.hashes.lock().iter().map(|hash| hash.hash_revision).collect()
    }

    /// Rows of the history that were not removed.
    #[cfg(test)]
    pub(crate) fn row_count(&self) -> usize {
        self.store.backing.scan(Table::History, &[], &[], usize::MAX).expect("rows can be read").len()
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
