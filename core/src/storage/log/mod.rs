//! The one log of a member: entries, vote, committed id and purge point, in the order in which they
//! were submitted, in segments of fixed size.
//!
//! ```text
//!  append, vote, truncate, purge ---> memory (entries are readable at once)
//!               |
//!             queue ---> Writer ---> segment file, one sync for all that waited ---> answers
//!                          |  ^
//!                          v  |
//!                        Preparer: makes the next segment, reuses purged ones
//!
//!  read ---> memory, or (older entries) a reader thread ---> segment files
//! ```
//!
//! What is acknowledged is on the disk. A failed write or sync is final: from then on the log takes
//! nothing, and says why. Only where space is reserved ahead may it run out; see [`Log::room`].

mod batch;
pub mod disk;
mod disk_file;
mod disk_unsynced;
mod entries;
mod entry;
mod error;
mod job;
mod keeper;
mod options;
mod preparer;
mod reader;
mod record;
mod recovery;
mod replay;
mod segment;
mod shared;
mod sim_disk;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};

pub use self::disk_file::FileDisk;
pub use self::disk_unsynced::UnsyncedDisk;
pub use self::entry::{Content, EntryId, SavedVote};
pub use self::error::OpenError;
pub use self::job::Done;
pub use self::options::{LogObserver, LogOptions};
pub use self::sim_disk::{Crash, SimDisk, SimFault};

use self::disk::Disk;
use self::entries::Mark;
use self::job::{QueuedEntry, Work};
use self::preparer::{Prepare, Preparer};
use self::reader::{Found, Read};
use self::record::STATE_RECORDS;
use self::recovery::{Live, Recovered, recover};
use self::replay::Replay;
use self::segment::Segment;
use self::shared::{Shared, State};
use self::writer::{Position, Writer, Written};
use crate::env::{Env, Queue};

/// A handle of the log; clones are handles of the same one. Dropping the last one closes it.
pub struct Log<C: Content> {
    inner: Arc<Inner<C>>,
}

struct Inner<C: Content> {
    shared: Arc<Shared<C>>,
    max_entry_bytes: usize,
    helpers: Mutex<Option<Helpers<C>>>,
}

/// The threads beside the log's own.
struct Helpers<C> {
    reader: Queue<Read<C>>,
    preparer: Queue<Prepare>,
}

