//! What a log may hold after a crash: the state after some prefix of the records that were submitted,
//! not shorter than what was acknowledged.

use std::io;

use super::super::{EntryId, SavedVote};
use super::{Log, ManualEnv, Text, read_all};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Model {
    pub(super) vote: Option<SavedVote>,
    pub(super) committed: Option<EntryId>,
    pub(super) purged: Option<EntryId>,
    pub(super) entries: Vec<(EntryId, Text)>,
}

/// One change, as the log records it.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Vote(SavedVote),
    Committed(EntryId),
    Purge(EntryId),
    TruncateAfter(Option<EntryId>),
    Entry(EntryId, Text),
}

impl Model {
    /// What a log shows.
    pub(super) fn of(env: &ManualEnv, log: &Log<Text>) -> io::Result<Self> {
        let entries = read_all(env, log)?;
        assert_eq!(log.last(), entries.last().map(|(id, _)| *id).or_else(|| log.purged()));
        Ok(Self { vote: log.vote(), committed: log.committed(), purged: log.purged(), entries })
    }

    pub(super) fn last(&self) -> Option<EntryId> {
        self.entries.last().map(|(id, _)| *id).or(self.purged)
    }

    pub(super) fn take(&mut self, change: &Change) {
        match change {
            Change::Vote(vote) => self.vote = Some(*vote),
            Change::Committed(id) => self.committed = Some(*id),
            Change::Purge(upto) => {
                self.purged = Some(*upto);
                self.entries.retain(|(id, _)| id.index > upto.index);
            }
            Change::TruncateAfter(last) => {
                self.entries.retain(|(id, _)| last.is_some_and(|last| id.index <= last.index));
            }
            Change::Entry(id, text) => self.entries.push((*id, text.clone())),
        }
    }
}
