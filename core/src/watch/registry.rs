//! Who watches what, and what has been published: everything under the hub's lock.

use std::sync::Arc;

use keelkv_proto::etcdserverpb::watch_create_request::FilterType;

use super::counters::Counters;
use super::mailbox::{Item, Mailbox};
use super::range_index::RangeIndex;
use super::relay::Relay;
use super::ring::Ring;
use super::shared_revision::{SharedRevision, weight};
use super::slab::Slab;
use crate::env::planted;
use crate::types::{Event, KeyRange, RevisionEvents};

/// What an event costs a stream's backlog besides the revision itself.
const ITEM_COST: usize = size_of::<Item>();

/// All streams and watchers, the index of the live ones, and the ring.
#[derive(Debug)]
pub(super) struct Registry {
    pub(super) published: i64,
    pub(super) ring: Ring,
    pub(super) closed: bool,
    pub(super) relays: Vec<Relay>,
    index: RangeIndex,
    watchers: Slab<Entry>,
    streams: Slab<StreamEntry>,
    backlog_bytes: u64,
    counters: Arc<Counters>,
    // Kept between calls for their memory only.
    found: Vec<u32>,
    fallen: Vec<u32>,
    touched: Vec<u32>,
}

/// What the publisher knows of a watcher.
#[derive(Debug)]
struct Entry {
    stream: u32,
    slot: u32,
    range: KeyRange,
    filters: Filters,
    /// Not interested in anything before this revision.
    from: i64,
    /// The last revision that was put into the mailbox, so that one revision is taken whole.
    last: i64,
    live: bool,
}

/// What the publisher knows of a stream.
#[derive(Debug)]
struct StreamEntry {
    mailbox: Arc<Mailbox>,
    staged: Vec<Item>,
    staged_events: usize,
    /// Cost of all event items ever put into the mailbox.
    queued: u64,
    /// What the backlog may still grow by in this publication.
    room: u64,
    /// The last revision whose own weight was counted.
    weighed: i64,
    /// Watchers that are not live.
    behind: usize,
}

/// Kinds of events that a watcher does not want.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Filters {
    no_put: bool,
    no_delete: bool,
}

impl Filters {
    pub(super) fn from_wire(filters: &[i32]) -> Self {
        Self {
            no_put: filters.contains(&(FilterType::Noput as i32)),
            no_delete: filters.contains(&(FilterType::Nodelete as i32)),
        }
    }

    pub(super) const fn drops(self, event: &Event) -> bool {
        if event.deleted { self.no_delete } else { self.no_put }
    }
}

/// A watcher as it came to stand in the registry.
pub(super) struct Added {
    pub(super) id: u32,
    pub(super) live: bool,
}

impl Registry {
    pub(super) fn new(ring_bytes: usize, backlog_bytes: usize, counters: Arc<Counters>) -> Self {
        Self {
            published: 0,
            ring: Ring::new(ring_bytes),
            closed: false,
            relays: Vec::new(),
            index: RangeIndex::new(),
            watchers: Slab::new(),
            streams: Slab::new(),
            backlog_bytes: backlog_bytes as u64,
            counters,
            found: Vec::new(),
            fallen: Vec::new(),
            touched: Vec::new(),
        }
    }

    pub(super) fn open_stream(&mut self, mailbox: Arc<Mailbox>) -> u32 {
        self.streams.insert(StreamEntry {
            mailbox,
            staged: Vec::new(),
            staged_events: 0,
            queued: 0,
            room: 0,
            weighed: 0,
            behind: 0,
        })
    }

    /// Forgets a stream whose watchers have all been removed.
    pub(super) fn close_stream(&mut self, stream: u32) {
        self.streams.remove(stream);
    }

    /// Adds a watcher. It is live at once unless it starts in the past.
    pub(super) fn add(&mut self, stream: u32, slot: u32, range: KeyRange, filters: Filters, start: i64) -> Added {
        let live = start == 0 || start > self.published;
        let first = if planted::is("future-watch-early") { 0 } else { start };
        let from = if live { first.max(self.published + 1) } else { start };
        let id = self.watchers.insert(Entry { stream, slot, range, filters, from, last: 0, live });
        if live {
            self.file(id);
        } else {
            self.count_behind(stream, 1);
        }
        Added { id, live }
    }

    /// Removes a watcher, live or not.
    pub(super) fn remove(&mut self, id: u32) {
        let Some(entry) = self.watchers.remove(id) else { return };
        if entry.live {
            self.index.remove(&entry.range, id);
        } else {
            self.count_behind(entry.stream, -1);
        }
    }

    /// Makes a watcher live again that has read everything before `next`, if that is everything
    /// published.
    pub(super) fn revive(&mut self, id: u32, next: i64) -> bool {
        if next + i64::from(planted::is("caught-up-too-early")) <= self.published {
            return false;
        }
        let Some(entry) = self.watchers.get_mut(id) else { return false };
        entry.from = next;
        entry.live = true;
        let stream = entry.stream;
        self.file(id);
        self.count_behind(stream, -1);
        true
    }

    pub(super) fn is_live(&self, id: u32) -> bool {
        self.watchers.get(id).is_some_and(|entry| entry.live)
    }

    /// Whether no watcher of the stream is behind.
    pub(super) fn all_live(&self, stream: u32) -> bool {
        self.streams.get(stream).is_some_and(|entry| entry.behind == 0)
    }

