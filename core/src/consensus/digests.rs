//! What the state came to at the last entries, for members to compare.

use std::collections::VecDeque;
use std::sync::Arc;

use keelkv_proto::keelkv::AppliedRecord;
use keelkv_proto::keelkv::peer::Digest;
use parking_lot::Mutex;

/// Digests that are kept. A member that is further behind than the newest so many entries is compared with those that
/// are kept at wider steps.
const NEWEST: usize = 1024;
/// Every so many entries one digest is told of: the same ones by all members, wherever each of them is.
const TOLD: u64 = 64;
/// Every so many entries one digest is kept for longer.
const STEP: u64 = 1024;
const SPARSE: usize = 1024;

/// The last digests of one member. Clones are handles of the same.
#[derive(Clone, Debug, Default)]
pub struct Digests {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    newest: VecDeque<Digest>,
    sparse: VecDeque<Digest>,
    replacements: u64,
}

impl Digests {
    /// The state after an entry.
    pub(super) fn applied(&self, applied: &AppliedRecord) {
        let digest = Digest { index: applied.index, digest: applied.digest };
        let mut kept = self.kept.lock();
        if kept.newest.len() == NEWEST {
            kept.newest.pop_front();
        }
        kept.newest.push_back(digest);
        if digest.index.is_multiple_of(STEP) {
            if kept.sparse.len() == SPARSE {
                kept.sparse.pop_front();
            }
            kept.sparse.push_back(digest);
        }
    }

    /// Another state has taken the place of this one: what was kept of it says nothing any more.
    pub(super) fn restart(&self, applied: &AppliedRecord) {
        {
            let mut kept = self.kept.lock();
            *kept = Kept { replacements: kept.replacements, ..Kept::default() };
        }
        self.applied(applied);
    }

    /// A state that went wrong was replaced.
    pub(super) fn count_replacement(&self) {
        self.kept.lock().replacements += 1;
    }

    /// How often a state that went wrong was replaced.
    pub fn replacements(&self) -> u64 {
        self.kept.lock().replacements
    }

    /// A few to compare: the newest, and some before it.
    pub fn sample(&self) -> Vec<Digest> {
        let kept = self.kept.lock();
        let last = kept.newest.back().map_or(0, |digest| digest.index);
        let told = kept.newest.iter().filter(|digest| digest.index == last || digest.index.is_multiple_of(TOLD));
        let older = kept.newest.front().map_or(0, |digest| digest.index);
        let sparse = kept.sparse.iter().rev().filter(|digest| digest.index < older).take(16);
        told.chain(sparse).copied().collect()
    }

    /// What the state came to at an entry, if that is still known.
    pub fn at(&self, index: u64) -> Option<u64> {
        let kept = self.kept.lock();
        let found = |digests: &VecDeque<Digest>| {
            let place = digests.binary_search_by_key(&index, |digest| digest.index).ok()?;
            Some(digests[place].digest)
        };
        found(&kept.newest).or_else(|| found(&kept.sparse))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_newest_and_some_older_ones() {
        let digests = Digests::default();
        for index in 1..=10 * STEP {
            digests.applied(&AppliedRecord { index, digest: index * 7, ..AppliedRecord::default() });
        }
        assert_eq!(digests.at(10 * STEP), Some(10 * STEP * 7));
        assert_eq!(digests.at(10 * STEP - 1000), Some((10 * STEP - 1000) * 7));
        assert_eq!(digests.at(3 * STEP), Some(3 * STEP * 7));
        assert_eq!(digests.at(3 * STEP + 1), None);
        let sample = digests.sample();
        assert!(sample.iter().all(|kept| kept.digest == kept.index * 7));
        assert_eq!(sample.len(), 16 + 9);
    }

    #[test]
    fn members_at_different_entries_tell_of_the_same_ones() {
        let of = |last: u64| {
            let digests = Digests::default();
            for index in 1..=last {
                digests.applied(&AppliedRecord { index, ..AppliedRecord::default() });
            }
            digests.sample().into_iter().map(|digest| digest.index).collect::<Vec<_>>()
        };
        let ahead = of(5000);
        let common = of(4990).into_iter().filter(|index| ahead.contains(index)).count();
        assert!(common >= 16, "{common} of {ahead:?}");
    }
}
