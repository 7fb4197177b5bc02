//! The two threads behind [`super::Backing`]: one writes into the engine, one flushes it.
//!
//! ```text
//! submit: overlay.add, wake writer
//! writer: overlay.oldest -> engine.write_all -> values into the cache -> overlay.remove_oldest
//!           | flush_bytes written since the last flush
//!           v
//! flusher: engine.room? -> engine.flush -> durable index; wake writer, which may have waited
//! ```
//!
//! Neither thread waits for the other inside a step, so a simulator can run both in turn.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{oneshot, watch};

use super::BackingOptions;
use super::cache::ValueCache;
use super::overlay::{Oldest, Overlay};
use crate::env::{Env, Queue};
use crate::storage::engine::{Batch, Change, Room, StateEngine, Table};
use crate::types::Revision;

/// Between two flushes, how often to look whether there is room for the next.
const LOOKS_PER_FLUSH: usize = 16;
/// What part of the usual is written between two flushes when the disk is nearly full.
const FLUSH_PART_WHEN_FULL: usize = 8;

/// Everything that handles and threads share. The threads hold it weakly: when the last handle goes,
/// they end.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) env: Arc<dyn Env>,
    pub(super) engine: Arc<dyn StateEngine>,
    pub(super) options: BackingOptions,
    pub(super) overlay: RwLock<Overlay>,
    pub(super) cache: ValueCache,
    /// Bytes in the overlay.
    pub(super) backlog: AtomicUsize,
    /// How many batches the engine has.
    pub(super) written: watch::Sender<u64>,
    pub(super) durable: watch::Sender<u64>,
    pub(super) room: watch::Sender<Room>,
    pub(super) failed: watch::Sender<Option<String>>,
    progress: Mutex<Progress>,
    pub(super) closed: watch::Sender<bool>,
    /// Nobody is to wait any more.
    pub(super) released: watch::Sender<bool>,
    writer: Mutex<Option<Queue<Pending>>>,
    flusher: Mutex<Option<Queue<FlushJob>>>,
}

/// There are batches in the overlay, or a flush has ended.
#[derive(Debug)]
struct Pending;

/// What the flusher is asked for.
#[derive(Debug)]
pub(super) enum FlushJob {
    /// Flush, and tell the one who asked, if anybody did.
    Flush(Option<oneshot::Sender<io::Result<u64>>>),
    /// Look after the disk and the engine.
    Check,
}

/// What the writer has done since the flusher last looked.
#[derive(Debug, Default)]
struct Progress {
    applied: u64,
    unflushed_bytes: usize,
    /// Written since anybody looked whether there is room.
    unlooked_bytes: usize,
    /// A flush was asked for because of `unflushed_bytes` and has not succeeded yet.
    flush_due: bool,
    /// The next check flushes once the engine has the batches before this one.
    flush_after: Option<u64>,
    /// The engine itself has run out of space, and no flush has succeeded since.
    stuck: bool,
}

impl Shared {
    pub(super) fn start(
        env: &Arc<dyn Env>,
        engine: Arc<dyn StateEngine>,
        options: BackingOptions,
        durable: u64,
    ) -> Arc<Self> {
        let shared = Arc::new(Self {
            cache: ValueCache::new(options.cache_bytes),
            env: Arc::clone(env),
            engine,
            options,
            overlay: RwLock::default(),
            backlog: AtomicUsize::new(0),
            written: watch::Sender::new(0),
            durable: watch::Sender::new(durable),
            room: watch::Sender::new(Room::Ample),
            failed: watch::Sender::new(None),
            progress: Mutex::new(Progress { applied: durable, ..Progress::default() }),
            closed: watch::Sender::new(false),
            released: watch::Sender::new(false),
            writer: Mutex::new(None),
            flusher: Mutex::new(None),
        });
        let lost = || {
            let shared = Arc::downgrade(&shared);
            move |reason: &str| {
                if let Some(shared) = shared.upgrade() {
                    shared.fail(reason);
                }
            }
        };
        let seen = Arc::downgrade(&shared);
        let flush = move |jobs| {
            if let Some(shared) = seen.upgrade() {
                shared.flush_step(jobs);
            }
        };
        *shared.flusher.lock() = Some(Queue::start(&**env, "state-flush", flush, lost()));
        let seen = Arc::downgrade(&shared);
        let write = move |_jobs| {
            if let Some(shared) = seen.upgrade() {
                shared.write_step();
            }
        };
        *shared.writer.lock() = Some(Queue::start(&**env, "state-write", write, lost()));
        env.spawn("state-check", Box::pin(check_regularly(Arc::clone(env), Arc::downgrade(&shared))));
        shared
    }

