//! The keys at one revision.

use bytes::Bytes;
use keelkv_proto::mvccpb::KeyValue;

use super::history::{self, Row};
use super::key_index::{KeyIndex, Scanned};
use super::key_state::{KeyState, Known};
use super::read_error::ReadError;
use super::store::Store;
use crate::storage::engine::{EngineRead, Table};
use crate::types::{KeyRange, Revision};

/// Keys that are looked at while the index is locked.
pub(super) const STEPS: usize = if cfg!(test) { 5 } else { 256 };

/// Changes of the log entry that is being applied: they are in the index, and not yet in the backing.
#[derive(Debug, Default)]
pub(crate) struct Unwritten {
    rows: Vec<(Revision, Known, Bytes)>,
}

impl Unwritten {
    pub(crate) fn add(&mut self, at: Revision, known: Known, value: Bytes) {
        self.rows.push((at, known, value));
    }

    pub(crate) fn clear(&mut self) {
        self.rows.clear();
        self.rows.shrink_to(1024);
    }

    fn find(&self, at: Revision) -> Option<&(Revision, Known, Bytes)> {
        let place = self.rows.binary_search_by_key(&at, |row| row.0).ok()?;
        Some(&self.rows[place])
    }
}

/// A key with its metadata, without its value.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) key: Bytes,
    pub(crate) at: Revision,
    pub(crate) known: Known,
}

impl Found {
    pub(crate) fn key_value(self, value: Bytes) -> KeyValue {
        KeyValue {
            key: self.key,
            create_revision: self.known.create,
            mod_revision: self.at.main,
            version: self.known.version,
            value,
            lease: self.known.lease,
        }
    }
}

/// A view on the store as it is after revision `revision`. It holds no lock: a compaction that
/// passes the revision spoils it. Whoever reads has to look at the watermark afterwards, or to hold
/// the revision meanwhile ([`Hold`](super::hold::Hold)).
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) store: &'a Store,
    pub(crate) revision: i64,
    /// The compaction watermark, as the reader has to respect it.
    pub(crate) compacted: i64,
    pub(crate) unwritten: Option<&'a Unwritten>,
}

