//! What readers and the writer of one member's keys share.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::hash_kv::KvHash;
use super::hold::Held;
use super::tree::Tree;
use crate::storage::backing::Backing;
use crate::storage::engine::Batch;
use crate::types::Code;

/// The index, the two revisions that bound what reads may ask for, and the rows behind them.
///
/// The writer changes the index as it goes; readers name the revision that they want, which is never
/// above [`Store::current`], and so do not see a transaction before it is whole and in the backing.
#[derive(Debug)]
pub(crate) struct Store {
    pub(super) index: RwLock<Tree>,
    pub(super) backing: Backing,
    current: AtomicI64,
    compacted: AtomicI64,
    /// What all changes count for that were not removed.
    logical_bytes: AtomicU64,
    /// Keys and values of all puts since the start.
    put_bytes: AtomicU64,
    /// Odd while everything is replaced by a snapshot.
    epoch: AtomicU64,
    /// What must not be removed yet.
    pub(super) held: Held,
    /// Hashes taken by finished compactions, the newest last.
    pub(super) hashes: Mutex<Vec<KvHash>>,
    /// How far the removal of compacted rows has come.
    pub(super) walked: watch::Sender<Walked>,
    /// The applied index of the last batch.
    submitted: Mutex<u64>,
}

/// How far the removal of compacted rows has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Walked {
    /// Everything that was to be removed up to this watermark is gone.
    pub(super) revision: i64,
    /// It waits for reads that were begun before the watermark was raised.
    pub(super) waits: bool,
    /// Why it does not go on.
    pub(super) stopped: Option<Stopped>,
}

/// Why compacted rows are removed no more.
#[derive(Clone, Debug)]
pub(super) enum Stopped {
    /// The member stops, or replaces everything.
    WithMember,
    /// The removal failed.
    Failed(String),
}

impl Store {
    /// The compaction watermark of a store that was never compacted.
    pub(crate) const NEVER_COMPACTED: i64 = -1;

    pub(super) fn new(backing: Backing) -> Self {
        Self {
            index: RwLock::default(),
            backing,
            current: AtomicI64::new(1),
            compacted: AtomicI64::new(Self::NEVER_COMPACTED),
            logical_bytes: AtomicU64::new(0),
            put_bytes: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            held: Held::default(),
            hashes: Mutex::default(),
            walked: watch::Sender::default(),
            submitted: Mutex::default(),
        }
    }

    /// The newest revision that readers may see.
    pub(crate) fn current(&self) -> i64 {
        self.current.load(Ordering::Acquire)
    }

    /// The compaction watermark: reads below it are refused.
    pub(crate) fn compacted(&self) -> i64 {
        self.compacted.load(Ordering::Acquire)
    }

    /// Lets readers see everything up to `current`, and nothing below `compacted`.
    pub(crate) fn publish(&self, current: i64, compacted: i64) {
        self.compacted.store(compacted, Ordering::Release);
        self.current.store(current, Ordering::Release);
    }

    /// What the history counts for: keys and values of all changes that were not removed, and a little for each. The
    /// same rows come to the same, after a restart as well.
    pub(crate) fn logical_bytes(&self) -> u64 {
        self.logical_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn set_logical_bytes(&self, bytes: u64) {
        self.logical_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_logical_bytes(&self, bytes: u64) {
        self.logical_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn remove_logical_bytes(&self, bytes: u64) {
        self.logical_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes of the keys and values that were put since the start.
    pub(super) fn put_bytes(&self) -> u64 {
        self.put_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn add_put_bytes(&self, bytes: u64) {
        self.put_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// From here on readers are refused.
    pub(crate) fn begin_replacing(&self) {
        self.epoch.fetch_or(1, Ordering::AcqRel);
    }

    /// What was read before this call is void.
    pub(crate) fn end_replacing(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Which state this is. Refuses while it is being replaced; a client may try again.
    pub(super) fn epoch(&self) -> Result<u64, Code> {
        let epoch = self.epoch.load(Ordering::Acquire);
        if epoch.is_multiple_of(2) { Ok(epoch) } else { Err(Code::LeaderChanged) }
    }

    /// Hands over what an entry changed.
    pub(crate) fn submit(&self, applied: u64, batch: Batch) {
        let mut submitted = self.submitted.lock();
        *submitted = applied;
        self.backing.submit(applied, batch);
    }

    pub(super) fn set_submitted(&self, applied: u64) {
        *self.submitted.lock() = applied;
    }

    /// Hands over rows that are no entry's, between two entries.
    pub(super) fn submit_aside(&self, batch: Batch) {
        let submitted = self.submitted.lock();
        self.backing.submit(*submitted, batch);
    }

    /// The rows.
    pub(crate) const fn backing(&self) -> &Backing {
        &self.backing
    }
}
