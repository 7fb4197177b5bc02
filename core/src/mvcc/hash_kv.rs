//! etcd's HashKV: a checksum over the history as etcd's own file would have it.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use super::history::{self, Row};
use super::key_index::KeyIndex;
use super::read_error::ReadError;
use super::store::Store;
use super::view::View;
use crate::storage::values::values_in_order;
use crate::types::{Code, Error, KeyRange, Result, Revision};

/// Rows of one step.
const ROWS: usize = 128;
/// Bytes of values that one step reads, about.
const BYTES: u64 = 256 << 10;
/// Compactions whose hash is kept.
const KEPT: usize = 10;

/// A hash, and what it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvHash {
    /// The checksum.
    pub hash: u32,
    /// The compaction watermark under which it was taken; -1 if there was none.
    pub compact_revision: i64,
    /// The last revision in it.
    pub hash_revision: i64,
    /// The store's revision when it was asked for.
    pub current_revision: i64,
}

/// The checksum so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checksum(u32);

impl Checksum {
    pub(super) fn new() -> Self {
        Self(crc32c::crc32c(b"key"))
    }

    /// Adds a row as etcd writes it: key of 17 bytes, 18 for a deletion, and the protobuf form.
    pub(super) fn add(&mut self, row: &Row, value: Bytes) {
        let (key, length) = row.etcd_key();
        let kv = row.key_value(value).encode_to_vec();
        self.0 = crc32c::crc32c_append(crc32c::crc32c_append(self.0, &key[..length]), &kv);
    }

    pub(super) const fn value(self) -> u32 {
        self.0
    }
}

/// HashKV in steps of bounded size.
#[derive(Debug)]
pub struct HashKvWalk {
    store: Arc<Store>,
    asked: i64,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Known(KvHash),
    Walking { epoch: u64, plan: Plan, from: Revision, sum: Checksum },
}

/// Which rows count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Rows after this all count.
    pub(super) compacted: i64,
    /// Rows after this do not.
    pub(super) revision: i64,
    /// Of the rows at or below `compacted` those count that were visible at this revision.
    pub(super) visible_at: i64,
}

impl Plan {
    /// etcd leaves out what a compaction would have removed, unless no key is left at `revision`
    /// (`kept`): then nothing tells it what to leave out, and it takes what the last compaction kept.
    pub(super) const fn new(compacted: i64, revision: i64, kept: bool) -> Self {
        Self { compacted, revision, visible_at: if kept { revision } else { compacted } }
    }

    pub(super) fn has(&self, store: &Store, row: &Row) -> bool {
        if row.at.main > self.revision {
            return false;
        }
        if row.at.main > self.compacted {
            return true;
        }
        let state = store.index.read().state(&row.record.key, self.visible_at);
        !row.record.tombstone && state.is_some_and(|state| state.at == row.at)
    }
}

impl HashKvWalk {
    pub(super) fn start(store: Arc<Store>, revision: i64) -> Result<Self> {
        let mut this = Self {
            store,
            asked: revision,
            stage: Stage::Known(KvHash { hash: 0, compact_revision: 0, hash_revision: 0, current_revision: 0 }),
        };
        this.begin()?;
        Ok(this)
    }

    fn begin(&mut self) -> Result<()> {
        let epoch = self.store.epoch()?;
        let current = self.store.current();
        let kept = self.store.hashes.lock().iter().find(|hash| hash.hash_revision == self.asked).copied();
        if let Some(hash) = kept {
            self.stage = Stage::Known(KvHash { current_revision: current, ..hash });
            return Ok(());
        }
        let compacted = self.store.compacted();
        if self.asked > 0 && self.asked < compacted {
            return Err(Code::Compacted.into());
        }
        if self.asked > 0 && self.asked > current {
            return Err(Code::FutureRev.into());
        }
        let revision = if self.asked == 0 { current } else { self.asked };
        let view = View { store: &self.store, revision, compacted, unwritten: None };
        let plan = Plan::new(compacted, revision, view.count(&KeyRange::From(Bytes::new())) > 0);
        self.stage = Stage::Walking { epoch, plan, from: Revision::default(), sum: Checksum::new() };
        Ok(())
    }

    /// Goes on for a millisecond or less; the hash when it is complete.
    pub fn step(&mut self) -> Result<Option<KvHash>> {
        let (epoch, plan, mut from, mut sum) = match self.stage {
            Stage::Known(hash) => return Ok(Some(hash)),
            Stage::Walking { epoch, plan, from, sum } => (epoch, plan, from, sum),
        };
        let stepped = step(&self.store, &plan, &mut from, &mut sum);
        if self.store.compacted() != plan.compacted || self.store.epoch()? != epoch {
            // What was added up may have been half of the old state and half of the new.
            return self.begin().map(|()| None);
        }
        if stepped.map_err(Error::from)? {
            self.stage = Stage::Walking { epoch, plan, from, sum };
            return Ok(None);
        }
        let hash = KvHash {
            hash: sum.value(),
            compact_revision: plan.compacted,
            hash_revision: plan.revision,
            current_revision: self.store.current(),
        };
        self.stage = Stage::Known(hash);
        Ok(Some(hash))
    }
}

/// Adds some rows; false after the last.
pub(super) fn step(store: &Store, plan: &Plan, from: &mut Revision, sum: &mut Checksum) -> Result<bool, ReadError> {
    let rows = history::scan(&store.backing, *from, plan.revision, ROWS)?;
    let mut bytes = 0;
    let fits = |row: &&Row| {
        bytes += row.record.value_length;
        bytes <= BYTES
    };
    let part = &rows[..rows.iter().take_while(fits).count().max(1).min(rows.len())];
    let ended = rows.len() < ROWS && part.len() == rows.len();
    *from = part.last().map_or(*from, |row| history::next(row.at));
    let counted: Vec<Row> = part.iter().filter(|row| plan.has(store, row)).cloned().collect();
    add(store, &counted, sum)?;
    Ok(!ended)
}

fn add(store: &Store, rows: &[Row], sum: &mut Checksum) -> Result<(), ReadError> {
    let puts: Vec<Revision> = rows.iter().filter(|row| !row.record.tombstone).map(|row| row.at).collect();
    let mut values = values_in_order(&store.backing, &puts)?.into_iter();
    for row in rows {
        let value = if row.record.tombstone {
            Bytes::new()
        } else {
            values.next().flatten().ok_or(ReadError::Missing(row.at))?
        };
        sum.add(row, value);
    }
    Ok(())
}

impl Store {
    /// Keeps the hash that a compaction took.
    pub(super) fn keep_hash(&self, hash: KvHash) {
        let mut hashes = self.hashes.lock();
        hashes.push(hash);
        hashes.sort_by_key(|hash| hash.hash_revision);
        let surplus = hashes.len().saturating_sub(KEPT);
        hashes.drain(..surplus);
    }
}
