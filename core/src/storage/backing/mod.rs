//! Write-behind between apply and the state engine: nobody waits for a disk, and everybody sees
//! every change.
//!
//! ```text
//! apply -> submit -> overlay -> writer (thread) -> engine -> flusher (thread) -> durable index
//!                       |          |                 |
//! readers: cache <------+----------+-----------------+
//! ```
//!
//! A change is in the overlay until the engine has it, so a reader that looks into the overlay first
//! and the engine second misses nothing. What the engine has not flushed is lost in a crash and
//! comes again out of the log.

mod cache;
mod merge;
mod options;
mod overlay;
mod worker;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use keelkv_proto::keelkv::AppliedRecord;
use prost::Message;
use tokio::sync::watch;

pub use self::options::{BackingOptions, WriteObserver};
use self::overlay::Found;
use self::worker::Shared;
use crate::env::Env;
use crate::storage::engine::{Batch, EachRow, EngineRead, Room, Rows, StateEngine, Table, visit_by_scans};
use crate::storage::values::values_in_order;
use crate::types::Revision;

/// More values than this are cached only while there is room for all.
const CACHED_AT_ONCE: usize = 16;

/// The state of a member as apply writes it and everybody reads it. Clones are handles to one thing.
///
/// If all handles go away without [`Backing::close`], what was not written yet is lost as in a crash.
#[derive(Clone, Debug)]
pub struct Backing {
    shared: Arc<Shared>,
}

impl Backing {
    /// Starts writing behind into `engine`.
    pub fn open(env: &Arc<dyn Env>, engine: Arc<dyn StateEngine>, options: BackingOptions) -> io::Result<Self> {
        let durable = match engine.get(Table::System, b"")? {
            Some(record) => AppliedRecord::decode(record).map_err(io::Error::other)?.index,
            None => 0,
        };
        Ok(Self { shared: Shared::start(env, engine, options, durable) })
    }

    /// Takes the changes of the applied entry `applied`. Readers see them when this returns. Never
    /// blocks: whoever lets entries through must watch [`Backing::is_full`].
    pub fn submit(&self, applied: u64, batch: Batch) {
        self.shared.submit(applied, batch);
    }

    /// The value that was put at a revision, unless it was compacted away. (One that is gone may
    /// still be found: the compaction watermark decides about visibility, not this.)
    pub fn value(&self, at: Revision) -> io::Result<Option<Bytes>> {
        if let Some(value) = self.shared.cache.get(at) {
            return Ok(Some(value));
        }
        let key = at.to_key();
        match self.shared.overlay.read().find(Table::Values, &key) {
            Found::Value(value) => return Ok(Some(value)),
            Found::Deleted => return Ok(None),
            Found::Unknown => {}
        }
        let value = self.shared.engine.get(Table::Values, &key)?;
        if let Some(value) = &value {
            self.shared.cache.insert(at, value.clone());
        }
        Ok(value)
    }

    /// The values at several revisions, in their order; for many it is cheaper than one by one.
    pub fn values(&self, at: &[Revision]) -> io::Result<Vec<Option<Bytes>>> {
        let mut values: Vec<Option<Bytes>> = at.iter().map(|at| self.shared.cache.get(*at)).collect();
        let mut missing = Vec::new();
        {
            let overlay = self.shared.overlay.read();
            for (place, value) in values.iter_mut().enumerate().filter(|(_, value)| value.is_none()) {
                match overlay.find(Table::Values, &at[place].to_key()) {
                    Found::Value(found) => *value = Some(found),
                    Found::Deleted => {}
                    Found::Unknown => missing.push(place),
                }
            }
        }
        missing.sort_unstable_by_key(|place| at[*place]);
        let wanted: Vec<Revision> = missing.iter().map(|place| at[*place]).collect();
        // What passes through once must not push out what is read often.
        let kept = wanted.len() <= CACHED_AT_ONCE || self.shared.cache.has_room();
        for (place, value) in missing.into_iter().zip(values_in_order(&*self.shared.engine, &wanted)?) {
            if kept && let Some(value) = &value {
                self.shared.cache.insert(at[place], value.clone());
            }
            values[place] = value;
        }
        Ok(values)
    }

    /// Waits until everything submitted before this call is in the engine. That can take as long as
    /// the disk has no room, unless [`Backing::release`] ends it.
    pub async fn settled(&self) -> io::Result<()> {
        let mut released = self.shared.released.subscribe();
        tokio::select! {
            biased;
            settled = self.shared.settled() => settled,
            _ = released.wait_for(|released| *released) => Err(io::Error::other("the member stops")),
        }
    }

    /// From now on nobody waits for what could not be written yet: the member stops, and its log has it.
    pub fn release(&self) {
        self.shared.released.send_replace(true);
    }

    /// Ends this for good: what is in it is not what it should be.
    pub fn fail(&self, reason: &str) {
        self.shared.fail(reason);
    }

    /// Writes and flushes everything submitted before this call; answers the durable applied index.
    /// An error of kind `StorageFull` means that nothing is lost and it can be tried again later.
    pub async fn flush(&self) -> io::Result<u64> {
        self.settled().await?;
        self.shared.all_flushed().await
    }

