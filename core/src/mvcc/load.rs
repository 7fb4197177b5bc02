//! The index out of the history, at start.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use keelkv_proto::keelkv::AppliedRecord;

use super::history;
use super::key_state::{Known, Versions};
use super::store::Store;
use super::tree::Tree;
use crate::storage::backing::Backing;
use crate::types::Revision;

/// Rows that are read at once.
const ROWS: usize = 4096;

struct Change {
    key: Bytes,
    at: Revision,
    known: Option<Known>,
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
        let (current, compacted) = (applied.revision, applied.compact_revision);
        let mut changes = Vec::new();
        let mut from = Revision::default();
        loop {
            let rows = history::scan(&self.backing, from, current, ROWS)?;
            let ended = rows.len() < ROWS;
            from = rows.last().map_or(from, |row| history::next(row.at));
            for row in rows {
                let known = row.known();
                changes.push(Change { key: row.record.key, at: row.at, known });
            }
            if ended {
                break;
            }
        }
        let mut order = order(&changes).into_iter().map(|place| &changes[place as usize]).peekable();
        let keys = std::iter::from_fn(|| {
            loop {
                let first = order.next()?;
                let mut versions = Versions::new(first.at, first.known);
                let mut newest = first.known;
                while let Some(next) = order.next_if(|next| next.key == first.key) {
                    versions.push(next.at, next.known);
                    newest = next.known;
                }
                if versions.compact(compacted) {
                    continue;
                }
                if let Some(known) = newest
                    && known.lease != 0
                {
                    leased(&first.key, known.lease);
                }
                return Some((&first.key, versions));
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
fn order(changes: &[Change]) -> Vec<u32> {
    let Some((first, others)) = changes.split_first() else { return Vec::new() };
    let shared = others.iter().fold(first.key.len(), |shared, change| {
        let same = first.key[..shared].iter().zip(&change.key).take_while(|(a, b)| a == b);
        same.count()
    });
    let start = |key: &[u8]| {
        let mut start = [0; 16];
        let length = (key.len() - shared).min(16);
        start[..length].copy_from_slice(&key[shared..shared + length]);
        u128::from_be_bytes(start)
    };
    let mut order: Vec<(u128, u32)> = (0..).zip(changes).map(|(place, change)| (start(&change.key), place)).collect();
    order.sort_unstable_by(|a, b| {
        let key = |place: u32| &changes[place as usize].key;
        a.0.cmp(&b.0).then_with(|| key(a.1).cmp(key(b.1))).then(a.1.cmp(&b.1))
    });
    order.into_iter().map(|(_, place)| place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_keys_and_then_of_revisions() {
        let long = "the same for more than sixteen bytes";
        let keys = ["", "a", "a\0", "a", "b", "a\0\0", &format!("{long}2"), long, &format!("{long}1"), long];
        for shared in ["", "/registry/"] {
            let change = |(main, key): (i64, &&str)| Change {
                key: format!("{shared}{key}").into(),
                at: Revision::new(main, 0),
                known: None,
            };
            let changes: Vec<Change> = (0..).zip(&keys).map(change).collect();
            let mut expected: Vec<u32> = (0..10).collect();
            expected.sort_by_key(|place| &changes[*place as usize].key);
            assert_eq!(order(&changes), expected);
        }
        assert!(order(&[]).is_empty());
    }
}
