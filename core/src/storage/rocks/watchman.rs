//! Hears of errors in RocksDB's background jobs.

use std::sync::{Arc, OnceLock};

/// Listens to RocksDB's own log: its C interface has no other way to tell of background errors before
/// the next write fails. Clones hear for one another.
#[derive(Clone, Debug, Default)]
pub(super) struct Watchman {
    failure: Arc<OnceLock<String>>,
}

/// How RocksDB begins the line about every error of a background job.
const BACKGROUND_ERROR: &str = "Background IO error ";
/// How that line ends when the job was a compaction.
const DURING_COMPACTION: &str = "reason 1";

impl Watchman {
    /// Takes a line of the log, which is a warning at least.
    pub(super) fn heard(&self, line: &str) {
        let line = line.trim();
        let Some((_, error)) = line.split_once(BACKGROUND_ERROR) else {
            tracing::debug!(line, "rocksdb");
            return;
        };
        // A compaction that finds the disk full leaves its inputs as they are and is tried again once
        // there is room. All else is final: nobody knows what the disk has of it.
        if error.contains("No space left on device") && error.ends_with(DURING_COMPACTION) {
            tracing::warn!(error, "rocksdb: a compaction found no room and waits");
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
        watchman.heard("Background IO error IO error: No space left on device: MANIFEST, reason 4");
        let failure = watchman.clone().failure().unwrap();
        assert!(failure.contains("13.sst: Input/output error"), "{failure}");
    }

    #[test]
    fn a_full_disk_under_a_flush_is_final() {
        let watchman = Watchman::default();
        watchman.heard("Background IO error IO error: No space left on device: 12.sst, reason 0");
        assert!(watchman.failure().is_some());
    }
}
