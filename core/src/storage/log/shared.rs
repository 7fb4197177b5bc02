//! What callers and the log's thread both see.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::disk::DiskFile;
use super::entries::{Entries, Place};
use super::entry::{Content, EntryId, SavedVote};
use super::job::{Job, Work};
use crate::env::Queue;

/// The state behind every handle of a log.
pub(super) struct Shared<C> {
    pub(super) state: Mutex<State<C>>,
    pub(super) tail_limit: usize,
    /// Why the log takes nothing any more.
    pub(super) failed: watch::Sender<Option<Arc<str>>>,
    /// Whether there is room for another segment.
    pub(super) room: watch::Sender<bool>,
    /// Since when the log's thread has been writing, in nanoseconds of the member's clock and one more; 0 while it waits.
    pub(super) busy_ns: AtomicU64,
    /// Wakes the keeper, which sleeps while nothing is written.
    pub(super) activity: Notify,
}

pub(super) struct State<C> {
    pub(super) vote: Option<SavedVote>,
    pub(super) committed: Option<EntryId>,
    pub(super) entries: Entries<C>,
    /// Segments by generation, for reading old entries.
    pub(super) files: BTreeMap<u64, Arc<dyn DiskFile>>,
    /// None once the log is closed.
    pub(super) queue: Option<Queue<Job>>,
    /// Put off until the next job.
    pub(super) lazy_purge: Option<EntryId>,
    pub(super) lazy_committed: Option<EntryId>,
    /// Counts jobs, so that the keeper sees whether there were any.
    pub(super) jobs: u64,
    /// Whether the keeper looks after the log already.
    pub(super) watched: bool,
    pub(super) failure: Option<Arc<str>>,
}

impl<C> Shared<C> {
    /// Closes the log behind what waits; the queue, unless it was closed before.
    pub(super) fn close(&self) -> Option<Queue<Job>> {
        let mut state = self.state.lock();
        // A log that failed has nothing more to write down.
        let _ = state.submit(Work::Idle);
        let queue = state.queue.take();
        drop(state);
        self.activity.notify_one();
        queue
    }
}

impl<C> State<C> {
    /// Queues a job behind all earlier ones. Fails if the log takes nothing any more.
    pub(super) fn submit(&mut self, work: Work) -> io::Result<()> {
        self.check()?;
        let job = Job { purge: self.lazy_purge.take(), committed: self.lazy_committed.take(), work };
        if let Some(queue) = &self.queue {
            queue.push(job);
        }
        self.jobs += 1;
        Ok(())
    }

    /// Whether the log still works.
    pub(super) fn check(&self) -> io::Result<()> {
        if let Some(failure) = &self.failure {
            return Err(io::Error::other(failure.to_string()));
        }
        if self.queue.is_none() {
            return Err(io::Error::other("the log is closed"));
        }
        Ok(())
    }
}

/// What the log's thread reports. Apart from the type of the contents, which it does not know.
pub(super) trait Report: Send + Sync {
    /// Entries were written.
    fn written(&self, places: &[(EntryId, Place)]);
    /// A segment is in use from now on.
    fn opened(&self, generation: u64, file: Arc<dyn DiskFile>);
    /// A segment is not needed any more. True: nobody reads it, and it may be written over.
    fn released(&self, generation: u64) -> bool;
    /// Nothing can be written any more.
    fn failed(&self, reason: &str);
    /// The log's thread begins to write, or has written and synced all that there was.
    fn busy(&self, since: Option<Duration>);
    /// Whether the next segment could be reserved.
    fn room(&self, there_is: bool);
    /// The log's own queue, unless it was closed.
    fn queue(&self) -> Option<Queue<Job>>;
}

impl<C: Content> Report for Shared<C> {
    fn written(&self, places: &[(EntryId, Place)]) {
        let mut state = self.state.lock();
        for (id, place) in places {
            state.entries.place(*id, *place);
        }
        state.entries.evict(self.tail_limit);
    }

    fn opened(&self, generation: u64, file: Arc<dyn DiskFile>) {
        self.state.lock().files.insert(generation, file);
    }

    fn released(&self, generation: u64) -> bool {
        let file = self.state.lock().files.remove(&generation);
        file.is_none_or(|file| Arc::strong_count(&file) == 1)
    }

    fn failed(&self, reason: &str) {
        let reason: Arc<str> = reason.into();
        self.state.lock().failure.get_or_insert_with(|| Arc::clone(&reason));
        self.failed.send_if_modified(|failed| failed.is_none() && failed.replace(reason).is_none());
    }

    fn busy(&self, since: Option<Duration>) {
        let since =
            since.map_or(0, |since| u64::try_from(since.as_nanos()).map_or(u64::MAX, |ns| ns.saturating_add(1)));
        self.busy_ns.store(since, Ordering::Relaxed);
    }

    fn room(&self, there_is: bool) {
        self.room.send_if_modified(|room| std::mem::replace(room, there_is) != there_is);
        if !there_is {
            self.activity.notify_one();
        }
    }

    fn queue(&self) -> Option<Queue<Job>> {
        self.state.lock().queue.clone()
    }
}
