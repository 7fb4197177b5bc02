//! What a store answers.

use serde::{Deserialize, Serialize};

use super::Blob;

/// An answer with its header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Where and when in the store's life.
    pub header: Header,
    /// What.
    pub reply: Reply,
}

/// Where and when in the store's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Of the store.
    pub revision: i64,
    /// Of raft; 0: not told.
    #[serde(default)]
    pub term: u64,
    /// Who answered; 0: not told.
    #[serde(default)]
    pub member: u64,
}

/// A key as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyValue {
    /// The key.
    pub key: Blob,
    /// Its value.
    #[serde(default, skip_serializing_if = "Blob::is_empty")]
    pub value: Blob,
    /// The revision that made it.
    #[serde(default)]
    pub created: i64,
    /// The revision that changed it last.
    pub modified: i64,
    /// Number of puts since it was made.
    #[serde(default)]
    pub version: i64,
    /// 0: none.
    #[serde(default)]
    pub lease: i64,
}

/// By kind of call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Of a put.
    Put {
        /// What the key was, if that was asked and it was there.
        prev: Option<KeyValue>,
    },
    /// Of a read.
    Range {
        /// In the order of keys.
        kvs: Vec<KeyValue>,
        /// There are others beyond the limit.
        more: bool,
        /// All that match, whatever the limit.
        count: i64,
    },
    /// Of a deletion.
    Delete {
        /// How many there were.
        deleted: i64,
        /// What they were, if that was asked.
        prev: Vec<KeyValue>,
    },
    /// Of a transaction.
    Txn {
        /// All comparisons held.
        succeeded: bool,
        /// Of each request that was done.
        replies: Vec<Reply>,
    },
    /// Of a compaction.
    Compact,
    /// Of a grant.
    Grant {
        /// The lease's id.
        id: i64,
        /// Seconds, as granted.
        ttl: i64,
    },
    /// Of a revocation.
    Revoke,
    /// Of a renewal.
    KeepAlive {
        /// Seconds; 0: there is no such lease.
        ttl: i64,
    },
    /// Of a question for the time left.
    TimeToLive {
        /// Seconds left; -1: there is no such lease.
        ttl: i64,
        /// Seconds, as granted.
        granted: i64,
        /// In no order.
        keys: Vec<Blob>,
    },
}

/// Why a request was refused: a promise that it did nothing and will do nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// A revision is no longer there.
    Compacted,
    /// A revision is not there yet.
    Future,
    /// There is no such lease.
    LeaseNotFound,
    /// There is no space left for what takes some.
    NoSpace,
    /// Whoever asked may not do that.
    Denied,
    /// Whoever asked has to show once more who that is.
    Stranger,
    /// Anything else, in the store's words.
    Other(String),
}

impl Reply {
    /// Whether what was answered changed a key.
    pub fn changed(&self) -> bool {
        match self {
            Self::Put { .. } => true,
            Self::Delete { deleted, .. } => *deleted > 0,
            Self::Txn { replies, .. } => replies.iter().any(Self::changed),
            _ => false,
        }
    }
}
