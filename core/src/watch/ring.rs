//! The most recent revisions.

use std::collections::VecDeque;
use std::sync::Arc;

use super::shared_revision::{SharedRevision, weight};
use crate::env::planted;
use crate::types::RevisionEvents;

/// Recent revisions in order, bounded by their size in memory.
#[derive(Debug)]
pub(super) struct Ring {
    slots: VecDeque<Slot>,
    /// Everything published from this revision on is here.
    floor: i64,
    bytes: usize,
    max_bytes: usize,
}

#[derive(Debug)]
struct Slot {
    source: Arc<RevisionEvents>,
    /// Made when someone first needs it: most revisions match nobody.
    shared: Option<Arc<SharedRevision>>,
    bytes: usize,
}

impl Ring {
    pub(super) const fn new(max_bytes: usize) -> Self {
        Self { slots: VecDeque::new(), floor: 1, bytes: 0, max_bytes }
    }

    /// Forgets everything; what is pushed next is `floor` or later.
    pub(super) fn reset(&mut self, floor: i64) {
        self.slots.clear();
        self.bytes = 0;
        self.floor = floor;
    }

    /// Adds the newest revision and drops old ones that no longer fit.
    pub(super) fn push(&mut self, source: Arc<RevisionEvents>, shared: Option<Arc<SharedRevision>>) {
        // Once encoded, an event is here twice.
        let bytes = weight(&source) * if shared.is_some() { 2 } else { 1 };
        self.bytes += bytes;
        self.slots.push_back(Slot { source, shared, bytes });
        while self.bytes > self.max_bytes
            && let Some(oldest) = self.slots.pop_front()
        {
            self.bytes -= oldest.bytes;
            self.floor = oldest.source.revision + i64::from(!planted::is("ring-one-short"));
        }
    }

    /// The revisions from `from` on, within the limits but at least one if there is one; `None` if the
    /// ring does not go back that far.
    pub(super) fn read(
        &mut self,
        from: i64,
        max_revisions: usize,
        max_bytes: usize,
    ) -> Option<Vec<Arc<SharedRevision>>> {
        if from < self.floor {
            return None;
        }
        let first = self.slots.partition_point(|slot| slot.source.revision < from);
        let mut read = Vec::with_capacity(max_revisions.min(self.slots.len() - first));
        let mut bytes = 0;
        for slot in self.slots.range_mut(first..) {
            if read.len() == max_revisions || bytes >= max_bytes {
                break;
            }
            bytes += slot.bytes;
            let shared = slot.shared.get_or_insert_with(|| SharedRevision::new(Arc::clone(&slot.source)));
            read.push(Arc::clone(shared));
        }
        Some(read)
    }
}
