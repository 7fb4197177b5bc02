//! What readers and the writer of one member's keys share.

use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::hash_kv::KvHash;
use super::tree::Tree;
use crate::storage::backing::Backing;

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
    /// Hashes taken by finished compactions, the newest last.
    pub(super) hashes: Mutex<Vec<KvHash>>,
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
            hashes: Mutex::default(),
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

    /// The rows.
    pub(crate) const fn backing(&self) -> &Backing {
        &self.backing
    }
}
