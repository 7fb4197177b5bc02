//! Who is told of what was applied.

use std::fmt::Debug;
use std::sync::Arc;

use crate::auth::TokenSink;
use crate::lease::Lessor;
use crate::types::{Observer, RevisionEvents};

/// Takes the changes of keys, for watchers. Called in the order of the log, on the thread that
/// applies: it must not block.
pub trait EventSink: Debug + Send + Sync {
    /// New revisions, in order; readers can see them already. `current` is the newest of them.
    fn publish(&self, revisions: Vec<Arc<RevisionEvents>>, current: i64);

    /// The compaction watermark was raised.
    fn compacted(&self, revision: i64);

    /// The whole state was replaced by a snapshot, and is at revision `current` now.
    fn reset(&self, current: i64);
}

/// Takes what becomes of leases, for whoever counts their time. Called like [`EventSink`].
pub trait LeaseSink: Debug + Send + Sync {
    /// A lease was granted.
    fn granted(&self, id: i64, ttl: i64, remaining: i64);

    /// A lease is gone, and its keys with it.
    fn revoked(&self, id: i64);

    /// A lease's remaining time was recorded; 0 stands for all of it.
    fn checkpointed(&self, id: i64, remaining: i64);

    /// These are all leases: (id, TTL, remaining TTL). At start, and after a snapshot.
    fn reset(&self, all: Vec<(i64, i64, i64)>);
}

/// All sinks of a member.
#[derive(Clone, Debug)]
pub struct Sinks {
    /// For watchers.
    pub events: Arc<dyn EventSink>,
    /// For the clock of leases.
    pub leases: Arc<dyn LeaseSink>,
    /// For those who tell users by tokens.
    pub tokens: Arc<dyn TokenSink>,
    /// For who measures.
    pub observer: Option<Arc<dyn Observer>>,
}

impl LeaseSink for Lessor {
    fn granted(&self, id: i64, ttl: i64, remaining: i64) {
        Self::granted(self, id, ttl, remaining);
    }

    fn revoked(&self, id: i64) {
        Self::revoked(self, id);
    }

    fn checkpointed(&self, id: i64, remaining: i64) {
        Self::checkpointed(self, id, remaining);
    }

    fn reset(&self, all: Vec<(i64, i64, i64)>) {
        Self::reset(self, all);
    }
}
