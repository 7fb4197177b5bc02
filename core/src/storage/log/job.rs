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

/// The newest purge among the jobs that only speaks of entries up to `last` which stay as they are until then, and the
/// place of its job. On replay such a purge means the same before what waits as behind it.
pub(super) fn purge_that_waits(last: Option<EntryId>, jobs: &VecDeque<Job>) -> Option<(usize, EntryId)> {
    let mut settled = last?.index;
    let mut found = None;
    for (at, job) in jobs.iter().enumerate() {
        if let Some(upto) = job.purge {
            if upto.index > settled {
                break;
            }
            found = Some((at, upto));
        }
        // Entries that take the place of written ones, or a cut below them: what is purged after that is another
        // history.
        let before = match &job.work {
            Work::Append { entries, .. } => match entries.front() {
                Some(first) => first.id.index.checked_sub(1),
                None => continue,
            },
            Work::TruncateAfter(last) => last.map(|last| last.index),
            Work::Vote(..) | Work::Idle | Work::Reserve | Work::Ready(_) => continue,
        };
        let Some(before) = before else { break };
        settled = settled.min(before);
    }
    found
}
