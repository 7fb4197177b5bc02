//! One client's stream of watch requests and responses.

mod catch_up;
mod output;
mod progress;
mod requests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use futures::future::BoxFuture;
use keelkv_proto::etcdserverpb::WatchResponse;

pub use self::output::Outgoing;
use super::hub::Hub;
use super::mailbox::{Item, Mailbox};
use super::range_index::RangeIndex;
use super::slab::Slab;
use super::watcher::{Stage, Watcher};
use crate::env::planted;
use crate::types::{Code, Error};

/// For how many watchers at a time something is done under the hub's lock: the publisher waits for it.
const LOCKED_WATCHERS: usize = 256;

/// A client's watchers, and what they have to say.
///
/// Whoever holds it passes requests in with [`Stream::request`] while [`Stream::accepts`], and takes
/// responses out with [`Stream::next`] (or the polling forms) as fast as the client reads them. What is
/// not taken waits here within a bound, then in the ring or the history. Nothing is lost if a call of
/// `next` is abandoned. Dropping the stream ends its watchers.
pub struct Stream {
    hub: Arc<Hub>,
    mailbox: Arc<Mailbox>,
    /// This stream's number in the registry.
    id: u32,
    watchers: Slab<Watcher>,
    /// Watch ids in use, with their slots.
    slots: BTreeMap<i64, u32>,
    next_id: i64,
    /// Watchers whose place in the past was compacted away.
    compacted: usize,

    /// Answers to requests and other messages without events: they are sent first.
    answers: VecDeque<WatchResponse>,
    /// Slots of watchers with queued events, in the order in which they are sent.
    ready: VecDeque<u32>,
    /// What has come from the publisher and is not yet given to the watchers.
    pending: VecDeque<Item>,
    /// How many of these stem from requests.
    requested: usize,
    /// Watchers that read the past, and which of them reads next.
    behind: BTreeSet<u32>,
    behind_index: RangeIndex,
    reads_next: u32,
    /// Whether the past or the present comes next, when both have something.
    past_first: bool,

    /// When it was opened, and how often idle watchers are told of their progress.
    opened: Duration,
    interval: Duration,
    tick: Option<BoxFuture<'static, ()>>,

    failure: Option<Error>,
    buffer: BytesMut,
    // Kept between calls for their memory only.
    taken: Vec<Item>,
    found: Vec<u32>,
}

impl Stream {
    pub(super) fn new(hub: Arc<Hub>, mailbox: Arc<Mailbox>, id: u32) -> Self {
        let opened = hub.env.now();
        let interval = progress::jittered(hub.options.progress_interval, hub.env.as_ref());
        Self {
            hub,
            mailbox,
            id,
            watchers: Slab::new(),
            slots: BTreeMap::new(),
            next_id: 0,
            compacted: 0,
            answers: VecDeque::new(),
            ready: VecDeque::new(),
            pending: VecDeque::new(),
            requested: 0,
            behind: BTreeSet::new(),
            behind_index: RangeIndex::new(),
            reads_next: 0,
            past_first: false,
            opened,
            interval,
            tick: None,
            failure: None,
            buffer: BytesMut::new(),
            taken: Vec::new(),
            found: Vec::new(),
        }
    }

