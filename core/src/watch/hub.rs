//! The one place where changes come in and streams begin.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::counters::Counters;
use super::history::History;
use super::mailbox::Mailbox;
use super::options::{Options, Origin};
use super::registry::Registry;
use super::relay::Relay;
use super::shared_revision::SharedRevision;
use super::stream::Stream;
use crate::apply::EventSink;
use crate::env::{Env, planted};
use crate::types::{Code, Error, Result, RevisionEvents};

/// Takes what apply publishes to everyone who watches.
///
/// Publishing never waits for a stream: what does not fit into a stream's backlog, its watchers read
/// from the history later.
pub struct Hub {
    pub(super) env: Arc<dyn Env>,
    pub(super) options: Options,
    pub(super) origin: Origin,
    pub(super) registry: Mutex<Registry>,
    pub(super) counters: Arc<Counters>,
    history: OnceLock<Arc<dyn History>>,
}

/// What one step of catching up read.
pub(super) struct Chunk {
    pub(super) revisions: Vec<Arc<SharedRevision>>,
    /// The first revision that was not read.
    pub(super) next: i64,
    /// The newest published revision when it was read.
    pub(super) current: i64,
}

impl Hub {
    /// A hub without a past: see [`Hub::attach`].
    pub fn new(env: Arc<dyn Env>, options: Options, origin: Origin) -> Arc<Self> {
        let counters = Arc::new(Counters::default());
        let registry = Mutex::new(Registry::new(options.ring_bytes, options.backlog_bytes, Arc::clone(&counters)));
        Arc::new(Self { env, options, origin, registry, counters, history: OnceLock::new() })
    }

    /// Gives the hub the history that late watchers read. Once, before the first stream is opened.
    pub fn attach(&self, history: Arc<dyn History>) {
        let mut registry = self.registry.lock();
        let current = history.current();
        if registry.published < current {
            registry.ring.reset(current + 1);
            registry.published = current;
        }
        let _ = self.history.set(history);
    }

    /// Opens a stream. On a closed hub it has ended already.
    pub fn open(self: &Arc<Self>) -> Stream {
        self.open_stream(None)
    }

    /// Opens a stream that `relay` wakes.
    pub fn open_on(self: &Arc<Self>, relay: &Relay) -> Stream {
        self.open_stream(Some(relay.clone()))
    }

    /// Makes a relay for the streams of one thread.
    pub fn relay(&self) -> Relay {
        let relay = Relay::default();
        let mut registry = self.registry.lock();
        if registry.closed {
            relay.close();
        }
        registry.relays.push(relay.clone());
        relay
    }

    fn open_stream(self: &Arc<Self>, relay: Option<Relay>) -> Stream {
        let mailbox = Mailbox::new(relay);
        let id = {
            let mut registry = self.registry.lock();
            if registry.closed {
                mailbox.close();
            }
            registry.open_stream(Arc::clone(&mailbox))
        };
        self.counters.add_streams(1);
        Stream::new(Arc::clone(self), mailbox, id)
    }

    /// Ends all streams, and those opened later.
    pub fn close(&self) {
        let (mailboxes, relays) = self.registry.lock().close();
        for mailbox in mailboxes {
            mailbox.close();
        }
        for relay in relays {
            relay.close();
        }
    }

    /// Ends the streams that there are now: their watchers are canceled for this reason, and what waited for them is
    /// not sent any more. Those opened later are not concerned.
    pub fn end_streams(&self, why: &Error) {
        let mailboxes = self.registry.lock().mailboxes();
        for mailbox in mailboxes {
            mailbox.end(why);
        }
    }

    /// What has been counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(super) fn history(&self) -> Result<&dyn History> {
        match self.history.get() {
            Some(history) => Ok(history.as_ref()),
            None => Err(Error::new(Code::Internal, "watch hub has no history")),
        }
    }

    /// Reads a piece of the published past from `from` on; `None` if that is compacted.
    pub(super) fn chunk(&self, from: i64, max_revisions: usize) -> Result<Option<Chunk>> {
        let history = self.history()?;
        if from < history.compacted() {
            return Ok(None);
        }
        let from = from + i64::from(planted::is("watermark-not-watched") && from == history.compacted());
        let (recent, current) = {
            let mut registry = self.registry.lock();
            (registry.ring.read(from, max_revisions, self.options.chunk_bytes), registry.published)
        };
        let revisions: Vec<Arc<SharedRevision>> = match recent {
            Some(revisions) => revisions,
            None => match history.events(from, max_revisions, self.options.chunk_bytes) {
                // Readers may see what is not published yet. Its time comes: a watcher that heard of it
                // now would later be told of less progress than it has.
                Ok(events) => {
                    let published = events.into_iter().take_while(|made| made.revision <= current);
                    published.map(SharedRevision::new).collect()
                }
                Err(error) if error.code() == Code::Compacted => return Ok(None),
                Err(error) => return Err(error),
            },
        };
        // If there was nothing to read, nothing lies between `from` and the newest revision.
        let next = revisions.last().map_or_else(|| from.max(current + 1), |last| last.revision() + 1);
        Ok(Some(Chunk { revisions, next, current }))
    }
}

impl EventSink for Hub {
    fn publish(&self, mut revisions: Vec<Arc<RevisionEvents>>, current: i64) {
        if planted::is("watch-drops-last") {
            revisions.pop();
        }
        let mut woken = Vec::new();
        self.registry.lock().publish(revisions, current, &mut woken);
        wake(woken);
    }

    /// Those who are behind see the watermark when they read; those who are not have what they need.
    fn compacted(&self, _revision: i64) {}

    fn reset(&self, current: i64) {
        let mut woken = Vec::new();
        self.registry.lock().reset(current, &mut woken);
        wake(woken);
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("counters", &self.counters).finish_non_exhaustive()
    }
}

/// Wakes streams, those that have a relay through it.
fn wake(mut woken: Vec<Arc<Mailbox>>) {
    while let Some(last) = woken.last() {
        match last.relay().cloned() {
            Some(relay) => relay.call(&mut woken),
            None => {
                last.wake();
                woken.pop();
            }
        }
    }
}