impl View<'_> {
    /// As readers see it: without what the log entry that is being applied has changed. A bug if the entry reads it.
    pub(crate) fn before_entry(self) -> Self {
        Self { revision: self.store.current(), ..self }
    }

    /// One key.
    pub(crate) fn get(&self, key: &Bytes) -> Result<Option<Found>, ReadError> {
        let state = self.store.index.read().state(key, self.revision);
        state.map(|state| self.resolve(key.clone(), state)).transpose()
    }

    /// One key with its value.
    pub(crate) fn get_value(&self, key: &Bytes) -> Result<Option<KeyValue>, ReadError> {
        let Some(found) = self.get(key)? else { return Ok(None) };
        let value = self.value(found.at)?;
        Ok(Some(found.key_value(value)))
    }

    /// The keys of a range in order, at most `limit` of them.
    pub(crate) fn range(&self, range: &KeyRange, limit: usize) -> Result<Vec<Found>, ReadError> {
        if let KeyRange::Single(key) = range {
            return Ok(self.get(key)?.into_iter().collect());
        }
        let mut found = Vec::new();
        let mut from = None;
        loop {
            from = self.scan(range, from.as_deref(), limit - found.len(), &mut found)?;
            if from.is_none() {
                return Ok(found);
            }
        }
    }

    /// Looks at the next keys of a range, and appends those that exist, at most `limit`. Answers where
    /// to go on; `None` at the end of the range or the limit.
    pub(crate) fn scan(
        &self,
        range: &KeyRange,
        from: Option<&[u8]>,
        limit: usize,
        found: &mut Vec<Found>,
    ) -> Result<Option<Box<[u8]>>, ReadError> {
        if range.is_empty() || limit == 0 {
            return Ok(None);
        }
        let mut left = limit;
        let mut states: Vec<(Bytes, KeyState)> = Vec::new();
        let mut collect = |key: &[u8], state: KeyState| {
            states.push((Bytes::copy_from_slice(key), state));
            left -= 1;
            left > 0
        };
        let scanned = self.store.index.read().scan(range, from, self.revision, STEPS, &mut collect);
        for (key, state) in states {
            found.push(self.resolve(key, state)?);
        }
        Ok(match scanned {
            Scanned::Paused(next) if left > 0 => Some(next),
            Scanned::Paused(_) | Scanned::Finished => None,
        })
    }

    /// How many keys a range has.
    pub(crate) fn count(&self, range: &KeyRange) -> i64 {
        let mut counted = 0;
        let mut from = None;
        loop {
            from = self.count_on(range, from.as_deref(), &mut counted);
            if from.is_none() {
                return counted;
            }
        }
    }

    /// Counts on from a key (from the beginning without one). Mostly the index knows at once; where it
    /// does not, this goes on for some keys and answers where the next call begins.
    pub(crate) fn count_on(&self, range: &KeyRange, from: Option<&[u8]>, counted: &mut i64) -> Option<Box<[u8]>> {
        let index = self.store.index.read();
        if from.is_none()
            && let Some(count) = index.count(range, self.revision)
        {
            *counted = count;
            return None;
        }
        let mut add = |_: &[u8], _: KeyState| {
            *counted += 1;
            true
        };
        match index.scan(range, from, self.revision, STEPS, &mut add) {
            Scanned::Finished => None,
            Scanned::Paused(next) => Some(next),
        }
    }

    /// The value that was put at a revision.
    pub(crate) fn value(&self, at: Revision) -> Result<Bytes, ReadError> {
        if let Some((_, _, value)) = self.unwritten.and_then(|unwritten| unwritten.find(at)) {
            return Ok(value.clone());
        }
        self.store.backing.value(at)?.ok_or(ReadError::Missing(at))
    }

    /// Adds the values to what was found.
    pub(crate) fn with_values(&self, found: Vec<Found>) -> Result<Vec<KeyValue>, ReadError> {
        let mut kvs = Vec::with_capacity(found.len());
        self.add_values(found.into_iter(), &mut kvs)?;
        Ok(kvs)
    }

    /// Appends what was found, with its values; tells how many bytes these have.
    pub(crate) fn add_values(
        &self,
        found: impl ExactSizeIterator<Item = Found>,
        kvs: &mut Vec<KeyValue>,
    ) -> Result<usize, ReadError> {
        let mut bytes = 0;
        let mut add = |found: Found, value: Bytes| {
            bytes += value.len();
            kvs.push(found.key_value(value));
        };
        if found.len() < 2 {
            for found in found {
                let value = self.value(found.at)?;
                add(found, value);
            }
            return Ok(bytes);
        }
        let found: Vec<Found> = found.collect();
        let values = self.values(&found)?;
        found.into_iter().zip(values).for_each(|(found, value)| add(found, value));
        Ok(bytes)
    }

    /// The values of what was found.
    pub(super) fn values(&self, found: &[Found]) -> Result<Vec<Bytes>, ReadError> {
        if found.len() < 2 {
            return found.iter().map(|found| self.value(found.at)).collect();
        }
        let mut wanted = Vec::with_capacity(found.len());
        let mut recent = |at: Revision| {
            let row = self.unwritten.and_then(|unwritten| unwritten.find(at));
            if row.is_none() {
                wanted.push(at);
            }
            row.map(|(_, _, value)| value.clone())
        };
        let recent: Vec<Option<Bytes>> = found.iter().map(|found| recent(found.at)).collect();
        let mut written = self.store.backing.values(&wanted)?.into_iter();
        let both = recent.into_iter().map(|recent| recent.or_else(|| written.next().flatten()));
        found.iter().zip(both).map(|(found, value)| value.ok_or(ReadError::Missing(found.at))).collect()
    }

    /// Completes what the index says: of a key's older states it knows the revision only.
    fn resolve(&self, key: Bytes, state: KeyState) -> Result<Found, ReadError> {
        let at = state.at;
        if let Some(known) = state.known {
            return Ok(Found { key, at, known });
        }
        if let Some((_, known, _)) = self.unwritten.and_then(|unwritten| unwritten.find(at)) {
            return Ok(Found { key, at, known: *known });
        }
        let row = self.store.backing.get(Table::History, &at.to_key())?.ok_or(ReadError::Missing(at))?;
        let known = Row::decode(&at.to_key(), row)?.known();
        let known = known.ok_or_else(|| history::damaged(format!("{at} is a deletion, the index has a put")))?;
        Ok(Found { key, at, known })
    }
}