impl<C: Content> Log<C> {
    /// Opens the log in `disk`, or begins a new one there. Blocks while it reads.
    pub fn open(env: &Arc<dyn Env>, disk: Arc<dyn Disk>, mut options: LogOptions) -> Result<Self, OpenError> {
        options.segment_bytes = whole_blocks(&options);
        let recovered = match recover(disk.as_ref(), options.tail_bytes)? {
            Some(recovered) => recovered,
            None => begin(env, disk.as_ref(), &options)?,
        };
        let Recovered { replay, live, offset, mut ready, spares, sequence, epoch } = recovered;
        let mut spares = VecDeque::from(spares);
        let Replay { vote, committed, entries, .. } = replay;
        let written = Written { vote, committed, purged: entries.purged(), last: entries.last() };
        if let (Some(active), true) = (live.last(), ready.is_empty())
            && active.segment.size - offset < (batch::BATCH_HEADER + STATE_RECORDS) as u64
        {
            ready.push(next_segment(disk.as_ref(), &active.segment, &options, spares.pop_front().as_deref())?);
        }
        let entries = entries
            .try_map(|(kind, bytes)| C::decode(kind, bytes))
            .map_err(OpenError::io("understand an entry of the log"))?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                vote,
                committed,
                entries,
                files: live.iter().map(|live| (live.segment.generation, Arc::clone(&live.file))).collect(),
                queue: None,
                lazy_purge: None,
                lazy_committed: None,
                jobs: 0,
                watched: false,
                failure: None,
            }),
            tail_limit: options.tail_bytes,
            failed: watch::Sender::new(None),
            room: watch::Sender::new(true),
            busy_ns: AtomicU64::new(0),
            activity: Notify::new(),
        });

        let mut preparer = Preparer::new(disk, options.spare_segments);
        let lost = || {
            let shared = Arc::downgrade(&shared);
            move |reason: &str| {
                if let Some(shared) = shared.upgrade() {
                    shared::Report::failed(&*shared, reason);
                }
            }
        };
        let preparer = Queue::start(env.as_ref(), "log-prepare", move |jobs| preparer.handle(jobs), lost());
        for name in spares {
            preparer.push(Prepare::Release { name, reusable: true });
        }
        let position = Position { live: live.into(), offset, ready: ready.into(), sequence, epoch: epoch + 1 };
        let (max_entry_bytes, idle) = (options.max_entry_bytes(), options.idle);
        let report = Arc::clone(&shared) as Arc<dyn shared::Report>;
        let mut writer = Writer::new(Arc::clone(env), options, report, preparer.clone(), position, written);
        writer.begin().map_err(OpenError::io("write to the log"))?;
        let queue = Queue::start(env.as_ref(), "log", move |jobs| writer.drain(jobs), lost());
        let read = |reads: VecDeque<Read<C>>| {
            for Read { entries, answer } in reads {
                // Whoever asked may have gone away.
                let _ = answer.send(entries.iter().map(|entry| entry.read()).collect());
            }
        };
        let reader = Queue::start(env.as_ref(), "log-read", read, lost());
        {
            let mut state = shared.state.lock();
            state.queue = Some(queue);
            let _ = state.submit(Work::Reserve);
        }
        keeper::start(env, &shared, idle);
        let helpers = Mutex::new(Some(Helpers { reader, preparer }));
        Ok(Self { inner: Arc::new(Inner { shared, max_entry_bytes, helpers }) })
    }

    /// Appends entries, which must follow the last one. They can be read when this returns; `done` is
    /// called once they are durable, or never will be. An error means that nothing was appended.
    pub fn append(&self, entries: impl IntoIterator<Item = (EntryId, C)>, done: Done) -> io::Result<()> {
        let mut queued = VecDeque::new();
        let mut contents = Vec::new();
        for (id, content) in entries {
            let bytes = content.encoded();
            if bytes.len() > self.inner.max_entry_bytes {
                let limit = self.inner.max_entry_bytes;
                let text = format!("entry {id} has {} bytes; a log segment takes {limit}", bytes.len());
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            queued.push_back(QueuedEntry { id, kind: content.kind(), bytes });
            contents.push(content);
        }
        let mut state = self.inner.shared.state.lock();
        state.check()?;
        let before = state.entries.last();
        for (entry, content) in queued.iter().zip(contents) {
            let mark = Mark { term: entry.id.term, length: entry.bytes.len() as u32, place: None };
            if let Err(error) = state.entries.push(entry.id, mark, content) {
                state.entries.truncate_after(before);
                return Err(error);
            }
        }
        state.submit(Work::Append { entries: queued, done })?;
        self.watch(state);
        Ok(())
    }

    /// Saves the vote; `done` is called once it is durable.
    pub fn save_vote(&self, vote: SavedVote, done: Done) -> io::Result<()> {
        let mut state = self.inner.shared.state.lock();
        state.submit(Work::Vote(vote, done))?;
        state.vote = Some(vote);
        self.watch(state);
        Ok(())
    }

    /// Notes that entries up to `id` are committed. Reaches the disk with the next write.
    pub fn save_committed(&self, id: EntryId) -> io::Result<()> {
        let mut state = self.inner.shared.state.lock();
        state.check()?;
        state.committed = Some(id);
        state.lazy_committed = Some(id);
        self.watch(state);
        Ok(())
    }

    /// Drops all entries after `last`; `None` drops all. Whatever is appended next is durable only
    /// together with this.
    pub fn truncate_after(&self, last: Option<EntryId>) -> io::Result<()> {
        let mut state = self.inner.shared.state.lock();
        state.check()?;
        let before = state.entries.indices().end;
        state.entries.truncate_after(last);
        if state.entries.indices().end < before {
            let last = state.entries.last();
            state.submit(Work::TruncateAfter(last))?;
            self.watch(state);
        }
        Ok(())
    }

    /// Drops all entries up to `upto`, whether or not the log reaches so far; it goes on after that.
    /// Reaches the disk with the next write, and only then are segments released.
    pub fn purge(&self, upto: EntryId) -> io::Result<()> {
        let mut state = self.inner.shared.state.lock();
        state.check()?;
        if state.entries.purged().is_none_or(|purged| purged.index < upto.index) {
            state.entries.purge(upto);
            state.lazy_purge = Some(upto);
            self.watch(state);
        }
        Ok(())
    }

    /// The entries of `range` that there are, from its start on, up to `max_bytes` of content, but at
    /// least one.
    pub async fn read(&self, range: Range<u64>, max_bytes: usize) -> io::Result<Vec<(EntryId, C)>> {
        let Found { on_disk, in_memory } = self.inner.shared.state.lock().find(range, max_bytes)?;
        if on_disk.is_empty() {
            return Ok(in_memory);
        }
        let (answer, answered) = oneshot::channel();
        match &*self.inner.helpers.lock() {
            Some(helpers) => helpers.reader.push(Read { entries: on_disk, answer }),
            None => return Err(io::Error::other("the log is closed")),
        }
        let mut entries = answered.await.map_err(io::Error::other)??;
        entries.extend(in_memory);
        Ok(entries)
    }

    /// The last vote saved.
    pub fn vote(&self) -> Option<SavedVote> {
        self.inner.shared.state.lock().vote
    }

    /// The last committed id saved. After a crash it may be an earlier one.
    pub fn committed(&self) -> Option<EntryId> {
        self.inner.shared.state.lock().committed
    }

    /// The newest entry that was purged.
    pub fn purged(&self) -> Option<EntryId> {
        self.inner.shared.state.lock().entries.purged()
    }

    /// The last entry, or the newest purged one if there is none.
    pub fn last(&self) -> Option<EntryId> {
        self.inner.shared.state.lock().entries.last()
    }

    /// The term of an entry, from memory.
    pub fn id_at(&self, index: u64) -> Option<EntryId> {
        self.inner.shared.state.lock().entries.get(index).map(|(id, ..)| id)
    }

    /// The longest content that an entry may have.
    pub fn max_entry_bytes(&self) -> usize {
        self.inner.max_entry_bytes
    }

    /// Segments that the log holds, without spare ones.
    pub fn segments(&self) -> usize {
        self.inner.shared.state.lock().files.len()
    }

    /// Why the log takes nothing any more. The member has to stop.
    pub fn failure(&self) -> Option<Arc<str>> {
        self.inner.shared.failed.borrow().clone()
    }

    /// Changes once, if the log fails.
    pub fn failed(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.inner.shared.failed.subscribe()
    }

    /// Whether the next segment is reserved or can be. While it is false, nothing that grows should be
    /// proposed: what is left of the current segment is for deletes and compactions. Beyond its end
    /// writes wait until there is room, which a purge can make.
    pub fn room(&self) -> watch::Receiver<bool> {
        self.inner.shared.room.subscribe()
    }

    /// For how long the write that is under way has been so, its sync included; `None` if there is none.
    pub fn unsynced_for(&self, now: Duration) -> Option<Duration> {
        let since = self.inner.shared.busy_ns.load(Ordering::Relaxed).checked_sub(1)?;
        Some(now.saturating_sub(Duration::from_nanos(since)))
    }

    /// Writes what waits, notes that it is durable, and lets go of all files and threads. From then on
    /// other handles get errors.
    pub async fn close(&self) {
        let queue = self.inner.shared.close();
        let helpers = self.inner.helpers.lock().take();
        if let Some(queue) = queue {
            queue.close().await;
        }
        if let Some(Helpers { reader, preparer }) = helpers {
            reader.close().await;
            preparer.close().await;
        }
        self.inner.shared.state.lock().files.clear();
    }

    /// Has the keeper look after the log, if it does not yet.
    fn watch(&self, mut state: parking_lot::MutexGuard<'_, State<C>>) {
        let sleeps = !std::mem::replace(&mut state.watched, true);
        drop(state);
        if sleeps {
            self.inner.shared.activity.notify_one();
        }
    }
}

