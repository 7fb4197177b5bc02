//! The index out of the history, at start.

use std::io;
use std::sync::Arc;

use keelkv_proto::keelkv::AppliedRecord;

use super::history;
use super::key_state::{Known, Versions};
use super::store::Store;
use super::tree::Tree;
use crate::env::planted;
use crate::storage::backing::Backing;
use crate::storage::engine::{EngineRead, Table};
use crate::types::Revision;

/// All changes of the history, in its order. Few large allocations: a start must not take more memory than what it
/// starts.
#[derive(Default)]
struct Changes {
    parts: Vec<Part>,
}

/// Up to [`PART`] changes; their keys lie one after the other.
#[derive(Default)]
struct Part {
    keys: Vec<u8>,
    changes: Vec<Change>,
}

struct Change {
    /// Where its key ends; it begins where the one before ends.
    key_end: usize,
    at: Revision,
    known: Option<Known>,
}

const PART: usize = 4096;

impl Changes {
    fn push(&mut self, key: &[u8], at: Revision, known: Option<Known>) {
        if self.parts.last().is_none_or(|part| part.changes.len() == PART) {
            self.parts.push(Part { keys: Vec::new(), changes: Vec::with_capacity(PART) });
        }
        let Some(part) = self.parts.last_mut() else { return };
        part.keys.extend_from_slice(key);
        part.changes.push(Change { key_end: part.keys.len(), at, known });
    }

    fn len(&self) -> usize {
        self.parts.last().map_or(0, |last| (self.parts.len() - 1) * PART + last.changes.len())
    }

    fn get(&self, place: u32) -> (&[u8], &Change) {
        let (part, place) = (&self.parts[place as usize / PART], place as usize % PART);
        let start = place.checked_sub(1).map_or(0, |before| part.changes[before].key_end);
        let change = &part.changes[place];
        (&part.keys[start..change.key_end], change)
    }

    fn keys(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len() as u32).map(|place| self.get(place).0)
    }
}

impl Store {
    /// Reads the index from the rows; values are not touched. Calls `leased` for every key that
    /// exists and has a lease, in the order of keys.
    pub(crate) fn load(
        backing: Backing,
        applied: &AppliedRecord,
        leased: impl FnMut(&[u8], i64),
    ) -> io::Result<Arc<Self>> {
        let store = Self::new(backing);
        store.reload(applied, leased)?;
        Ok(Arc::new(store))
    }

    /// [`Store::load`] again, when the rows were replaced by others.
    pub(crate) fn reload(&self, applied: &AppliedRecord, mut leased: impl FnMut(&[u8], i64)) -> io::Result<()> {
        let (mut current, compacted) = (applied.revision, applied.compact_revision);
        let (mut changes, mut bytes) = (Changes::default(), 0);
        history::visit(&self.backing, current, |row| {
            bytes += row.logical_bytes();
            changes.push(&row.record.key, row.at, row.known());
        })?;
        self.set_logical_bytes(bytes);
        if planted::is("revision-from-rows") {
            let rows = self.backing.scan(Table::Revisions, &[], &[], usize::MAX)?;
            let newest = rows.last().and_then(|(key, _)| key[..].try_into().ok());
            current = newest.map_or(1, i64::from_be_bytes);
        }
        let mut order = order(&changes).into_iter().map(|place| changes.get(place)).peekable();
        let keys = std::iter::from_fn(|| {
            loop {
                let (key, first) = order.next()?;
                let mut versions = Versions::new(first.at, first.known);
                let mut newest = first.known;
                while let Some((_, next)) = order.next_if(|(next, _)| *next == key) {
                    versions.push(next.at, next.known);
                    newest = next.known;
                }
                if versions.compact(compacted) {
                    continue;
                }
                if let Some(known) = newest
                    && known.lease != 0
                {
                    leased(key, known.lease);
                }
                return Some((key, versions));
            }
        });
        let tree = Tree::build(keys, current);
        *self.index.write() = tree;
        self.hashes.lock().clear();
        self.set_submitted(applied.index);
        self.publish(current, compacted);
        Ok(())
    }
}

/// The places of changes, by key, and of one key by revision. Comparing keys means to fetch them from
/// all over the memory, so as much of each as tells most of them apart is compared first.
fn order(changes: &Changes) -> Vec<u32> {
    let Some(first) = changes.keys().next() else { return Vec::new() };
    let shared = changes.keys().fold(first.len(), |shared, key| {
        let same = first[..shared].iter().zip(key).take_while(|(a, b)| a == b);
        same.count()
    });
    let start = |key: &[u8]| {
        let mut start = [0; 8];
        let length = (key.len() - shared).min(8);
        start[..length].copy_from_slice(&key[shared..shared + length]);
        u64::from_be_bytes(start)
    };
    let mut order: Vec<(u64, u32)> = changes.keys().map(start).zip(0..).collect();
    order.sort_unstable_by(|a, b| {
        let key = |place: u32| changes.get(place).0;
        a.0.cmp(&b.0).then_with(|| key(a.1).cmp(key(b.1))).then(a.1.cmp(&b.1))
    });
    order.into_iter().map(|(_, place)| place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_keys_and_then_of_revisions() {
        let long = "the same for more than eight bytes";
        let keys = ["", "a", "a\0", "a", "b", "a\0\0", &format!("{long}2"), long, &format!("{long}1"), long];
        for shared in ["", "/registry/"] {
            let mut changes = Changes::default();
            for (main, key) in (0..).zip(&keys) {
                changes.push(format!("{shared}{key}").as_bytes(), Revision::new(main, 0), None);
            }
            let mut expected: Vec<u32> = (0..10).collect();
            expected.sort_by_key(|place| changes.get(*place).0);
            assert_eq!(order(&changes), expected);
        }
        assert!(order(&Changes::default()).is_empty());
    }

    #[test]
    fn changes_are_found_across_parts() {
        let mut changes = Changes::default();
        for main in 0..2 * PART as i64 + 3 {
            assert_eq!(changes.len(), usize::try_from(main).unwrap());
            changes.push(main.to_string().as_bytes(), Revision::new(main, 0), None);
        }
        for place in [0, PART - 1, PART, 2 * PART + 2] {
            let (key, change) = changes.get(place as u32);
            assert_eq!((key, change.at.main), (place.to_string().as_bytes(), place as i64));
        }
    }
}
