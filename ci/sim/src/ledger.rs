//! What clients were promised, apart from the store that promised it.
//!
//! Every value written is unique, so each one found in the history says which request made it.

use std::collections::BTreeMap;
use std::sync::Arc;

use keelkv_core::types::RevisionEvents;

/// The requests of all lives and what became of them.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    next: u64,
    /// By value: the key, and the revision once it is acknowledged.
    writes: BTreeMap<u64, Write>,
    /// The greatest revision that any answer showed.
    pub(crate) seen: i64,
    /// HashKV at revisions whose compaction state cannot have changed since.
    hashes: BTreeMap<i64, (i64, u32)>,
}

#[derive(Debug)]
struct Write {
    key: Vec<u8>,
    acknowledged: Option<i64>,
    refused: bool,
}

impl Ledger {
    /// A value for a new write of `key`.
    pub(crate) fn begin(&mut self, key: &[u8]) -> u64 {
        self.next += 1;
        self.writes.insert(self.next, Write { key: key.to_vec(), acknowledged: None, refused: false });
        self.next
    }

    /// The write was acknowledged at a revision.
    pub(crate) fn acknowledge(&mut self, value: u64, revision: i64) {
        self.seen = self.seen.max(revision);
        if let Some(write) = self.writes.get_mut(&value) {
            write.acknowledged = Some(revision);
        }
    }

    /// The write was refused: it must never show.
    pub(crate) fn refuse(&mut self, value: u64) {
        if let Some(write) = self.writes.get_mut(&value) {
            write.refused = true;
        }
    }

    /// Remembers, or compares, the store's own hash at a revision.
    pub(crate) fn hash(&mut self, revision: i64, compacted: i64, hash: u32) -> Result<(), String> {
        match self.hashes.insert(revision, (compacted, hash)) {
            Some((then, before)) if then == compacted && before != hash => {
                Err(format!("hash at revision {revision} was {before:08x} and is {hash:08x}"))
            }
            _ => Ok(()),
        }
    }

    /// Holds a store's whole readable history against the promises.
    pub(crate) fn check(&self, current: i64, compacted: i64, history: &[Arc<RevisionEvents>]) -> Result<(), String> {
        if current < self.seen {
            return Err(format!("revision went back from {} to {current}", self.seen));
        }
        let mut expected = compacted.max(1) + 1;
        let mut found = BTreeMap::new();
        for change in history.iter().filter(|change| change.revision > compacted) {
            if change.revision != expected {
                return Err(format!("revision {expected} is missing, {} came", change.revision));
            }
            expected += 1;
            for event in change.events.iter().filter(|event| !event.deleted) {
                let text = std::str::from_utf8(&event.kv.value).map_err(|_| "a value that nobody wrote")?;
                let value: u64 = text.trim_end_matches('.').parse().map_err(|_| "a value that nobody wrote")?;
                let write = self.writes.get(&value).ok_or_else(|| format!("value {value} that nobody wrote"))?;
                if write.key != event.kv.key || write.refused {
                    return Err(format!("value {value} is where it must not be, at revision {}", change.revision));
                }
                if found.insert(value, change.revision).is_some() {
                    return Err(format!("value {value} was written twice"));
                }
            }
        }
        if expected != current + 1 && current > compacted.max(1) {
            return Err(format!("history ends at {}, the store is at {current}", expected - 1));
        }
        for (value, write) in &self.writes {
            if let Some(revision) = write.acknowledged
                && revision > compacted
                && found.get(value) != Some(&revision)
            {
                return Err(format!("write {value} was acknowledged at revision {revision} and is lost"));
            }
        }
        Ok(())
    }
}
