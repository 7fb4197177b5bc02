//! Changes, in the order of the log.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use keelkv_proto::keelkv::RevisionRecord;
use keelkv_proto::mvccpb::KeyValue;
use prost::Message;

use super::events;
use super::history;
use super::key_index::KeyIndex;
use super::key_state::Known;
use super::store::Store;
use super::view::{Unwritten, View};
use crate::env::planted;
use crate::storage::engine::{Batch, Table};
use crate::types::{Event, KeyRange, Revision, RevisionEvents};

/// The one writer of a store. It collects what the commands of one log entry change; the index has
/// it at once, the backing and the readers when the entry is done.
#[derive(Debug)]
pub(crate) struct Writer {
    store: Arc<Store>,
    current: i64,
    compacted: i64,
    unwritten: Unwritten,
    batch: Batch,
    room: BytesMut,
    revisions: Vec<Arc<RevisionEvents>>,
}

/// What one command changes: all at one store revision.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    events: Vec<Event>,
}

/// A key's lease before and after a change.
#[derive(Clone, Debug)]
pub(crate) struct LeaseMove {
    pub(crate) key: Bytes,
    pub(crate) from: i64,
    pub(crate) to: i64,
}

impl Writer {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self {
            current: store.current(),
            compacted: store.compacted(),
            store,
            unwritten: Unwritten::default(),
            batch: Batch::default(),
            room: BytesMut::new(),
            revisions: Vec::new(),
        }
    }

    /// The revision of the last finished command.
    pub(crate) const fn current(&self) -> i64 {
        self.current
    }

    pub(crate) const fn compacted(&self) -> i64 {
        self.compacted
    }

    pub(crate) const fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The rows that this entry changes so far; other tables may add theirs.
    pub(crate) const fn batch(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// The revision as it is for the next operation of a command that has made `changes`.
    pub(crate) fn revision(&self, changes: &Changes) -> i64 {
        self.current + i64::from(!changes.events.is_empty())
    }

    /// The keys as the next operation of a command sees them.
    pub(crate) fn view(&self, changes: &Changes) -> View<'_> {
        let asks_the_walk = planted::is("txn-asks-the-walk");
        View {
            store: &self.store,
            revision: self.revision(changes),
            compacted: if asks_the_walk { self.store.walked.borrow().revision } else { self.compacted },
            unwritten: Some(&self.unwritten),
        }
    }

    /// Puts a key; tells what became of its lease.
    pub(crate) fn put(&mut self, changes: &mut Changes, key: Bytes, value: Bytes, lease: i64) -> LeaseMove {
        let at = self.next(changes);
        let (known, replaced) = self.store.index.write().put(&key, at, lease);
        let Known { create, version, .. } = known;
        self.store.add_put_bytes((key.len() + value.len()) as u64);
        self.unwritten.add(at, known, value.clone());
        let kv = KeyValue { key, create_revision: create, mod_revision: at.main, version, value, lease };
        let moved = LeaseMove { key: kv.key.clone(), from: replaced.map_or(0, |replaced| replaced.lease), to: lease };
        self.record(changes, at, Event { kv, deleted: false, replaced: replaced.map(|replaced| replaced.at) });
        moved
    }

    /// Deletes a key if it exists; tells what became of its lease.
    pub(crate) fn delete(&mut self, changes: &mut Changes, key: Bytes) -> Option<LeaseMove> {
        let at = self.next(changes);
        let replaced = self.store.index.write().delete(&key, at)?;
        let kv = KeyValue { key, mod_revision: at.main, ..KeyValue::default() };
        let moved = LeaseMove { key: kv.key.clone(), from: replaced.lease, to: 0 };
        self.record(changes, at, Event { kv, deleted: true, replaced: Some(replaced.at) });
        Some(moved)
    }

    /// The keys of a range, copied: they are about to be changed.
    pub(crate) fn keys(&self, changes: &Changes, range: &KeyRange) -> Vec<Bytes> {
        let mut keys = Vec::new();
        let revision = self.revision(changes);
        let mut add = |key: &[u8], _| {
            keys.push(Bytes::copy_from_slice(key));
            true
        };
        let limit = if planted::is("delete-range-cut") { 4 } else { usize::MAX };
        if !range.is_empty() {
            self.store.index.read().scan(range, None, revision, limit, &mut add);
        }
        keys
    }

    fn next(&self, changes: &Changes) -> Revision {
        let sub = u32::try_from(changes.events.len()).unwrap_or(u32::MAX);
        Revision::new(self.current + 1, sub)
    }

    fn record(&mut self, changes: &mut Changes, at: Revision, event: Event) {
        self.store.add_logical_bytes(history::logical_bytes(event.kv.key.len(), event.kv.value.len() as u64));
        history::write(&mut self.batch, &mut self.room, at, &event);
        if changes.events.is_empty() {
            // Most revisions have one event, and all of them are kept for a while.
            changes.events.reserve_exact(1);
        }
        changes.events.push(event);
    }

    /// Ends a command: if it changed anything, the store is one revision further.
    pub(crate) fn finish(&mut self, changes: Changes, record: &RevisionRecord) {
        let mut events = changes.events;
        if events.is_empty() {
            return;
        }
        self.current += 1;
        self.room.extend_from_slice(&self.current.to_be_bytes());
        let key = self.room.split().freeze();
        record.encode_raw(&mut self.room);
        self.batch.put(Table::Revisions, key, self.room.split().freeze());
        events::replaced_before(&mut events);
        self.revisions.push(Arc::new(RevisionEvents { revision: self.current, events }));
    }

    /// Raises the watermark. Readers are bound by it once the entry is done.
    pub(crate) const fn compact(&mut self, revision: i64) {
        self.compacted = revision;
    }

    /// All changes of the entry, which is complete now.
    pub(crate) fn take_batch(&mut self) -> Batch {
        // Rows keep the room alive that they were encoded into, so every entry gets its own.
        self.room = BytesMut::with_capacity(self.batch.changes().len() * 64);
        std::mem::take(&mut self.batch)
    }

    /// Shows the entry to readers; its batch must be in the backing. Answers its events.
    pub(crate) fn publish(&mut self) -> Vec<Arc<RevisionEvents>> {
        self.unwritten.clear();
        self.store.publish(self.current, self.compacted);
        std::mem::take(&mut self.revisions)
    }
}
