//! Sizes of the log, and who wants to know what it does.

use std::sync::Arc;
use std::time::Duration;

use super::batch::BATCH_HEADER;
use super::record::{ENTRY_HEADER, STATE_RECORDS};
use super::segment::reserve_bytes;

/// How a log is laid out. The defaults are for a server; tests use tiny ones, so that every border
/// is crossed often.
#[derive(Clone)]
pub struct LogOptions {
    /// Length of a segment file, at most 4 GiB. One entry must fit into one segment.
    pub segment_bytes: u64,
    /// Batches begin at multiples of this. The page size, so that writes cover whole pages.
    pub block_bytes: u32,
    /// Entries kept in memory, by the length of their content; older ones are read from the disk.
    pub tail_bytes: usize,
    /// Purged segments kept for reuse.
    pub spare_segments: usize,
    /// After this much time without a write, what is durable is written down once more. While there
    /// is no room for another segment, this is also how often it is tried again.
    pub idle: Duration,
    /// Told about each sync.
    pub observer: Option<Arc<dyn LogObserver>>,
}

/// Hears of what the log does. Called from the log's thread: it must be quick.
pub trait LogObserver: Send + Sync {
    /// A drain became durable: `bytes` were written, and the sync alone took `sync`.
    fn synced(&self, bytes: usize, sync: Duration);
}

impl LogOptions {
    /// The longest content that one entry may have.
    pub fn max_entry_bytes(&self) -> usize {
        // The header's block, a batch that repeats the state, the batch with the entry itself, and the reserve.
        let block = self.block_bytes as usize;
        let state = (BATCH_HEADER + STATE_RECORDS).next_multiple_of(block);
        let reserve = reserve_bytes(self.segment_bytes, self.block_bytes);
        (self.segment_bytes as usize).saturating_sub(block + state + BATCH_HEADER + ENTRY_HEADER + block + reserve)
    }
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 32 << 20,
            block_bytes: 4096,
            tail_bytes: 4 << 20,
            spare_segments: 2,
            idle: Duration::from_millis(200),
            observer: None,
        }
    }
}

impl std::fmt::Debug for LogOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogOptions")
            .field("segment_bytes", &self.segment_bytes)
            .field("block_bytes", &self.block_bytes)
            .field("tail_bytes", &self.tail_bytes)
            .field("spare_segments", &self.spare_segments)
            .finish_non_exhaustive()
    }
}
