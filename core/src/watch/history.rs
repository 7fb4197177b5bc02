//! What the watch room needs to know of the store.

use std::sync::Arc;

use keelkv_proto::mvccpb::KeyValue;

use crate::mvcc::Reader;
use crate::types::{Result, Revision, RevisionEvents};

/// The past, as watchers that start or fall behind read it.
pub trait History: Send + Sync {
    /// The newest revision.
    fn current(&self) -> i64;

    /// The revision of the last compaction: what lies below it cannot be watched any more.
    fn compacted(&self) -> i64;

    /// What changed from revision `from` on, at most `max_revisions` revisions and about `max_bytes`,
    /// but at least one revision if there is one. No revision is skipped and none is cut.
    /// [`Code::Compacted`](crate::types::Code::Compacted) if `from` lies below the last compaction.
    fn events(&self, from: i64, max_revisions: usize, max_bytes: usize) -> Result<Vec<Arc<RevisionEvents>>>;

    /// The key and value that the change at `replaced` made; nothing if they are gone.
    fn previous(&self, replaced: Revision) -> Result<Option<KeyValue>>;
}

impl History for Reader {
    fn current(&self) -> i64 {
        self.current_revision()
    }

    fn compacted(&self) -> i64 {
        self.compact_revision()
    }

    fn events(&self, from: i64, max_revisions: usize, max_bytes: usize) -> Result<Vec<Arc<RevisionEvents>>> {
        Self::events(self, from, max_revisions, max_bytes)
    }

    fn previous(&self, replaced: Revision) -> Result<Option<KeyValue>> {
        Self::previous(self, replaced)
    }
}
