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
const STEPS: usize = 256;

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
/// passes the revision spoils it, and whoever reads has to look at the watermark afterwards.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) store: &'a Store,
    pub(crate) revision: i64,
    /// The compaction watermark, as the reader has to respect it.
    pub(crate) compacted: i64,
    pub(crate) unwritten: Option<&'a Unwritten>,
}

impl View<'_> {
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
        self.scan(range, limit, |part| {
            found.append(part);
            Ok(true)
        })?;
        Ok(found)
    }

    /// Hands over the keys of a range in order, at most `limit` and some at a time, until `each`
    /// answers false.
    pub(crate) fn scan(
        &self,
        range: &KeyRange,
        mut limit: usize,
        mut each: impl FnMut(&mut Vec<Found>) -> Result<bool, ReadError>,
    ) -> Result<(), ReadError> {
        if range.is_empty() || limit == 0 {
            return Ok(());
        }
        let mut from: Option<Box<[u8]>> = None;
        let mut states: Vec<(Bytes, KeyState)> = Vec::new();
        let mut found = Vec::new();
        loop {
            let mut collect = |key: &[u8], state: KeyState| {
                states.push((Bytes::copy_from_slice(key), state));
                limit -= 1;
                limit > 0
            };
            let scanned = self.store.index.read().scan(range, from.as_deref(), self.revision, STEPS, &mut collect);
            for (key, state) in states.drain(..) {
                found.push(self.resolve(key, state)?);
            }
            if !each(&mut found)? {
                return Ok(());
            }
            found.clear();
            match scanned {
                Scanned::Finished => return Ok(()),
                Scanned::Paused(_) if limit == 0 => return Ok(()),
                Scanned::Paused(next) => from = Some(next),
            }
        }
    }

    /// How many keys a range has.
    pub(crate) fn count(&self, range: &KeyRange) -> i64 {
        if let Some(count) = self.store.index.read().count(range, self.revision) {
            return count;
        }
        let mut count = 0;
        let mut from: Option<Box<[u8]>> = None;
        loop {
            let mut add = |_: &[u8], _: KeyState| {
                count += 1;
                true
            };
            let scanned = self.store.index.read().scan(range, from.as_deref(), self.revision, STEPS, &mut add);
            match scanned {
                Scanned::Finished => return count,
                Scanned::Paused(next) => from = Some(next),
            }
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
        if found.len() < 2 || self.unwritten.is_some() {
            return found
                .into_iter()
                .map(|found| {
                    let value = self.value(found.at)?;
                    Ok(found.key_value(value))
                })
                .collect();
        }
        let at: Vec<Revision> = found.iter().map(|found| found.at).collect();
        let values = self.store.backing.values(&at)?;
        found
            .into_iter()
            .zip(values)
            .map(|(found, value)| {
                let value = value.ok_or(ReadError::Missing(found.at))?;
                Ok(found.key_value(value))
            })
            .collect()
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
