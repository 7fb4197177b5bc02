//! Values of recent and of often read revisions.

use std::hash::{BuildHasherDefault, Hasher};

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use crate::types::Revision;

/// What an entry takes besides its value: key, handle, bookkeeping of the cache and of the allocator.
const ENTRY_BYTES: u64 = 112;

/// A bounded cache from revision to value. The value of a revision never changes, so nothing here is
/// ever stale; it may only be older than a compaction, which is not the cache's to judge.
#[derive(Debug)]
pub(super) struct ValueCache {
    values: Cache<Revision, Bytes, Weight, BuildHasherDefault<RevisionHasher>>,
    value_bytes_max: usize,
}

impl ValueCache {
    pub(super) fn new(bytes: usize) -> Self {
        let entries = bytes / (ENTRY_BYTES as usize + 128) + 1;
        let lifecycle = DefaultLifecycle::default();
        let values = Cache::with(entries, bytes as u64, Weight, BuildHasherDefault::default(), lifecycle);
        Self { values, value_bytes_max: bytes / 16 }
    }

    pub(super) fn get(&self, at: Revision) -> Option<Bytes> {
        self.values.get(&at)
    }

    /// Keeps `value`, which must not share its memory with anything larger.
    pub(super) fn insert(&self, at: Revision, value: Bytes) {
        if value.len() <= self.value_bytes_max {
            self.values.insert(at, value);
        }
    }

    /// Whether nothing has to go for another value.
    pub(super) fn has_room(&self) -> bool {
        self.values.weight() < self.values.capacity() / 8 * 7
    }

    pub(super) fn clear(&self) {
        self.values.clear();
    }
}

#[derive(Clone, Debug)]
struct Weight;

impl Weighter<Revision, Bytes> for Weight {
    fn weight(&self, _at: &Revision, value: &Bytes) -> u64 {
        value.len() as u64 + ENTRY_BYTES
    }
}

/// Revisions are dense counters that no stranger chooses: a multiplication spreads them well, and
/// the same ones in every run.
#[derive(Debug, Default)]
struct RevisionHasher(u64);

impl Hasher for RevisionHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, part: u32) {
        self.write_u64(u64::from(part));
    }

    fn write_i64(&mut self, part: i64) {
        self.write_u64(part.cast_unsigned());
    }

    fn write_u64(&mut self, part: u64) {
        self.0 = (self.0.rotate_left(26) ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::hash::{BuildHasher, BuildHasherDefault};

    use super::*;

    #[test]
    fn stays_within_its_bytes() {
        let cache = ValueCache::new(100_000);
        for main in 0..10_000 {
            cache.insert(Revision::new(main, 0), vec![0; 100].into());
        }
        assert!(cache.values.weight() <= 100_000);
        assert!(cache.values.len() > 200, "{} entries only", cache.values.len());
        cache.insert(Revision::new(10_001, 0), vec![0; 50_000].into());
        assert_eq!(cache.get(Revision::new(10_001, 0)), None, "one value may not push out all others");
        cache.clear();
        assert_eq!(cache.values.len(), 0);
    }

    #[test]
    fn dense_revisions_spread() {
        let build = BuildHasherDefault::<RevisionHasher>::default();
        let (mut low, mut high) = (BTreeSet::new(), BTreeSet::new());
        for main in 0..4096_i64 {
            let hash = build.hash_one(Revision::new(main, 0));
            low.insert(hash & 0xfff);
            high.insert(hash >> 52);
        }
        // 4096 balls into 4096 boxes: a random function fills about 63 % of them.
        assert!(low.len() > 2_000, "{} of 4096 low parts", low.len());
        assert!(high.len() > 2_000, "{} of 4096 high parts", high.len());
    }
}
