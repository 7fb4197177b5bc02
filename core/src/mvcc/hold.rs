//! Revisions that reads of several steps stand at.
//!
//! ```text
//! read:       hold(revision) -> step, step, step -> drop
//! compaction: watermark, at once -> walk: waits until nothing below the watermark is held -> removal
//! ```
//!
//! A read that was admitted sees its revision to its end, as under etcd's pinned transaction. What that
//! costs is rows that go a little later: the walk waits for reads that were begun before the
//! compaction, and never for later ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::store::Store;

/// How many reads stand at each revision.
#[derive(Debug, Default)]
pub(super) struct Held(Mutex<BTreeMap<i64, usize>>);

/// While it lives, reads at its revision find everything that they need.
#[derive(Debug)]
pub(super) struct Hold {
    pub(super) store: Arc<Store>,
    pub(super) revision: i64,
}

impl Hold {
    /// Holds a revision, unless a compaction has passed it.
    pub(super) fn new(store: &Arc<Store>, revision: i64) -> Option<Self> {
        let mut held = store.held.0.lock();
        // A walk looks at what is held after its watermark is published: it sees this, or this sees it.
        if revision < store.compacted() {
            return None;
        }
        *held.entry(revision).or_default() += 1;
        Some(Self { store: Arc::clone(store), revision })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.store.held.0.lock();
        if let Some(reads) = held.get_mut(&self.revision) {
            *reads -= 1;
            if *reads == 0 {
                held.remove(&self.revision);
            }
        }
    }
}

impl Held {
    /// Whether a read stands below this watermark.
    pub(super) fn below(&self, watermark: i64) -> bool {
        self.0.lock().first_key_value().is_some_and(|(lowest, _)| *lowest < watermark)
    }
}
