//! The log as openraft sees it.
//!
//! ```text
//! openraft core -- append, vote, truncate, purge --> Log -- synced --> IOFlushed --> openraft core
//! replication, apply -- read --> Log: memory, or older segments
//! ```
//!
//! An append is only queued here; openraft goes on and is told later that the entries are durable.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};

use bytes::Bytes;
use futures::Stream;
use futures::stream;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{EntryPayload, RaftLogReader};
use tokio::sync::oneshot;

use super::{Entry, LeaderId, LogId, Packed, Payload, RaftConfig, Vote, decode_membership, encode_membership, log_id};
use crate::env::planted;
use crate::storage::log::{Content, EntryId, Log, SavedVote};

/// The log of one member. Clones are handles of the same log.
#[derive(Clone, Debug)]
pub struct LogStore {
    log: Log<Payload>,
}

/// About how many bytes of entries go into one message to a peer, and into one step of applying.
const READ_BYTES: usize = 1 << 20;

const BLANK: u8 = 0;
const COMMANDS: u8 = 1;
const MEMBERSHIP: u8 = 2;

impl Content for Payload {
    fn kind(&self) -> u8 {
        match self {
            EntryPayload::Blank => BLANK,
            EntryPayload::Normal(_) => COMMANDS,
            EntryPayload::Membership(_) => MEMBERSHIP,
        }
    }

    fn encoded(&self) -> Bytes {
        match self {
            EntryPayload::Blank => Bytes::new(),
            EntryPayload::Normal(packed) => packed.encoded().clone(),
            EntryPayload::Membership(membership) => encode_membership(membership).into(),
        }
    }

    fn decode(kind: u8, bytes: Bytes) -> io::Result<Self> {
        match kind {
            BLANK => Ok(EntryPayload::Blank),
            COMMANDS => Packed::decode(bytes).map(EntryPayload::Normal).map_err(unreadable),
            MEMBERSHIP => decode_membership(&bytes).map(EntryPayload::Membership),
            other => Err(unreadable(format!("kind {other} is unknown to this version"))),
        }
    }
}

impl LogStore {
    /// openraft's view of an open log.
    pub const fn new(log: Log<Payload>) -> Self {
        Self { log }
    }

    /// The log itself.
    pub const fn log(&self) -> &Log<Payload> {
        &self.log
    }

    async fn read(&self, range: Range<u64>, max_bytes: usize) -> io::Result<Vec<Entry>> {
        let entries = self.log.read(range, max_bytes).await?;
        Ok(entries.into_iter().map(|(id, payload)| Entry { log_id: to_log_id(id), payload }).collect())
    }

    /// The first entry of a range that was purged, if any was.
    pub(super) fn first_missing(&self, from: u64, until: u64) -> Option<u64> {
        let kept = self.log.purged().map_or(0, |purged| purged.index + 1);
        (from < until && from < kept).then_some(from)
    }

    /// The next entries of a range, as many as are read at a time.
    pub(super) async fn next_entries(&self, range: Range<u64>) -> io::Result<Vec<Entry>> {
        let entries = self.read(range.clone(), READ_BYTES).await?;
        if entries.first().is_none_or(|first| first.log_id.index() != range.start) {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("entry {} is not in the log", range.start)));
        }
        Ok(entries)
    }

    /// The next entries for a stream, and where it goes on after them.
    async fn step(self, range: Range<u64>) -> Option<(Steps, (Self, Range<u64>))> {
        if range.is_empty() {
            return None;
        }
        match self.read(range.clone(), READ_BYTES).await {
            Ok(entries) => {
                let next = entries.last().map_or(range.end, |last| last.log_id.index() + 1);
                Some((entries.into_iter().map(Ok).collect(), (self, next..range.end)))
            }
            Err(error) => Some((vec![Err(error)], (self, range.end..range.end))),
        }
    }
}

type Steps = Vec<io::Result<Entry>>;

impl RaftLogReader<RaftConfig> for LogStore {
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<Entry>> + Send
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        use futures::StreamExt;

        let start = (self.clone(), self.bounds(&range));
        Box::pin(stream::unfold(start, |(store, range)| store.step(range)).flat_map(stream::iter))
    }

    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        self.read(self.bounds(&range), usize::MAX).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.log.vote().map(|vote| Vote {
            leader_id: LeaderId { term: vote.term, voted_for: vote.member },
            committed: vote.committed,
        }))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start..end, READ_BYTES).await
    }
}

impl LogStore {
    /// A range in numbers. What is not there at its ends is left out by the log.
    fn bounds(&self, range: &impl RangeBounds<u64>) -> Range<u64> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        start..end.min(self.log.last().map_or(0, |last| last.index + 1))
    }
}

impl RaftLogStorage<RaftConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<RaftConfig>> {
        Ok(LogState {
            last_purged_log_id: self.log.purged().map(to_log_id),
            last_log_id: self.log.last().map(to_log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        if planted::is("vote-not-saved") {
            return Ok(());
        }
        let saved =
            SavedVote { term: vote.leader_id.term, member: vote.leader_id.voted_for, committed: vote.committed };
        let (done, durable) = oneshot::channel();
        // openraft has stopped if nobody waits.
        self.log.save_vote(saved, Box::new(move |result| drop(done.send(result))))?;
        durable.await.map_err(|_| io::Error::other("the log was closed"))?
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        committed.map_or(Ok(()), |id| self.log.save_committed(to_entry_id(&id)))
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.log.committed().map(to_log_id))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<RaftConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let entries = entries.into_iter().map(|entry| (to_entry_id(&entry.log_id), entry.payload));
        self.log.append(entries, Box::new(|result| callback.io_completed(result)))
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        self.log.truncate_after(last_log_id.as_ref().map(to_entry_id))
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        self.log.purge(to_entry_id(&log_id))
    }
}

fn to_entry_id(id: &LogId) -> EntryId {
    EntryId::new(id.committed_leader_id().term, id.index())
}

fn to_log_id(id: EntryId) -> LogId {
    log_id(id.term, id.index)
}

fn unreadable(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("unreadable log entry: {error}"))
}

#[cfg(test)]
#[path = "log_store_tests.rs"]
mod tests;