    /// The next response; `None` when the stream has ended, and [`Stream::end`] says why.
    pub async fn next(&mut self) -> Option<Outgoing> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`Stream::next`].
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Outgoing>> {
        Poll::Ready(if std::task::ready!(self.poll_ready(cx)) { self.write_one() } else { None })
    }

    /// Appends responses to `out` until it holds `enough` bytes or there are no more at hand, each
    /// behind the five bytes that gRPC puts before a message. Waits for the first one; false when the
    /// stream has ended.
    pub fn poll_frames(&mut self, cx: &mut Context<'_>, out: &mut BytesMut, enough: usize) -> Poll<bool> {
        if !std::task::ready!(self.poll_ready(cx)) {
            return Poll::Ready(false);
        }
        while self.write_frame(out) && out.len() < enough && self.has_output() {}
        Poll::Ready(self.failure.is_none() || !out.is_empty())
    }

    /// Why the stream ended.
    pub fn end(&self) -> Error {
        self.failure.clone().unwrap_or_else(|| Code::WatchCanceled.into())
    }

    /// Whether something can be sent without waiting.
    fn has_output(&mut self) -> bool {
        while let Some(slot) = self.ready.front() {
            if self.watchers.get(*slot).is_some_and(|watcher| !watcher.is_empty()) {
                break;
            }
            self.ready.pop_front();
        }
        !self.answers.is_empty() || !self.ready.is_empty()
    }

    /// Waits until there is something to send; false when the stream has ended.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut has_read = false;
        loop {
            if self.failure.is_some() || self.mailbox.is_closed() {
                return Poll::Ready(false);
            }
            let ended = self.mailbox.ended().cloned();
            if let Some(why) = &ended {
                self.cancel_all(why);
            }
            if self.has_output() {
                return Poll::Ready(true);
            }
            if ended.is_some() {
                self.failure = ended;
                return Poll::Ready(false);
            }
            self.poll_tick(cx);
            self.collect();
            if !self.pending.is_empty() && (!self.past_first || self.behind.is_empty()) {
                self.past_first = true;
                self.distribute();
                continue;
            }
            if !self.behind.is_empty() {
                if has_read {
                    // Let others on this thread have their turn: the past may be long.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                has_read = true;
                self.past_first = false;
                if let Err(error) = self.catch_up() {
                    self.failure = Some(error);
                }
                continue;
            }
            self.mailbox.register(cx.waker());
            if self.mailbox.is_empty() && !self.mailbox.is_closed() && self.mailbox.ended().is_none() {
                return Poll::Pending;
            }
        }
    }

    /// Takes over what the publisher has left.
    fn collect(&mut self) {
        self.mailbox.take(&mut self.taken);
        self.pending.extend(self.taken.drain(..));
    }

    /// Gives what came from the publisher to the watchers, up to a progress message: that is sent
    /// only when all before it is.
    fn distribute(&mut self) {
        let mut dropped = 0;
        let mut done = 0;
        while let Some(item) = self.pending.pop_front() {
            match item {
                Item::Event { slot, event, cost, shared } => match self.watchers.get_mut(slot) {
                    Some(watcher) if watcher.stage != Stage::Canceled => {
                        if watcher.push(shared, event, cost) {
                            self.ready.push_back(slot);
                        }
                    }
                    _ => {
                        dropped += 1;
                        done += u64::from(cost);
                    }
                },
                Item::Behind { slot, from } => {
                    if let Some(watcher) = self.watchers.get_mut(slot)
                        && watcher.stage == Stage::Live
                    {
                        watcher.next = from;
                        self.start_reading(slot);
                    }
                }
                Item::Progress { watch_id, revision } => {
                    if !self.ready.is_empty() && !planted::is("progress-ahead") {
                        self.pending.push_front(Item::Progress { watch_id, revision });
                        break;
                    }
                    if watch_id.is_none() {
                        self.requested -= 1;
                    }
                    self.answer_progress(watch_id, revision);
                }
                Item::Retire { slot } => {
                    self.requested -= 1;
                    self.watchers.remove(slot);
                }
            }
        }
        self.drop_events(dropped, done);
    }

    /// Accounts for events that are not sent after all.
    fn drop_events(&self, events: usize, cost: u64) {
        if events > 0 {
            self.hub.counters.add_pending(-(events as i64));
            self.mailbox.add_done(cost);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let entries: Vec<u32> = self.watchers.iter().map(|(_, watcher)| watcher.entry).collect();
        // Those filed last come first: they are found at once.
        for some in entries.rchunks(LOCKED_WATCHERS) {
            let mut registry = self.hub.registry.lock();
            for entry in some.iter().rev() {
                registry.remove(*entry);
            }
        }
        self.hub.registry.lock().close_stream(self.id);
        self.collect();
        let waiting = self.pending.iter().filter(|item| matches!(item, Item::Event { .. })).count();
        let queued: usize = self.watchers.iter_mut().map(|(_, watcher)| watcher.clear().0).sum();
        self.drop_events(waiting + queued, 0);
        self.hub.counters.add_watchers(-(self.slots.len() as i64));
        self.hub.counters.add_streams(-1);
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("id", &self.id)
            .field("watchers", &self.slots.len())
            .field("behind", &self.behind.len())
            .finish_non_exhaustive()
    }
}
