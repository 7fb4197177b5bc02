//! What the log knows of an entry and of a vote, without knowing who agrees on them.

use std::fmt;
use std::io;

use bytes::Bytes;

/// Place of an entry: the term in which it was proposed and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// The term of the leader that proposed it.
    pub term: u64,
    /// Its number; the next entry has the next one.
    pub index: u64,
}

impl EntryId {
    /// An id from its parts.
    pub const fn new(term: u64, index: u64) -> Self {
        Self { term, index }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.index)
    }
}

/// The vote that a member gave, which it must never forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedVote {
    /// The term it was given in.
    pub term: u64,
    /// Whom it was given to.
    pub member: u64,
    /// Whether a quorum gave the same one.
    pub committed: bool,
}

/// What an entry carries. The log writes its bytes and keeps the thing itself in memory for a while,
/// so that recent entries are handed out without reading or decoding.
pub trait Content: Clone + fmt::Debug + Send + Sync + 'static {
    /// Tells kinds of content apart; stored beside the bytes.
    fn kind(&self) -> u8;

    /// The bytes to store. Called once, when the entry is appended.
    fn encoded(&self) -> Bytes;

    /// The content from its stored kind and bytes.
    fn decode(kind: u8, bytes: Bytes) -> io::Result<Self>;
}