impl<C: Content> Clone for Log<C> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<C: Content> Drop for Inner<C> {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl<C: Content> std::fmt::Debug for Log<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("purged", &self.purged()).field("last", &self.last()).finish_non_exhaustive()
    }
}

/// Begins a log where there is none, durably; one that is there stays as it is. [`Log::open`] does so too, but
/// whoever tells a lost log from a new one by what lies elsewhere must have begun it before that is written.
pub fn begin_if_missing(env: &Arc<dyn Env>, disk: &dyn Disk, options: &LogOptions) -> Result<(), OpenError> {
    let names = disk.list().map_err(OpenError::io("list the log's directory"))?;
    if names.iter().any(|name| Segment::parse_name(name).is_some()) {
        return Ok(());
    }
    let options = LogOptions { segment_bytes: whole_blocks(options), ..options.clone() };
    begin(env, disk, &options).map(drop)
}

fn whole_blocks(options: &LogOptions) -> u64 {
    options.segment_bytes.next_multiple_of(u64::from(options.block_bytes))
}

/// A log without anything in it.
fn begin(env: &Arc<dyn Env>, disk: &dyn Disk, options: &LogOptions) -> Result<Recovered, OpenError> {
    let before =
        Segment { generation: 0, identity: env.random(), size: options.segment_bytes, block: options.block_bytes };
    let first = next_segment(disk, &before, options, None)?;
    Ok(Recovered {
        replay: Replay::new(0),
        offset: first.segment.first_batch(),
        live: vec![first],
        ready: Vec::new(),
        spares: Vec::new(),
        sequence: 0,
        epoch: 0,
    })
}

/// Makes the segment after `before` now, from the file `spare` if there is one.
fn next_segment(
    disk: &dyn Disk,
    before: &Segment,
    options: &LogOptions,
    spare: Option<&str>,
) -> Result<Live, OpenError> {
    let segment = Segment {
        generation: before.generation + 1,
        size: options.segment_bytes,
        block: options.block_bytes,
        identity: before.identity,
    };
    let file = segment.create(disk, spare).map_err(OpenError::io("make a segment of the log"))?;
    Ok(Live { segment, file, highest: None })
}