    pub(super) fn submit(&self, applied: u64, batch: Batch) {
        if *self.closed.borrow() {
            return;
        }
        let batch = Arc::new(batch);
        self.backlog.fetch_add(batch.bytes(), Ordering::Relaxed);
        self.overlay.write().add(applied, batch);
        self.wake_writer();
    }

    pub(super) fn ask_flusher(&self, job: FlushJob) -> io::Result<()> {
        match &*self.flusher.lock() {
            Some(queue) => queue.push(job),
            None => return Err(self.broken()),
        }
        Ok(())
    }

    /// Waits until everything submitted before this call is in the engine.
    pub(super) async fn settled(&self) -> io::Result<()> {
        let target = self.overlay.read().submitted();
        let mut written = self.written.subscribe();
        let mut failed = self.failed.subscribe();
        let mut closed = self.closed.subscribe();
        tokio::select! {
            biased;
            seen = written.wait_for(|written| *written >= target) => seen.map(drop).map_err(io::Error::other),
            _ = failed.wait_for(Option::is_some) => Err(self.broken()),
            _ = closed.wait_for(|closed| *closed) => Err(self.broken()),
        }
    }

    /// Writes and flushes everything submitted before this call.
    pub(super) async fn all_flushed(&self) -> io::Result<u64> {
        self.settled().await?;
        let (done, flushed) = oneshot::channel();
        self.ask_flusher(FlushJob::Flush(Some(done)))?;
        flushed.await.unwrap_or_else(|_| Err(self.broken()))
    }

    pub(super) fn flush_soon(&self) {
        let submitted = self.overlay.read().submitted();
        self.progress.lock().flush_after = Some(submitted);
    }

    /// Whether a check has to flush: an earlier flush found no room, or one was asked for.
    fn is_flush_due(&self) -> bool {
        let progress = self.progress.lock();
        progress.flush_due || progress.flush_after.is_some_and(|last| *self.written.borrow() >= last)
    }

    pub(super) async fn close(&self) {
        self.closed.send_replace(true);
        let writer = self.writer.lock().take();
        let flusher = self.flusher.lock().take();
        if let Some(queue) = writer {
            queue.close().await;
        }
        if let Some(queue) = flusher {
            queue.close().await;
        }
        self.engine.close();
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.failed.borrow().clone().or_else(|| self.engine.failure())
    }

    /// The error for whoever asks something of a store that works no more.
    pub(super) fn broken(&self) -> io::Error {
        io::Error::other(self.failure().unwrap_or_else(|| "the state store is closed".to_owned()))
    }

    pub(super) fn fail(&self, text: &str) {
        let first = self.failed.send_if_modified(|failed| {
            let first = failed.is_none();
            failed.get_or_insert_with(|| text.to_owned());
            first
        });
        if first {
            tracing::error!(error = text, "state engine has failed for good");
        }
    }

    fn wake_writer(&self) {
        if let Some(queue) = &*self.writer.lock() {
            queue.push(Pending);
        }
    }

