//! Reading the past.

use std::sync::Arc;

use keelkv_proto::etcdserverpb::WatchResponse;

use super::Stream;
use crate::types::Result;
use crate::watch::hub::Chunk;
use crate::watch::watcher::Stage;

/// Events that one step may queue if every revision concerns every watcher.
const STEP_EVENTS: usize = 65_536;

impl Stream {
    /// The watcher at `slot` reads for itself from now on.
    pub(super) fn start_reading(&mut self, slot: u32) {
        if let Some(watcher) = self.watchers.get_mut(slot) {
            watcher.stage = Stage::Behind;
            self.behind.insert(slot);
            self.behind_index.insert(&watcher.range, slot);
        }
    }

    /// The watcher at `slot` reads no longer.
    pub(super) fn stop_reading(&mut self, slot: u32) {
        if self.behind.remove(&slot)
            && let Some(watcher) = self.watchers.get(slot)
        {
            self.behind_index.remove(&watcher.range, slot);
        }
    }

    /// Reads one piece of the past for the watcher whose turn it is, and for all others that are
    /// within the same piece. Those that have then seen everything become live.
    ///
    /// Called only when no watcher has anything queued.
    pub(super) fn catch_up(&mut self) -> Result<()> {
        let turn = self.behind.range(self.reads_next..).next().or_else(|| self.behind.first());
        let Some(slot) = turn.copied() else { return Ok(()) };
        self.reads_next = slot.wrapping_add(1);
        let Some(watcher) = self.watchers.get(slot) else { return Ok(()) };
        let from = watcher.next;
        let revisions = (STEP_EVENTS / self.behind.len()).clamp(8, self.hub.options.chunk_revisions.max(8));
        match self.hub.chunk(from, revisions)? {
            Some(chunk) => self.take_chunk(from, &chunk),
            None => self.end_compacted(slot)?,
        }
        Ok(())
    }

    /// Queues what the chunk holds for the watchers whose next revision lies within it.
    fn take_chunk(&mut self, from: i64, chunk: &Chunk) {
        let mut found = std::mem::take(&mut self.found);
        let mut queued = 0;
        for shared in &chunk.revisions {
            for (number, event) in shared.events().iter().enumerate() {
                found.clear();
                self.behind_index.matches(&event.kv.key, &mut found);
                for slot in &found {
                    let Some(watcher) = self.watchers.get_mut(*slot) else { continue };
                    let wanted = from <= watcher.next && watcher.next <= shared.revision();
                    if !wanted || watcher.filters.drops(event) {
                        continue;
                    }
                    queued += 1;
                    if watcher.push(Arc::clone(shared), number as u32, 0) {
                        self.ready.push_back(*slot);
                    }
                }
            }
        }
        self.hub.counters.add_pending(queued);

        found.clear();
        for slot in &self.behind {
            let Some(watcher) = self.watchers.get_mut(*slot) else { continue };
            if from <= watcher.next && watcher.next <= chunk.next {
                watcher.next = chunk.next;
                watcher.read_at = chunk.current;
                found.push(*slot);
            }
        }
        self.revive(&found);
        self.found = found;
    }

    /// Makes those of `slots` live that have read everything published.
    fn revive(&mut self, slots: &[u32]) {
        let hub = Arc::clone(&self.hub);
        for some in slots.chunks(super::LOCKED_WATCHERS) {
            let mut registry = hub.registry.lock();
            for slot in some {
                let Some(watcher) = self.watchers.get_mut(*slot) else { continue };
                if registry.revive(watcher.entry, watcher.next) {
                    watcher.stage = Stage::Live;
                    self.stop_reading(*slot);
                }
            }
        }
    }

    /// Tells the client that the watcher's next revision is gone. The id stays in use until the client
    /// cancels it.
    fn end_compacted(&mut self, slot: u32) -> Result<()> {
        let compact_revision = self.hub.history()?.compacted();
        self.stop_reading(slot);
        let Some(watcher) = self.watchers.get_mut(slot) else { return Ok(()) };
        watcher.stage = Stage::Compacted;
        self.compacted += 1;
        self.hub.registry.lock().remove(watcher.entry);
        watcher.entry = u32::MAX;
        self.answers.push_back(WatchResponse {
            header: Some(self.hub.origin.header(0)),
            watch_id: watcher.watch_id,
            canceled: true,
            compact_revision,
            ..WatchResponse::default()
        });
        Ok(())
    }
}
