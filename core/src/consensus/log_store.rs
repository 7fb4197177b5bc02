//! The log as openraft sees it.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};

use bytes::Bytes;
use futures::Stream;
use futures::stream;
use openraft::RaftLogReader;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use tokio::sync::oneshot;

use super::{Entry, LeaderId, LogId, Packed, Payload, RaftConfig, Vote, decode_membership, encode_membership, log_id};
use crate::storage::log::{Content, Done, EntryId, Log, SavedVote};

/// Content that one read from the log takes at the most, unless a single entry is longer.
const READ_BYTES: usize = 4 << 20;

/// Kinds of content, as stored.
const BLANK: u8 = 0;
const COMMANDS: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// Hands openraft's requests to the [`Log`].
#[derive(Clone, Debug)]
pub struct LogStore {
    log: Log<Payload>,
}

impl LogStore {
    /// A store on `log`.
    pub const fn new(log: Log<Payload>) -> Self {
        Self { log }
    }
}

impl Content for Payload {
    fn kind(&self) -> u8 {
        match self {
            Self::Blank => BLANK,
            Self::Normal(_) => COMMANDS,
            Self::Membership(_) => MEMBERSHIP,
        }
    }

    fn encoded(&self) -> Bytes {
        match self {
            Self::Blank => Bytes::new(),
            Self::Normal(packed) => packed.encoded().clone(),
            Self::Membership(membership) => encode_membership(membership).into(),
        }
    }

    fn decode(kind: u8, bytes: Bytes) -> io::Result<Self> {
        match kind {
            BLANK => Ok(Self::Blank),
            COMMANDS => Packed::decode(bytes).map(Self::Normal).map_err(io::Error::other),
            MEMBERSHIP => decode_membership(&bytes).map(Self::Membership),
            other => Err(io::Error::other(format!(
                "the log has an entry of kind {other}, which this release does not know: run a newer one"
            ))),
        }
    }
}

impl RaftLogReader<RaftConfig> for LogStore {
    async fn try_get_log_entries<R>(&mut self, range: R) -> io::Result<Vec<Entry>>
    where
        R: RangeBounds<u64> + Clone + Debug + Send,
    {
        let mut range = indexes(&range);
        let mut entries = Vec::new();
        while !range.is_empty() {
            let read = self.read(&mut range).await?;
            if read.is_empty() {
                break;
            }
            entries.extend(read);
        }
        Ok(entries)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(&mut (start..end)).await
    }

    async fn entries_stream<R>(&mut self, range: R) -> impl Stream<Item = io::Result<Entry>> + Send
    where
        R: RangeBounds<u64> + Clone + Debug + Send,
    {
        // A piece at a time: the whole of it may not fit into memory.
        let pieces = stream::try_unfold((self.clone(), indexes(&range)), |(store, mut left)| async move {
            if left.is_empty() {
                return Ok(None);
            }
            let read = store.read(&mut left).await?;
            if read.is_empty() {
                return Err(io::Error::new(io::ErrorKind::NotFound, format!("entries {left:?} are not in the log")));
            }
            Ok(Some((stream::iter(read.into_iter().map(io::Result::Ok)), (store, left))))
        });
        Box::pin(futures::TryStreamExt::try_flatten(pieces))
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.log.vote().map(|vote| Vote {
            leader_id: LeaderId { term: vote.term, voted_for: vote.member },
            committed: vote.committed,
        }))
    }
}

impl LogStore {
    /// Reads from the start of `range`, and moves that behind what was read.
    async fn read(&self, range: &mut Range<u64>) -> io::Result<Vec<Entry>> {
        let read = self.log.read(range.clone(), READ_BYTES).await?;
        if let Some((last, _)) = read.last() {
            range.start = last.index + 1;
        }
        Ok(read.into_iter().map(|(id, payload)| Entry { log_id: log_id(id.term, id.index), payload }).collect())
    }
}

impl RaftLogStorage<RaftConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<RaftConfig>> {
        let id = |id: Option<EntryId>| id.map(|id| log_id(id.term, id.index));
        Ok(LogState { last_purged_log_id: id(self.log.purged()), last_log_id: id(self.log.last()) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let saved =
            SavedVote { term: vote.leader_id.term, member: vote.leader_id.voted_for, committed: vote.committed };
        let (done, durable) = durable();
        self.log.save_vote(saved, done)?;
        durable.await.unwrap_or_else(|_| Err(io::Error::other("the log closed")))
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        match committed {
            Some(id) => self.log.save_committed(entry_id(&id)),
            None => Ok(()),
        }
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.log.committed().map(|id| log_id(id.term, id.index)))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<RaftConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let entries = entries.into_iter().map(|entry| (entry_id(&entry.log_id), entry.payload));
        self.log.append(entries, Box::new(move |done| callback.io_completed(done)))
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.log.truncate_after(last.as_ref().map(entry_id))
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.log.purge(entry_id(&upto))
    }
}

fn entry_id(id: &LogId) -> EntryId {
    EntryId::new(id.committed_leader_id().term, id.index())
}

fn durable() -> (Done, oneshot::Receiver<io::Result<()>>) {
    let (tell, told) = oneshot::channel();
    let done = move |outcome| {
        // Nobody waits any more if the member stops.
        let _ = tell.send(outcome);
    };
    (Box::new(done), told)
}

/// A range of entry numbers in the one form that the log knows.
fn indexes(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last + 1,
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end.max(start)
}
