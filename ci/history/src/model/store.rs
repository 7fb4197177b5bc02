//! The keys of a store at each of its revisions.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::record::{Blob, Event, KeyValue, Span};

/// The keys of a store at each of its revisions. The empty one is at revision 1.
#[derive(Clone, Debug)]
pub struct Store {
    revision: i64,
    keys: BTreeMap<Blob, Vec<Version>>,
    /// Of the last revision.
    leased: BTreeMap<i64, BTreeSet<Blob>>,
}

/// What a key became; none: deleted.
#[derive(Clone, Debug)]
struct Version {
    revision: i64,
    kv: Option<KeyValue>,
}

/// The store as it was at a revision.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    store: &'a Store,
    revision: i64,
}

impl Default for Store {
    fn default() -> Self {
        Self { revision: 1, keys: BTreeMap::new(), leased: BTreeMap::new() }
    }
}

impl Store {
    /// The last revision.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Makes the next revision.
    pub fn append(&mut self, events: &[Event]) {
        self.revision += 1;
        for event in events {
            let key = &event.kv.key;
            let versions = self.keys.entry(key.clone()).or_default();
            let before = versions.last().and_then(|version| version.kv.as_ref()).map_or(0, |kv| kv.lease);
            if let Some(keys) = self.leased.get_mut(&before) {
                keys.remove(key);
                if keys.is_empty() {
                    self.leased.remove(&before);
                }
            }
            let kv = (!event.deleted).then(|| event.kv.clone());
            if let Some(kv) = kv.as_ref().filter(|kv| kv.lease != 0) {
                self.leased.entry(kv.lease).or_default().insert(key.clone());
            }
            match versions.last_mut() {
                Some(last) if last.revision == self.revision => last.kv = kv,
                _ => versions.push(Version { revision: self.revision, kv }),
            }
        }
    }

    /// The store as it was.
    pub fn at(&self, revision: i64) -> View<'_> {
        View { store: self, revision }
    }

    /// The store as it is.
    pub fn now(&self) -> View<'_> {
        self.at(self.revision)
    }
}

impl<'a> View<'a> {
    /// Of which moment it is.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The same store at another moment.
    #[must_use]
    pub fn at(&self, revision: i64) -> Self {
        Self { revision, ..*self }
    }

    /// A key.
    pub fn get(&self, key: &Blob) -> Option<&'a KeyValue> {
        self.kv_of(self.store.keys.get(key)?)
    }

    /// Keys in order.
    pub fn range(&self, span: &Span) -> impl Iterator<Item = &'a KeyValue> + use<'a> {
        let view = *self;
        let end = if span.end.is_empty() {
            Bound::Included(span.key.clone())
        } else if span.is_open() {
            Bound::Unbounded
        } else {
            // A range that ends before it begins has no keys.
            Bound::Excluded(span.end.clone().max(span.key.clone()))
        };
        let keys = self.store.keys.range((Bound::Included(span.key.clone()), end));
        keys.filter_map(move |(_, versions)| view.kv_of(versions))
    }

    /// The keys that hold a lease, in order.
    pub fn leased(&self, lease: i64) -> Vec<Blob> {
        if self.revision == self.store.revision {
            return self.store.leased.get(&lease).into_iter().flatten().cloned().collect();
        }
        self.range(&Span::all()).filter(|kv| kv.lease == lease).map(|kv| kv.key.clone()).collect()
    }

    fn kv_of(&self, versions: &'a [Version]) -> Option<&'a KeyValue> {
        let later = versions.partition_point(|version| version.revision <= self.revision);
        versions[..later].last()?.kv.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &str, revision: i64, lease: i64) -> Event {
        let kv = KeyValue {
            key: key.into(),
            modified: revision,
            created: revision,
            version: 1,
            lease,
            ..Default::default()
        };
        Event { deleted: false, kv, prev: None }
    }

    #[test]
    fn each_revision_stays_as_it_was() {
        let mut store = Store::default();
        store.append(&[put("a", 2, 7), put("b", 2, 7)]);
        store.append(&[Event { deleted: true, ..put("a", 3, 0) }]);
        let keys = |revision| store.at(revision).range(&Span::all()).map(|kv| kv.key.to_string()).collect::<Vec<_>>();
        assert_eq!(keys(1), [""; 0]);
        assert_eq!(keys(2), ["a", "b"]);
        assert_eq!(keys(3), ["b"]);
        assert_eq!(store.now().leased(7), ["b".into()]);
        assert_eq!(store.at(2).leased(7).len(), 2);
        assert_eq!(store.now().range(&Span::between("b", "a")).count(), 0);
    }
}