    /// Puts the events of new revisions into the mailboxes of those who watch them. The streams to
    /// wake are appended to `woken`.
    pub(super) fn publish(&mut self, revisions: Vec<Arc<RevisionEvents>>, current: i64, woken: &mut Vec<Arc<Mailbox>>) {
        for source in revisions {
            if source.revision != self.published + 1 {
                // Only before the first stream: what was published before does not reach up to this.
                self.ring.reset(source.revision);
            }
            let shared = if self.index.is_empty() { None } else { self.stage(&source) };
            self.published = source.revision;
            self.ring.push(source, shared);
        }
        self.published = self.published.max(current);
        self.deliver(woken);
    }

    /// After a snapshot took the place of the state: what lies between is not known here, so everyone
    /// must read it from the history.
    pub(super) fn reset(&mut self, current: i64, woken: &mut Vec<Arc<Mailbox>>) {
        let seen = self.published;
        self.ring.reset(current + 1);
        let mut fallen = std::mem::take(&mut self.fallen);
        fallen.extend(self.watchers.iter().filter(|(_, entry)| entry.live && entry.from <= current).map(|(id, _)| id));
        for id in fallen.iter().rev() {
            let from = self.watchers.get(*id).map_or(0, |entry| entry.from.max(seen + 1));
            self.fall_behind(*id, from);
        }
        fallen.clear();
        self.fallen = fallen;
        self.published = current;
        self.deliver(woken);
    }

    /// Takes no more streams; all mailboxes and relays that there are.
    pub(super) fn close(&mut self) -> (Vec<Arc<Mailbox>>, Vec<Relay>) {
        self.closed = true;
        (self.mailboxes(), std::mem::take(&mut self.relays))
    }

    /// Those of all streams.
    pub(super) fn mailboxes(&self) -> Vec<Arc<Mailbox>> {
        self.streams.iter().map(|(_, stream)| Arc::clone(&stream.mailbox)).collect()
    }

    /// Stages one revision for all live watchers that it concerns; its shared form, if there are any.
    fn stage(&mut self, source: &Arc<RevisionEvents>) -> Option<Arc<SharedRevision>> {
        let revision = source.revision;
        let mut shared: Option<Arc<SharedRevision>> = None;
        let mut found = std::mem::take(&mut self.found);
        for (number, event) in source.events.iter().enumerate() {
            found.clear();
            self.index.matches(&event.kv.key, &mut found);
            for id in &found {
                let Some(entry) = self.watchers.get_mut(*id) else { continue };
                if revision < entry.from || !entry.live || entry.filters.drops(event) {
                    continue;
                }
                let Some(stream) = self.streams.get_mut(entry.stream) else { continue };
                if stream.staged.is_empty() {
                    let waiting = stream.queued - stream.mailbox.done();
                    stream.room = self.backlog_bytes.saturating_sub(waiting);
                    self.touched.push(entry.stream);
                }
                if entry.last != revision || planted::is("event-again-in-revision") {
                    if stream.room == 0 {
                        // Out of the index once this revision is done with: `found` stems from it.
                        entry.live = false;
                        let from = revision + i64::from(planted::is("starved-watch-loses"));
                        stream.staged.push(Item::Behind { slot: entry.slot, from });
                        self.fallen.push(*id);
                        continue;
                    }
                    entry.last = revision;
                }
                let mut cost = ITEM_COST;
                if stream.weighed != revision {
                    stream.weighed = revision;
                    cost += weight(source);
                }
                let cost = u32::try_from(cost).unwrap_or(u32::MAX);
                stream.queued += u64::from(cost);
                stream.room = stream.room.saturating_sub(u64::from(cost));
                stream.staged_events += 1;
                let shared = Arc::clone(shared.get_or_insert_with(|| SharedRevision::new(Arc::clone(source))));
                stream.staged.push(Item::Event { slot: entry.slot, event: number as u32, cost, shared });
            }
        }
        self.found = found;
        while let Some(id) = self.fallen.pop() {
            let Some(entry) = self.watchers.get(id) else { continue };
            self.index.remove(&entry.range, id);
            let stream = entry.stream;
            self.count_behind(stream, 1);
        }
        shared
    }

    /// Takes a live watcher out of the index and tells its stream so.
    fn fall_behind(&mut self, id: u32, from: i64) {
        let Some(entry) = self.watchers.get_mut(id) else { return };
        entry.live = false;
        self.index.remove(&entry.range, id);
        let (stream, slot) = (entry.stream, entry.slot);
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.staged.push(Item::Behind { slot, from });
        }
        self.touched.push(stream);
        self.count_behind(stream, 1);
    }

    /// Moves what is staged into the mailboxes.
    fn deliver(&mut self, woken: &mut Vec<Arc<Mailbox>>) {
        let mut events = 0;
        for id in self.touched.drain(..) {
            let Some(stream) = self.streams.get_mut(id) else { continue };
            if stream.staged.is_empty() {
                continue;
            }
            events += std::mem::take(&mut stream.staged_events);
            stream.mailbox.put(&mut stream.staged);
            woken.push(Arc::clone(&stream.mailbox));
        }
        if events > 0 {
            self.counters.add_pending(events as i64);
        }
    }

    fn file(&mut self, id: u32) {
        if let Some(entry) = self.watchers.get(id) {
            self.index.insert(&entry.range, id);
        }
    }

    fn count_behind(&mut self, stream: u32, change: isize) {
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.behind = stream.behind.saturating_add_signed(change);
        }
        self.counters.add_slow(change as i64);
    }
}
