//! What the store must contain, from the writes that the history shows.

use std::collections::BTreeMap;

use bytes::Bytes;
use keelkv_proto::mvccpb::event::EventType;
use keelkv_proto::mvccpb::{Event, KeyValue};

use crate::write::{Change, Write};

/// The keys at one revision.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    revision: i64,
    keys: BTreeMap<Bytes, KeyValue>,
}

/// The revision of an empty store.
const FIRST_REVISION: i64 = 1;

impl Default for Model {
    fn default() -> Self {
        Self { revision: FIRST_REVISION, keys: BTreeMap::new() }
    }
}

impl Model {
    /// The last revision that was applied.
    pub(crate) fn revision(&self) -> i64 {
        self.revision
    }

    /// The keys in order.
    pub(crate) fn keys(&self) -> Vec<KeyValue> {
        self.keys.values().cloned().collect()
    }

    /// Applies a write as the next revision; gives the events that it has to cause.
    pub(crate) fn apply(&mut self, write: &Write) -> Vec<Event> {
        self.revision += 1;
        let revision = self.revision;
        let mut events = Vec::new();
        for change in &write.changes {
            match change {
                Change::Put(key, value) => {
                    let before = self.keys.get(key);
                    let pair = KeyValue {
                        key: key.clone(),
                        value: value.clone(),
                        create_revision: before.map_or(revision, |pair| pair.create_revision),
                        mod_revision: revision,
                        version: before.map_or(0, |pair| pair.version) + 1,
                        ..Default::default()
                    };
                    self.keys.insert(key.clone(), pair.clone());
                    events.push(event(EventType::Put, pair));
                }
                Change::Delete(key) => {
                    if self.keys.remove(key).is_some() {
                        let gone = KeyValue { key: key.clone(), mod_revision: revision, ..Default::default() };
                        events.push(event(EventType::Delete, gone));
                    }
                }
            }
        }
        events
    }
}

fn event(kind: EventType, pair: KeyValue) -> Event {
    Event { r#type: kind as i32, kv: Some(pair), prev_kv: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_count_from_creation_and_absent_keys_are_not_deleted() {
        let put = |id, value: &'static str| Write { id, changes: vec![Change::Put("a".into(), value.into())] };
        let mut model = Model::default();
        model.apply(&put(1, "x"));
        let events = model.apply(&put(2, "y"));
        let pair = events[0].kv.as_ref().unwrap();
        assert_eq!((pair.create_revision, pair.mod_revision, pair.version), (2, 3, 2));
        let changes = vec![Change::Delete("a".into()), Change::Delete("b".into())];
        assert_eq!(model.apply(&Write { id: 3, changes }).len(), 1);
        assert_eq!((model.revision(), model.keys().len()), (4, 0));
        assert_eq!(model.apply(&put(4, "z"))[0].kv.as_ref().unwrap().version, 1);
    }
}
