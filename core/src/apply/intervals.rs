//! Whether a transaction would put a key twice, or put one that it also deletes.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use keelkv_proto::etcdserverpb::RequestOp;
use keelkv_proto::etcdserverpb::request_op::Request;

use super::check::after;
use crate::types::{Code, Result};

/// Looks through one branch, with everything nested in it.
pub(super) fn check(ops: &[RequestOp]) -> Result<()> {
    collect(ops).map(drop)
}

/// What a branch can change, whichever way its comparisons go.
#[derive(Default)]
struct Touched {
    puts: BTreeSet<Bytes>,
    /// Disjoint intervals, by their start.
    deletions: BTreeMap<Bytes, Bytes>,
}

fn collect(ops: &[RequestOp]) -> Result<Touched> {
    let mut all = Touched::default();
    for op in ops {
        if let Some(Request::RequestDeleteRange(deletion)) = &op.request {
            // etcd takes the end as it stands: one of a single zero byte, which means everything from
            // the key on, lies before any key, and the deletion meets no put.
            let end = if deletion.range_end.is_empty() { after(&deletion.key) } else { deletion.range_end.clone() };
            all.delete(deletion.key.clone(), end);
        }
    }
    for op in ops {
        if let Some(Request::RequestTxn(nested)) = &op.request {
            let taken = collect(&nested.success)?;
            let otherwise = collect(&nested.failure)?;
            for key in &taken.puts {
                all.put(key, false)?;
            }
            for key in &otherwise.puts {
                // Only one of the two branches is taken.
                all.put(key, taken.puts.contains(key))?;
            }
            for (start, end) in taken.deletions.into_iter().chain(otherwise.deletions) {
                all.delete(start, end);
            }
        }
    }
    for op in ops {
        if let Some(Request::RequestPut(put)) = &op.request {
            all.put(&put.key, false)?;
        }
    }
    Ok(all)
}

impl Touched {
    fn put(&mut self, key: &Bytes, again: bool) -> Result<()> {
        let deleted = self.deletions.range(..=key.clone()).next_back().is_some_and(|(_, end)| key < end);
        if (!self.puts.insert(key.clone()) && !again) || deleted {
            return Err(Code::DuplicateKey.into());
        }
        Ok(())
    }

    fn delete(&mut self, mut start: Bytes, mut end: Bytes) {
        if end <= start {
            return;
        }
        // Swallow what overlaps or touches, so that one look decides about a key.
        while let Some((before, until)) = self.deletions.range(..=end.clone()).next_back()
            && *until >= start
        {
            let before = before.clone();
            let until = self.deletions.remove(&before).unwrap_or_default();
            end = end.max(until);
            start = start.min(before);
        }
        self.deletions.insert(start, end);
    }
}
