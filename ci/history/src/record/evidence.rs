//! What a harness knows besides operations and watches.

use serde::{Deserialize, Serialize};

use super::Event;

/// All changes of one revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Which.
    pub revision: i64,
    /// In order, without what the keys were before.
    pub events: Vec<Event>,
}

/// What a member holds in the end: every revision of a stretch. It must go on to the store's last one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FullHistory {
    /// Whose.
    pub member: u64,
    /// First revision looked at; not below the last compaction.
    pub from: i64,
    /// Last revision looked at: where the store was.
    pub to: i64,
    /// All that there were.
    pub revisions: Vec<Revision>,
}

/// A HashKV of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hash {
    /// Whose.
    pub member: u64,
    /// Up to which revision.
    pub revision: i64,
    /// What had been compacted then.
    pub compact_revision: i64,
    /// The hash.
    pub hash: u32,
}

/// A member's digest of all that it has applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// Whose.
    pub member: u64,
    /// Up to which entry of the log.
    pub index: u64,
    /// In whatever form.
    pub digest: String,
}

/// A member lost its memory: it was killed, or started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// Who.
    pub member: u64,
    /// When, at the earliest.
    pub from: u64,
    /// When it was over, at the latest.
    pub to: u64,
}

/// The alarm of space stood all the time between two moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// Whose space there was none of.
    pub member: u64,
    /// When somebody had been told of it.
    pub from: u64,
    /// When somebody first asked to end it; the greatest number if nobody did.
    pub to: u64,
}

/// What a harness knows of the conditions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// A lease is gone at the latest so long after its time: election timeout and slack, nanoseconds.
    pub lease_bound: u64,
    /// While nothing was wrong with the store; only there is a lease expected to end in time.
    #[serde(default)]
    pub healthy: Vec<Window>,
}

impl Settings {
    /// Whether nothing was wrong with the store from one moment to another.
    pub(crate) fn is_healthy(&self, from: u64, to: u64) -> bool {
        self.healthy.iter().any(|window| window.from <= from && to <= window.to)
    }
}

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// First moment.
    pub from: u64,
    /// Last moment.
    pub to: u64,
}
