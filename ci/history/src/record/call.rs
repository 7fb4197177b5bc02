//! What a client asks.

use serde::{Deserialize, Serialize};

use super::Blob;

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// Sets a key.
    Put(Put),
    /// Reads keys.
    Range(RangeRead),
    /// Deletes keys.
    Delete(Deletion),
    /// Does one of two lists of requests, at one revision.
    Txn(Txn),
    /// Forgets what was replaced before a revision.
    Compact {
        /// The oldest revision that stays readable.
        revision: i64,
    },
    /// Makes a lease.
    Grant {
        /// Its id; 0: the store chooses.
        id: i64,
        /// Seconds.
        ttl: i64,
    },
    /// Ends a lease, and its keys.
    Revoke {
        /// Which.
        id: i64,
    },
    /// Begins a lease's time anew.
    KeepAlive {
        /// Which.
        id: i64,
    },
    /// Asks how long a lease has left.
    TimeToLive {
        /// Which.
        id: i64,
        /// Also the keys that it holds.
        keys: bool,
    },
}

/// Which keys: one, or those from `key` to before `end`; `"\0"` as `end` means no end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// First key.
    pub key: Blob,
    /// Empty: only `key`.
    #[serde(default, skip_serializing_if = "Blob::is_empty")]
    pub end: Blob,
}

/// Sets a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Put {
    /// Which.
    pub key: Blob,
    /// What it becomes; unique in a history.
    pub value: Blob,
    /// The lease that it goes away with; 0: none.
    #[serde(default)]
    pub lease: i64,
    /// Answer what it was.
    #[serde(default)]
    pub prev_kv: bool,
}

/// Reads keys in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeRead {
    /// Which.
    #[serde(flatten)]
    pub span: Span,
    /// As they were then; 0: as they are.
    #[serde(default)]
    pub revision: i64,
    /// At most so many; 0: all.
    #[serde(default)]
    pub limit: i64,
    /// Only their number.
    #[serde(default)]
    pub count_only: bool,
    /// Without their values.
    #[serde(default)]
    pub keys_only: bool,
    /// Any state that has been is good enough.
    #[serde(default)]
    pub serializable: bool,
}

/// Deletes keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletion {
    /// Which.
    #[serde(flatten)]
    pub span: Span,
    /// Answer what they were.
    #[serde(default)]
    pub prev_kv: bool,
}

/// Does `success` if all comparisons hold, else `failure`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Txn {
    /// Of the state before it.
    #[serde(default)]
    pub compares: Vec<Compare>,
    /// In order.
    #[serde(default)]
    pub success: Vec<TxnOp>,
    /// In order.
    #[serde(default)]
    pub failure: Vec<TxnOp>,
}

/// A request within a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TxnOp {
    /// Sets a key.
    Put(Put),
    /// Reads keys, with what came before it in the transaction.
    Range(RangeRead),
    /// Deletes keys.
    Delete(Deletion),
    /// Another transaction; its comparisons too are of the state before the outermost.
    Txn(Txn),
}

/// Holds if it does for every key of the span.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// Which keys.
    #[serde(flatten)]
    pub span: Span,
    /// What of them, and with what.
    pub target: Target,
    /// How.
    pub comparison: Comparison,
}

/// What is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Number of puts since the key was made; 0 for a key that is not there.
    Version(i64),
    /// Revision that made it; 0 for a key that is not there.
    Created(i64),
    /// Revision that changed it last; 0 for a key that is not there.
    Modified(i64),
    /// Its value; never holds for a key that is not there.
    Value(Blob),
    /// Its lease; 0 for none and for a key that is not there.
    Lease(i64),
}

/// The key's side comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// Is what is given.
    Equal,
    /// Is not.
    NotEqual,
    /// Is more.
    Greater,
    /// Is less.
    Less,
}

impl Span {
    /// One key.
    pub fn key(key: impl Into<Blob>) -> Self {
        Self { key: key.into(), end: Blob::empty() }
    }

    /// From a key to before another.
    pub fn between(key: impl Into<Blob>, end: impl Into<Blob>) -> Self {
        Self { key: key.into(), end: end.into() }
    }

    /// Every key.
    pub fn all() -> Self {
        Self::between("\0", "\0")
    }

    /// Whether it has no last key.
    pub(crate) fn is_open(&self) -> bool {
        self.end.bytes() == b"\0"
    }

    /// Whether a key is among them.
    pub fn contains(&self, key: &Blob) -> bool {
        if self.end.is_empty() { key == &self.key } else { key >= &self.key && (self.is_open() || key < &self.end) }
    }
}

impl Txn {
    /// Whether it can change nothing and any state that has been is good enough for it.
    pub(crate) fn is_serializable_read(&self) -> bool {
        let any_state = |op: &TxnOp| matches!(op, TxnOp::Range(read) if read.serializable);
        let mut ops = self.success.iter().chain(&self.failure).peekable();
        ops.peek().is_some() && ops.all(any_state)
    }
}
