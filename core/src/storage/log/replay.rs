//! What the records of a log come to, taken in order.

use std::io;

use bytes::Bytes;

use super::entries::{Entries, Mark, Place};
use super::entry::{EntryId, SavedVote};
use super::record::Record;

/// The state that records build up while a log is opened.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) vote: Option<SavedVote>,
    pub(super) committed: Option<EntryId>,
    /// The entries; in memory are kinds and bytes of the last ones.
    pub(super) entries: Entries<(u8, Bytes)>,
    tail_limit: usize,
    /// Entries up to here were in segments that are gone. They must turn out to be purged.
    missing: Option<EntryId>,
    purged: Option<EntryId>,
    started: bool,
}

impl Replay {
    pub(super) const fn new(tail_limit: usize) -> Self {
        Self {
            vote: None,
            committed: None,
            entries: Entries::after(None),
            tail_limit,
            missing: None,
            purged: None,
            started: false,
        }
    }

    /// Takes the next record; an entry begins at `place`.
    pub(super) fn take(&mut self, record: Record<'_>, place: Place) -> io::Result<()> {
        if !std::mem::replace(&mut self.started, true) {
            let Record::Last(last) = record else {
                return Err(inconsistent("the segment does not begin with the state before it"));
            };
            self.missing = last;
            self.entries = Entries::after(last);
            return Ok(());
        }
        match record {
            Record::Entry { id, kind, bytes } => {
                let length = u32::try_from(bytes.len()).map_err(inconsistent)?;
                let mark = Mark { term: id.term, length, place: Some(place) };
                self.entries.push(id, mark, (kind, Bytes::copy_from_slice(bytes))).map_err(inconsistent)?;
                self.entries.evict(self.tail_limit);
            }
            Record::Vote(vote) => self.vote = Some(vote),
            Record::Committed(id) => self.committed = Some(id),
            Record::TruncateAfter(last) => {
                let reaches_back = |missing: EntryId| last.is_none_or(|last| last.index < missing.index);
                if self.missing.is_some_and(reaches_back) {
                    self.missing = last;
                    self.entries = Entries::after(last);
                } else {
                    self.entries.truncate_after(last);
                }
            }
            Record::Purge(upto) => {
                self.purged = Some(upto);
                self.entries.purge(upto);
            }
            Record::Last(last) if last == self.entries.last() => {}
            Record::Last(last) => {
                let name = |id: Option<EntryId>| id.map_or_else(|| "none".to_owned(), |id| id.to_string());
                return Err(inconsistent(format!(
                    "the log goes on after entry {}, but had come to entry {}",
                    name(last),
                    name(self.entries.last())
                )));
            }
        }
        Ok(())
    }

    /// The last entry that is needed but was in a segment that is gone.
    pub(super) fn missing(&self) -> Option<EntryId> {
        self.missing.filter(|missing| self.purged.is_none_or(|purged| purged.index < missing.index))
    }
}

fn inconsistent(what: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}