    /// Like [`Backing::flush`], however long the disk has no room.
    pub async fn flush_when_possible(&self) -> io::Result<u64> {
        loop {
            match self.flush().await {
                Ok(durable) => return Ok(durable),
                Err(error) => self.wait_for_room(error).await?,
            }
        }
    }

    /// Waits for a while after an error that is to be tried again; any other is passed on.
    async fn wait_for_room(&self, error: io::Error) -> io::Result<()> {
        if error.kind() != io::ErrorKind::StorageFull {
            return Err(error);
        }
        self.shared.env.sleep(self.shared.options.check_interval).await;
        Ok(())
    }

    /// Has everything submitted before this call flushed at one of the next checks, without waiting for it. For
    /// deletions: the engine gives back the space of what they deleted when it merges files, and they are in none
    /// before that.
    pub fn flush_soon(&self) {
        self.shared.flush_soon();
    }

    /// The applied index up to which a crash loses nothing of the engine.
    pub fn durable(&self) -> u64 {
        *self.shared.durable.borrow()
    }

    /// Follows [`Backing::durable`].
    pub fn durable_changed(&self) -> watch::Receiver<u64> {
        self.shared.durable.subscribe()
    }

    /// Whether the disk has room, as known from the last look at it.
    pub fn room(&self) -> Room {
        *self.shared.room.borrow()
    }

    /// Follows [`Backing::room`].
    pub fn room_changed(&self) -> watch::Receiver<Room> {
        self.shared.room.subscribe()
    }

    /// Bytes of changes that the engine does not have yet.
    pub fn backlog(&self) -> usize {
        self.shared.backlog.load(Ordering::Relaxed)
    }

    /// Whether the backlog is at its limit: no new proposals then.
    pub fn is_full(&self) -> bool {
        self.backlog() >= self.shared.options.overlay_bytes_max
    }

    /// Whether the backlog is at twice its limit: then even what keeps the cluster alive has to wait.
    pub fn is_overfull(&self) -> bool {
        self.backlog() / 2 >= self.shared.options.overlay_bytes_max
    }

    /// A view of the engine that stands still, with everything in it that was submitted before this
    /// call. Each table in it is of one and the same moment.
    pub async fn pin(&self) -> io::Result<Arc<dyn EngineRead>> {
        self.settled().await?;
        self.shared.engine.pin()
    }

    /// Like [`Backing::pin`], but while the disk is full without what could not be written yet: the state after
    /// some earlier entry. A start must not wait for room.
    pub async fn pin_written(&self) -> io::Result<Arc<dyn EngineRead>> {
        let mut room = self.room_changed();
        tokio::select! {
            biased;
            settled = self.settled() => settled?,
            Ok(_) = room.wait_for(|room| *room == Room::None) => {}
        }
        self.shared.engine.pin()
    }

    /// Removes everything but the identity: what precedes the installation of a snapshot. Nothing
    /// may be submitted meanwhile. It takes as long as the disk has no room.
    pub async fn clear(&self) -> io::Result<()> {
        self.settled().await?;
        while let Err(error) = self.shared.engine.clear() {
            self.wait_for_room(error).await?;
        }
        self.shared.cache.clear();
        Ok(())
    }

    /// Bytes on disk in all, and of these what live rows take.
    pub fn size(&self) -> io::Result<(u64, u64)> {
        self.shared.engine.size()
    }

    /// The error that ended this, if one did. Nothing is written any more then.
    pub fn failure(&self) -> Option<String> {
        self.shared.failure()
    }

    /// Follows [`Backing::failure`].
    pub fn failure_changed(&self) -> watch::Receiver<Option<String>> {
        self.shared.failed.subscribe()
    }

    /// The engine below, for what needs no write-behind.
    pub fn engine(&self) -> &Arc<dyn StateEngine> {
        &self.shared.engine
    }

    /// Writes and flushes what is there, then ends the worker threads. Later submits do nothing.
    pub async fn close(self) {
        let mut room = self.room_changed();
        let unflushed = tokio::select! {
            flushed = self.shared.all_flushed() => flushed.err(),
            _ = room.wait_for(|room| *room == Room::None) => Some(io::ErrorKind::StorageFull.into()),
        };
        if let Some(error) = unflushed {
            tracing::warn!(%error, "state engine closes without a flush: the next start replays more of the log");
        }
        self.shared.close().await;
    }
}

impl EngineRead for Backing {
    fn get(&self, table: Table, key: &[u8]) -> io::Result<Option<Bytes>> {
        match self.shared.overlay.read().find(table, key) {
            Found::Value(value) => return Ok(Some(value)),
            Found::Deleted => return Ok(None),
            Found::Unknown => {}
        }
        self.shared.engine.get(table, key)
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> io::Result<Rows> {
        merge::scan(&self.shared.overlay, &*self.shared.engine, table, from, to, limit)
    }

    fn visit(&self, table: Table, from: &[u8], to: &[u8], each: &mut EachRow<'_>) -> io::Result<()> {
        if self.shared.overlay.read().is_empty() {
            return self.shared.engine.visit(table, from, to, each);
        }
        visit_by_scans(self, table, from, to, each)
    }
}
