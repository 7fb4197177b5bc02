//! What a hub is told when it is made.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keelkv_proto::etcdserverpb::ResponseHeader;

/// Watchers are never told of their progress more often than this.
pub const MIN_PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Limits and intervals of watching.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a watcher that asked for progress may go without any message. Each stream adds a
    /// random part of up to a tenth.
    pub progress_interval: Duration,
    /// Memory for recent revisions, so that those who come back do not need the disk.
    pub ring_bytes: usize,
    /// What may wait for one stream. Beyond it, its watchers fall behind and read the history.
    pub backlog_bytes: usize,
    /// Revisions for one watcher are gathered into one response up to about this size.
    pub response_bytes: usize,
    /// A response of this size is sent in parts to a watcher that allows it.
    pub fragment_bytes: usize,
    /// Revisions that one step of catching up reads at most.
    pub chunk_revisions: usize,
    /// Bytes that one step of catching up reads, about.
    pub chunk_bytes: usize,
    /// Answers to requests that may wait before the stream takes no more requests.
    pub max_answers: usize,
}

impl Options {
    /// The size from which responses are sent in parts, given the size limit of requests.
    pub const fn fragment_bytes(max_request_bytes: usize) -> usize {
        max_request_bytes + 512 * 1024
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            progress_interval: Duration::from_secs(600),
            ring_bytes: 8 << 20,
            backlog_bytes: 4 << 20,
            response_bytes: 64 << 10,
            fragment_bytes: Self::fragment_bytes(1536 * 1024),
            chunk_revisions: 256,
            chunk_bytes: 512 << 10,
            max_answers: 16,
        }
    }
}

/// Who answers: what stands in the header of every response.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The cluster's id.
    pub cluster_id: u64,
    /// This member's id.
    pub member_id: u64,
    /// The term that this member is in, kept up to date by the consensus room.
    pub term: Arc<AtomicU64>,
}

impl Origin {
    pub(super) fn header(&self, revision: i64) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.cluster_id,
            member_id: self.member_id,
            revision,
            raft_term: self.term.load(Ordering::Relaxed),
        }
    }
}
