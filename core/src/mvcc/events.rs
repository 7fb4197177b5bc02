//! The history as events.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::history::{self, Row};
use crate::storage::engine::EngineRead;
use crate::storage::values::values_in_order;
use crate::types::{Event, Revision, RevisionEvents};

/// Rows that are read at once.
const ROWS: usize = 256;
/// What an event takes beside key and value, about.
const EVENT_BYTES: usize = 64;

/// Reads whole revisions from `from` to `to`, until there are `max_revisions` of them or they take
/// `max_bytes`; at least one.
pub(super) fn read(
    rows: &dyn EngineRead,
    from: i64,
    to: i64,
    max_revisions: usize,
    max_bytes: usize,
) -> io::Result<Vec<Arc<RevisionEvents>>> {
    let mut done: Vec<Arc<RevisionEvents>> = Vec::new();
    let mut open: Vec<Event> = Vec::new();
    let mut bytes = 0;
    let mut at = Revision::new(from, 0);
    loop {
        let part = history::scan(rows, at, to, ROWS)?;
        let ended = part.len() < ROWS;
        at = part.last().map_or(at, |row| history::next(row.at));
        let puts: Vec<Revision> = part.iter().filter(|row| !row.record.tombstone).map(|row| row.at).collect();
        let mut values = values_in_order(rows, &puts)?.into_iter();
        for row in part {
            if open.last().is_some_and(|event| event.kv.mod_revision != row.at.main) {
                done.push(finish(std::mem::take(&mut open)));
                if done.len() >= max_revisions.max(1) || bytes >= max_bytes {
                    return Ok(done);
                }
            }
            let value = if row.record.tombstone {
                Bytes::new()
            } else {
                let value = values.next().flatten();
                value.ok_or_else(|| history::damaged(format!("the value of revision {} is gone", row.at)))?
            };
            bytes += row.record.key.len() + value.len() + EVENT_BYTES;
            open.push(event(&row, value));
        }
        if ended {
            if !open.is_empty() {
                done.push(finish(open));
            }
            return Ok(done);
        }
    }
}

fn event(row: &Row, value: Bytes) -> Event {
    let mut kv = row.key_value(value);
    kv.mod_revision = row.at.main;
    Event { kv, deleted: row.record.tombstone, replaced: row.replaced() }
}

fn finish(mut events: Vec<Event>) -> Arc<RevisionEvents> {
    let revision = events[0].kv.mod_revision;
    replaced_before(&mut events);
    Arc::new(RevisionEvents { revision, events })
}

/// Lets each event say what its revision replaced. That differs from what the change itself replaced
/// only if a key changed twice in one revision, which takes a deletion and a put.
pub(super) fn replaced_before(events: &mut [Event]) {
    let Some((first, others)) = events.split_first() else { return };
    if others.iter().all(|event| event.deleted == first.deleted) {
        return;
    }
    let mut before = BTreeMap::new();
    for event in events {
        let replaced = event.replaced;
        event.replaced = *before.entry(event.kv.key.clone()).or_insert(replaced);
    }
}