    fn write_step(&self) {
        while self.failed.borrow().is_none() && !self.must_wait_for_flush() {
            let Some(oldest) = self.overlay.read().oldest(self.options.merge_bytes) else { return };
            let before = self.env.now();
            match self.engine.write_all(&oldest.batches) {
                Ok(()) => {
                    if let Some(observer) = &self.options.observer {
                        observer.written(self.env.now().saturating_sub(before));
                    }
                }
                // The flusher sees it too, and wakes us when there is room.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    return self.want_flush(&mut self.progress.lock());
                }
                Err(error) => return self.fail(&error.to_string()),
            }
            self.remember(&oldest);
            self.overlay.write().remove_oldest(oldest.batches.len());
            self.backlog.fetch_sub(oldest.bytes, Ordering::Relaxed);
            let look = self.count_written(&oldest);
            self.written.send_modify(|written| *written += oldest.batches.len() as u64);
            // The flusher may be busy just when the disk fills up.
            if look && let Err(error) = self.look() {
                return self.fail(&error.to_string());
            }
        }
    }

    /// The engine's memory holds twice what one flush is meant to write: the flusher is behind, or
    /// the disk has no room. It wakes the writer afterwards.
    fn must_wait_for_flush(&self) -> bool {
        let mut progress = self.progress.lock();
        let wait = progress.unflushed_bytes >= self.flush_bytes().saturating_mul(2);
        if wait {
            self.want_flush(&mut progress);
        }
        wait
    }

    /// When the disk is nearly full flushes are small: there is room for no others, and compactions
    /// can give back early what was deleted.
    fn flush_bytes(&self) -> usize {
        match *self.room.borrow() {
            Room::Ample => self.options.flush_bytes,
            Room::Reserve | Room::None => self.options.flush_bytes / FLUSH_PART_WHEN_FULL,
        }
    }

    fn want_flush(&self, progress: &mut Progress) {
        if !std::mem::replace(&mut progress.flush_due, true) {
            // Without a flusher everything is being closed.
            let _ = self.ask_flusher(FlushJob::Flush(None));
        }
    }

    /// True if it is time to look after the disk.
    fn count_written(&self, oldest: &Oldest) -> bool {
        let mut look = false;
        let mut progress = self.progress.lock();
        progress.applied = oldest.applied;
        progress.unflushed_bytes += oldest.bytes;
        progress.unlooked_bytes += oldest.bytes;
        if progress.unlooked_bytes >= self.options.flush_bytes / LOOKS_PER_FLUSH {
            progress.unlooked_bytes = 0;
            look = true;
        }
        if progress.unflushed_bytes >= self.flush_bytes() {
            self.want_flush(&mut progress);
        }
        look
    }

    /// Values that leave the overlay are likely to be read next.
    fn remember(&self, oldest: &Oldest) {
        for change in oldest.batches.iter().flat_map(|batch| batch.changes()) {
            let Change::Put(Table::Values, key, value) = change else { continue };
            let Some(at) = Revision::from_key(key) else { continue };
            // A copy: the value may be a part of the whole log entry that it came with.
            self.cache.insert(at, Bytes::copy_from_slice(value));
        }
    }

    fn flush_step(&self, jobs: VecDeque<FlushJob>) {
        let mut waiting = Vec::new();
        let mut wanted = false;
        for job in jobs {
            if let FlushJob::Flush(done) = job {
                wanted = true;
                waiting.extend(done);
            }
        }
        let outcome = if wanted || self.is_flush_due() { self.flush() } else { self.look() };
        if let Err(error) = &outcome
            && error.kind() != io::ErrorKind::StorageFull
        {
            self.fail(&error.to_string());
        }
        for done in waiting {
            let copy = match &outcome {
                Ok(durable) => Ok(*durable),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            // Who asked may have gone.
            let _ = done.send(copy);
        }
    }

    fn flush(&self) -> io::Result<u64> {
        if self.failed.borrow().is_some() {
            return Err(self.broken());
        }
        let (applied, bytes, written) = {
            let progress = self.progress.lock();
            (progress.applied, progress.unflushed_bytes, *self.written.borrow())
        };
        if self.look_for(bytes)? == Room::None {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no room on the disk to flush the state engine"));
        }
        let flushed = self.engine.flush();
        let full = flushed.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::StorageFull);
        {
            let mut progress = self.progress.lock();
            progress.stuck = full;
            if full {
                self.found(Room::None);
            }
            flushed?;
            progress.unflushed_bytes = progress.unflushed_bytes.saturating_sub(bytes);
            progress.flush_due = false;
            progress.flush_after = progress.flush_after.filter(|last| *last > written);
            if progress.unflushed_bytes >= self.flush_bytes() {
                self.want_flush(&mut progress);
            }
        }
        self.durable.send_if_modified(|durable| std::mem::replace(durable, applied.max(*durable)) < applied);
        self.wake_writer();
        Ok(self.durable.borrow().to_owned())
    }

    /// Asks engine and disk how they are, without writing anything.
    fn look(&self) -> io::Result<u64> {
        let bytes = self.progress.lock().unflushed_bytes;
        self.look_for(bytes)?;
        Ok(self.durable.borrow().to_owned())
    }

    fn look_for(&self, bytes: usize) -> io::Result<Room> {
        if let Some(text) = self.engine.failure() {
            return Err(io::Error::other(text));
        }
        let room = self.engine.room(bytes as u64, self.backlog.load(Ordering::Relaxed) as u64)?;
        // Free space alone says little while the engine has not come to terms with it.
        self.found(if self.progress.lock().stuck { Room::None } else { room });
        Ok(room)
    }

    fn found(&self, room: Room) {
        if self.room.send_if_modified(|known| std::mem::replace(known, room) != room) {
            match room {
                Room::Ample => tracing::info!("the disk has room again"),
                Room::Reserve => tracing::warn!("the disk is nearly full: only what frees space is let through"),
                Room::None => tracing::error!("the disk is full: nothing is written until there is room"),
            }
        }
    }
}

async fn check_regularly(env: Arc<dyn Env>, shared: Weak<Shared>) {
    loop {
        let Some(interval) = shared.upgrade().map(|shared| shared.options.check_interval) else { return };
        env.sleep(interval).await;
        let Some(shared) = shared.upgrade() else { return };
        if shared.ask_flusher(FlushJob::Check).is_err() {
            return;
        }
    }
}
