//! One walk over the changes between two watermarks.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use keelkv_proto::keelkv::CompactionRecord;
use prost::Message;

use super::compaction::Job;
use super::hash_kv::{self, Checksum, KvHash, Plan};
use super::history::{self, Row};
use super::key_index::KeyIndex;
use super::store::Store;
use super::view::View;
use crate::env::planted;
use crate::storage::engine::{Batch, EngineRead, Table};
use crate::types::{KeyRange, Revision};

/// Key of the row in table System that says how far the walk has come.
pub(crate) const PROGRESS_KEY: &[u8] = b"compaction";
const FORMAT: u32 = 1;
/// Rows of one step.
const ROWS: usize = 256;
/// Keys that are trimmed while the index is locked.
const KEYS: usize = 32;
/// etcd hashes all that is left after each compaction, and answers HashKV for that revision with it
/// even after later compactions. Stores beyond these bounds do without: it would mean to read
/// everything every few minutes. Their HashKV of a compacted revision is computed when asked for.
const HASHED_KEYS_MAX: usize = 100_000;
const HASHED_BYTES_MAX: u64 = 256 << 20;

/// Up to which watermark the rows of a state are without those that compactions made unreadable.
pub(crate) fn removed_until(rows: &dyn EngineRead) -> io::Result<i64> {
    let Some(record) = rows.get(Table::System, PROGRESS_KEY)? else { return Ok(Store::NEVER_COMPACTED) };
    let record = CompactionRecord::decode(record).map_err(|error| history::damaged(error.to_string()))?;
    Ok(record.walked)
}

#[derive(Debug)]
pub(super) struct Walk {
    store: Arc<Store>,
    job: Job,
    stage: Stage,
    hash: Option<KvHash>,
    /// Whether there was any change between the watermarks.
    passed: bool,
    /// Changes that were removed.
    removed: u64,
}

#[derive(Debug)]
enum Stage {
    Planning,
    Hashing { plan: Plan, from: Revision, sum: Checksum },
    Removing { from: Revision },
}

impl Walk {
    pub(super) const fn new(store: Arc<Store>, job: Job) -> Self {
        Self { store, job, stage: Stage::Planning, hash: None, passed: false, removed: 0 }
    }

    /// How far the walk of an earlier run came.
    pub(super) fn restored(store: &Store) -> io::Result<i64> {
        removed_until(&store.backing)
    }

    /// Goes on a little; false when there is nothing left to do.
    pub(super) fn step(&mut self) -> io::Result<bool> {
        match self.stage {
            Stage::Planning => {
                self.stage = match self.plan()? {
                    Some(plan) => Stage::Hashing { plan, from: Revision::default(), sum: Checksum::new() },
                    None => self.removing(),
                };
                Ok(true)
            }
            Stage::Hashing { plan, mut from, mut sum } => {
                let more = hash_kv::step(&self.store, &plan, &mut from, &mut sum)?;
                if more {
                    self.stage = Stage::Hashing { plan, from, sum };
                } else {
                    self.hash = Some(KvHash {
                        hash: sum.value(),
                        compact_revision: plan.compacted,
                        hash_revision: plan.revision,
                        current_revision: plan.revision,
                    });
                    self.stage = self.removing();
                }
                Ok(true)
            }
            Stage::Removing { from } => self.remove(from),
        }
    }

    /// Whether there was anything between the watermarks.
    pub(super) const fn passed(&self) -> bool {
        self.passed
    }

    /// How many changes were removed.
    pub(super) const fn removed(&self) -> u64 {
        self.removed
    }

    fn removing(&self) -> Stage {
        Stage::Removing { from: Revision::new(self.job.from.max(0), 0) }
    }

    /// Which rows the hash of this compaction covers: all since the one before, and of the older ones
    /// those that this one keeps.
    fn plan(&self) -> io::Result<Option<Plan>> {
        let Job { from, to, hash } = self.job;
        if !hash || self.store.index.read().live() > HASHED_KEYS_MAX || self.store.backing.size()?.1 > HASHED_BYTES_MAX
        {
            return Ok(None);
        }
        let view = View { store: &self.store, revision: to, compacted: from, unwritten: None };
        let mut kept = view.count(&KeyRange::From(Bytes::new())) > 0;
        if !kept {
            let last = history::scan(&self.store.backing, Revision::new(to, 0), to, usize::MAX)?;
            kept = last.iter().any(|row| row.record.tombstone);
        }
        Ok(Some(Plan::new(from, to, kept)))
    }

    /// A row says which one it replaced: that one goes. A deletion goes itself once it lies below the
    /// watermark; at the watermark it stays, for those who watch from there.
    fn remove(&mut self, from: Revision) -> io::Result<bool> {
        let to = self.job.to;
        let rows = history::scan(&self.store.backing, from, to, ROWS)?;
        let (mut batch, mut removed) = (Batch::default(), Vec::new());
        let (mut bytes, mut deletions) = (0, 0);
        let delete = |batch: &mut Batch, table, at: Revision| batch.delete(table, at.to_key().to_vec());
        for row in &rows {
            if row.at.main > self.job.from
                && let Some(replaced) = row.replaced()
            {
                delete(&mut batch, Table::History, replaced);
                delete(&mut batch, Table::Values, replaced);
                removed.push(replaced);
            }
            if row.record.tombstone && (row.at.main < to || planted::is("deletion-compacted")) {
                delete(&mut batch, Table::History, row.at);
                bytes += row.logical_bytes();
                deletions += 1;
            }
        }
        let gone = |main: &i64| *main < to || planted::is("revision-from-rows");
        let revisions: BTreeSet<i64> = rows.iter().map(|row| row.at.main).filter(gone).collect();
        for main in revisions {
            batch.delete(Table::Revisions, main.to_be_bytes().to_vec());
        }
        self.trim(&rows);
        self.passed |= !rows.is_empty();
        self.removed += removed.len() as u64 + deletions;

        let last = rows.last().map(|row| row.at);
        let ended = rows.len() < ROWS;
        // The changes of a revision may go on in the next step.
        let walked = last.filter(|_| !ended).map_or(to, |last| last.main - 1);
        let record = CompactionRecord { format: FORMAT, walked };
        batch.put(Table::System, PROGRESS_KEY, record.encode_to_vec());
        bytes += self.logical_bytes(removed)?;
        self.store.submit_aside(batch);
        self.store.remove_logical_bytes(bytes);
        if let Some(last) = last.filter(|_| !ended) {
            self.stage = Stage::Removing { from: history::next(last) };
            return Ok(true);
        }
        if let Some(hash) = self.hash.take() {
            self.store.keep_hash(hash);
        }
        self.store.walked.send_modify(|walked| walked.revision = to);
        Ok(false)
    }

    /// What these changes count for. A walk that goes over them again, after a restart, does not find them any more.
    fn logical_bytes(&self, mut changes: Vec<Revision>) -> io::Result<u64> {
        changes.sort_unstable();
        let keys: Vec<Bytes> = changes.iter().map(|at| Bytes::copy_from_slice(&at.to_key())).collect();
        let rows = self.store.backing.get_many(Table::History, &keys)?;
        let rows = keys.iter().zip(rows).filter_map(|(key, row)| Some(Row::decode(key, row?)));
        rows.map(|row| row.map(|row| row.logical_bytes())).sum()
    }

    fn trim(&self, rows: &[Row]) {
        for some in rows.chunks(KEYS) {
            let mut index = self.store.index.write();
            for row in some {
                index.compact(&row.record.key, self.job.to);
            }
        }
    }
}
