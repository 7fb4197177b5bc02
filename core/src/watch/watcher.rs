//! One watcher, as its stream sees it.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use keelkv_proto::etcdserverpb::{WatchCreateRequest, WatchResponse};
use prost::Message;

use super::history::History;
use super::options::{Options, Origin};
use super::registry::Filters;
use super::shared_revision::SharedRevision;
use crate::types::{KeyRange, Result};

/// One response never holds more revisions than this.
const MAX_REVISIONS: usize = 1000;

/// A cursor on the revisions, and the events between it and the client.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) watch_id: i64,
    /// Its number in the registry.
    pub(super) entry: u32,
    pub(super) range: KeyRange,
    pub(super) filters: Filters,
    /// The revision at which the client wanted to start; 0 for now.
    pub(super) start: i64,
    pub(super) wants_previous: bool,
    pub(super) wants_fragments: bool,
    /// For those who asked for progress: whether nothing was sent since the last tick.
    pub(super) idle: Option<bool>,
    pub(super) stage: Stage,
    /// When behind: the first revision that it has not read.
    pub(super) next: i64,
    /// The store's revision when it last read the past: late events are sent under it.
    pub(super) read_at: i64,
    /// Events not yet sent, in order.
    queue: VecDeque<Queued>,
    /// A response that is being sent in parts: how many of the first events in the queue belong to it.
    parts: usize,
}

/// Where a watcher is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Events come by themselves.
    Live,
    /// It reads the past.
    Behind,
    /// Its place in the past is gone. It keeps its id until the client cancels it.
    Compacted,
    /// Canceled; its slot is about to be used again.
    Canceled,
}

#[derive(Debug)]
struct Queued {
    shared: Arc<SharedRevision>,
    event: u32,
    cost: u32,
    with_previous: bool,
}

impl Queued {
    /// Makes sure that the event is encoded in the form that this watcher gets; its length.
    fn resolve(&mut self, wants_previous: bool, history: &dyn History) -> Result<usize> {
        if !wants_previous {
            return Ok(self.shared.plain(self.event).len());
        }
        let (encoded, with_previous) = self.shared.with_previous(self.event, history)?;
        let length = encoded.len();
        self.with_previous = with_previous;
        Ok(length)
    }

    fn encoded(&self) -> &Bytes {
        if self.with_previous { self.shared.known_previous(self.event) } else { self.shared.plain(self.event) }
    }
}

/// Which events of the queue make the next message.
#[derive(Debug)]
pub(super) struct Selection {
    /// How many.
    pub(super) events: usize,
    /// Their encoded length.
    pub(super) bytes: usize,
    /// The revision for the header.
    pub(super) revision: i64,
    /// Whether more parts of the same response follow.
    pub(super) fragment: bool,
}

impl Watcher {
    pub(super) fn new(watch_id: i64, range: KeyRange, filters: Filters, create: &WatchCreateRequest) -> Self {
        Self {
            watch_id,
            entry: u32::MAX,
            range,
            filters,
            start: create.start_revision,
            wants_previous: create.prev_kv,
            wants_fragments: create.fragment,
            idle: create.progress_notify.then_some(true),
            stage: Stage::Live,
            next: create.start_revision,
            read_at: 0,
            queue: VecDeque::new(),
            parts: 0,
        }
    }

    /// Queues an event; true if it is the first in the queue.
    pub(super) fn push(&mut self, shared: Arc<SharedRevision>, event: u32, cost: u32) -> bool {
        self.queue.push_back(Queued { shared, event, cost, with_previous: false });
        self.queue.len() == 1
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Chooses what the next message holds. The queue must not be empty.
    pub(super) fn select(&mut self, options: &Options, origin: &Origin, history: &dyn History) -> Result<Selection> {
        if self.parts == 0 {
            let whole = self.select_whole(options.response_bytes, history)?;
            let too_large =
                || self.shell(origin, whole.revision, false).encoded_len() + whole.bytes >= options.fragment_bytes;
            if !(self.wants_fragments && whole.events > 1 && too_large()) {
                return Ok(whole);
            }
            self.parts = whole.events;
        }
        Ok(self.select_part(options.fragment_bytes, origin))
    }

    /// The message without its events, which are its last field and follow it.
    pub(super) fn shell(&self, origin: &Origin, revision: i64, fragment: bool) -> WatchResponse {
        WatchResponse {
            header: Some(origin.header(revision)),
            watch_id: self.watch_id,
            fragment,
            ..WatchResponse::default()
        }
    }

    /// Forgets the first `events` of the queue; what they cost.
    pub(super) fn sent(&mut self, events: usize) -> u64 {
        self.parts = self.parts.saturating_sub(events);
        self.idle = self.idle.map(|_| false);
        self.queue.drain(..events).map(|queued| u64::from(queued.cost)).sum()
    }

    /// Forgets the whole queue: how many events, and what they cost.
    pub(super) fn clear(&mut self) -> (usize, u64) {
        self.parts = 0;
        let events = self.queue.len();
        (events, self.queue.drain(..).map(|queued| u64::from(queued.cost)).sum())
    }

    /// The first `events` of the queue, encoded.
    pub(super) fn encoded(&self, events: usize) -> impl Iterator<Item = &Bytes> {
        self.queue.iter().take(events).map(Queued::encoded)
    }

    /// Whole revisions from the start of the queue, until they are enough for one response.
    fn select_whole(&mut self, enough: usize, history: &dyn History) -> Result<Selection> {
        let mut selection = Selection { events: 0, bytes: 0, revision: 0, fragment: false };
        let mut revisions = 0;
        for queued in &mut self.queue {
            let revision = queued.shared.revision();
            if revision != selection.revision {
                if selection.bytes >= enough || revisions == MAX_REVISIONS {
                    break;
                }
                revisions += 1;
                selection.revision = revision;
            }
            selection.bytes += queued.resolve(self.wants_previous, history)?;
            selection.events += 1;
        }
        selection.revision = selection.revision.max(self.read_at);
        Ok(selection)
    }

    /// The next part of a response that is too large: at least one event, and no second one that
    /// would reach the limit.
    fn select_part(&self, limit: usize, origin: &Origin) -> Selection {
        // All parts have the header of the whole.
        let last = self.queue.get(self.parts - 1).map_or(0, |queued| queued.shared.revision());
        let revision = last.max(self.read_at);
        let shell = self.shell(origin, revision, true).encoded_len();
        let mut selection = Selection { events: 0, bytes: 0, revision, fragment: false };
        for queued in self.queue.iter().take(self.parts) {
            let length = queued.encoded().len();
            if selection.events > 0 && shell + selection.bytes + length >= limit {
                selection.fragment = true;
                break;
            }
            selection.events += 1;
            selection.bytes += length;
        }
        selection
    }
}
