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
        // Equal keys stay in the order of their revisions.
        changes.sort_by(|a, b| a.key.cmp(&b.key));
        let mut changes = changes.into_iter().peekable();
        let keys = std::iter::from_fn(|| {
            loop {
                let first = changes.next()?;
                let mut versions = Versions::new(first.at, first.known);
                let mut newest = first.known;
                while let Some(next) = changes.next_if(|next| next.key == first.key) {
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
                return Some((first.key, versions));
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
