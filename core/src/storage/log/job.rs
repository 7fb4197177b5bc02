//! What the log's thread is asked to do.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::disk::DiskFile;
use super::entry::{EntryId, SavedVote};
use super::segment::Segment;

/// Called once with the outcome, from the log's thread.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// One request, together with what was put off until there is something to sync anyway.
pub(super) struct Job {
    /// Precedes `work`.
    pub(super) purge: Option<EntryId>,
    /// Precedes `work`.
    pub(super) committed: Option<EntryId>,
    pub(super) work: Work,
}

pub(super) enum Work {
    Append {
        entries: VecDeque<QueuedEntry>,
        done: Done,
    },
    Vote(SavedVote, Done),
    TruncateAfter(Option<EntryId>),
    /// Nothing happens: write down what is durable.
    Idle,
    /// See to it that the next segment is made.
    Reserve,
    /// A segment was made, or could not be.
    Ready(io::Result<(Segment, Arc<dyn DiskFile>)>),
}

/// An entry as the log's thread needs it.
pub(super) struct QueuedEntry {
    pub(super) id: EntryId,
    pub(super) kind: u8,
    pub(super) bytes: Bytes,
}
