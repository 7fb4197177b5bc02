//! Hears of errors in RocksDB's background jobs.

use std::sync::{Arc, OnceLock};

use super::error::FULL;

/// Listens to RocksDB's own log: its C interface has no other way to tell of background errors before
/// the next write fails. Clones hear for one another.
#[derive(Clone, Debug, Default)]
pub(super) struct Watchman {
    failure: Arc<OnceLock<String>>,
}

/// How RocksDB begins the line about every error of a background job.
const BACKGROUND_ERROR: &str = "Background IO error ";
impl Watchman {
    /// Takes a line of the log, which is a warning at least.
    pub(super) fn heard(&self, line: &str) {
        let line = line.trim();
        let Some((_, error)) = line.split_once(BACKGROUND_ERROR) else {
            tracing::debug!(line, "rocksdb");
            return;
        };
        // A new file for which there was no room is removed again, what it was made from is still
        // there, and RocksDB goes on once there is room. All else is final: nobody knows what the disk
        // has of it.
        if error.contains(FULL) {
            tracing::warn!(error, "rocksdb: a background job found no room and waits");
            return;
        }
        tracing::error!(error, "rocksdb: a background job has failed");
        let _ = self.failure.set(format!("state engine: background error: {error}"));
    }

    /// The first error that is final.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.get().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_full_disk_from_a_broken_one() {
        let watchman = Watchman::default();
        watchman.heard("[WARN] [db/db_impl/db_impl_write.cc:2093] Stalling writes because ...");
        watchman.heard("Background IO error IO error: No space left on device: While appending to file: 12.sst: No space left on device, reason 1");
        assert_eq!(watchman.failure(), None);
        watchman.heard("Background IO error IO error: While fsync: 13.sst: Input/output error, reason 1");
        watchman.heard("Background IO error Corruption: block checksum mismatch: 14.sst, reason 1");
        let failure = watchman.clone().failure().unwrap();
        assert!(failure.contains("13.sst: Input/output error"), "{failure}");
    }
}
