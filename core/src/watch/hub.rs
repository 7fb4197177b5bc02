//! The one place where changes come in and streams begin.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::counters::Counters;
use super::history::History;
use super::mailbox::Mailbox;
use super::options::{Options, Origin};
use super::registry::Registry;
use super::shared_revision::SharedRevision;
use super::stream::Stream;
use crate::env::Env;
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
    /// The newest revision when it was read.
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
        let mailbox = Arc::new(Mailbox::default());
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

    /// Tells of new revisions, in order and without a gap, once readers can see them and before
    /// anyone is told that they were made. `current` is the newest revision.
    pub fn publish(&self, revisions: Vec<Arc<RevisionEvents>>, current: i64) {
        let mut woken = Vec::new();
        self.registry.lock().publish(revisions, current, &mut woken);
        wake(&woken);
    }

    /// Tells that a snapshot took the place of the state, which is now at `current`.
    pub fn reset(&self, current: i64) {
        let mut woken = Vec::new();
        self.registry.lock().reset(current, &mut woken);
        wake(&woken);
    }

    /// Ends all streams, and those opened later.
    pub fn close(&self) {
        let all = self.registry.lock().close();
        for mailbox in all {
            mailbox.close();
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

    /// Reads a piece of the past from `from` on; `None` if that is compacted.
    pub(super) fn chunk(&self, from: i64, max_revisions: usize) -> Result<Option<Chunk>> {
        let history = self.history()?;
        if from < history.compacted() {
            return Ok(None);
        }
        let recent = {
            let mut registry = self.registry.lock();
            let read = registry.ring.read(from, max_revisions, self.options.chunk_bytes);
            read.map(|revisions| (revisions, registry.published))
        };
        let (revisions, current) = match recent {
            Some(read) => read,
            None => {
                let current = history.current();
                match history.events(from, max_revisions, self.options.chunk_bytes) {
                    Ok(events) => (events.into_iter().map(SharedRevision::new).collect(), current),
                    Err(error) if error.code() == Code::Compacted => return Ok(None),
                    Err(error) => return Err(error),
                }
            }
        };
        // If there was nothing to read, nothing lies between `from` and the newest revision.
        let next = revisions.last().map_or_else(|| from.max(current + 1), |last| last.revision() + 1);
        Ok(Some(Chunk { revisions, next, current }))
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("counters", &self.counters).finish_non_exhaustive()
    }
}

fn wake(mailboxes: &[Arc<Mailbox>]) {
    for mailbox in mailboxes {
        mailbox.wake();
    }
}
