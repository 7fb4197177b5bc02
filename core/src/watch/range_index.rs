//! Who is interested in a key.

use std::collections::HashMap;

use bytes::Bytes;
use smallvec::SmallVec;

use super::intervals::Intervals;
use crate::types::KeyRange;

/// Ids filed under key ranges. Asking for a key costs the same however many ids are filed under
/// other keys.
#[derive(Debug)]
pub(super) struct RangeIndex {
    /// Only ever asked for one key: its order is never seen.
    single: HashMap<Bytes, SmallVec<[u32; 2]>>,
    intervals: Intervals,
}

impl RangeIndex {
    pub(super) fn new() -> Self {
        Self { single: HashMap::new(), intervals: Intervals::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.single.is_empty() && self.intervals.is_empty()
    }

    /// Files `id` under `range`.
    pub(super) fn insert(&mut self, range: &KeyRange, id: u32) {
        match range {
            KeyRange::Single(key) => self.single.entry(key.clone()).or_default().push(id),
            KeyRange::Interval(start, end) => self.intervals.insert(start, Some(end), id),
            KeyRange::From(start) => self.intervals.insert(start, None, id),
        }
    }

    /// Takes `id` out from under `range`. Cheapest for those that were filed last.
    pub(super) fn remove(&mut self, range: &KeyRange, id: u32) {
        match range {
            KeyRange::Single(key) => {
                let Some(ids) = self.single.get_mut(key) else { return };
                if let Some(place) = ids.iter().rposition(|filed| *filed == id) {
                    ids.swap_remove(place);
                }
                if ids.is_empty() {
                    self.single.remove(key);
                }
            }
            KeyRange::Interval(start, end) => self.intervals.remove(start, Some(end), id),
            KeyRange::From(start) => self.intervals.remove(start, None, id),
        }
    }

    /// Appends the ids that are filed under a range that contains `key`.
    pub(super) fn matches(&self, key: &[u8], found: &mut Vec<u32>) {
        if !self.single.is_empty()
            && let Some(ids) = self.single.get(key)
        {
            found.extend_from_slice(ids);
        }
        if !self.intervals.is_empty() {
            self.intervals.matches(key, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn range() -> impl Strategy<Value = KeyRange> {
        let key = proptest::collection::vec(0u8..4, 1..3).prop_map(Bytes::from);
        prop_oneof![
            key.clone().prop_map(KeyRange::Single),
            key.clone().prop_map(KeyRange::From),
            (key.clone(), key).prop_map(|(a, b)| KeyRange::Interval(a.clone().min(b.clone()), a.max(b))),
        ]
    }

    proptest! {
        #[test]
        fn finds_exactly_the_ranges_that_contain_the_key(
            steps in proptest::collection::vec((range(), any::<bool>(), any::<prop::sample::Index>()), 1..200),
            keys in proptest::collection::vec(proptest::collection::vec(0u8..4, 0..4), 8),
        ) {
            let mut index = RangeIndex::new();
            let mut filed: Vec<(KeyRange, u32)> = Vec::new();
            for (id, (range, remove, which)) in steps.into_iter().enumerate() {
                if remove && !filed.is_empty() {
                    let (range, id) = filed.swap_remove(which.index(filed.len()));
                    index.remove(&range, id);
                } else {
                    index.insert(&range, id as u32);
                    filed.push((range, id as u32));
                }
                for key in &keys {
                    let mut found = Vec::new();
                    index.matches(key, &mut found);
                    let unique: BTreeSet<u32> = found.iter().copied().collect();
                    prop_assert_eq!(unique.len(), found.len());
                    let expected: BTreeSet<u32> =
                        filed.iter().filter(|(range, _)| range.contains(key)).map(|(_, id)| *id).collect();
                    prop_assert_eq!(unique, expected);
                }
            }
            for (range, id) in filed {
                index.remove(&range, id);
            }
            prop_assert!(index.is_empty());
        }
    }
}
