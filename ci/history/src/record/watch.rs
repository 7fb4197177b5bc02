//! A watch and what came of it.

use serde::{Deserialize, Serialize};

use super::{KeyValue, Span};

/// A watch on one member. One that was taken up again after a break is another watch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Who watched.
    pub client: u32,
    /// On which member; 0: not known.
    #[serde(default)]
    pub member: u64,
    /// When it was asked for.
    pub invoked: u64,
    /// Which keys.
    #[serde(flatten)]
    pub span: Span,
    /// First revision wanted; 0: what comes after the watch was made.
    #[serde(default)]
    pub start: i64,
    /// Leave out puts.
    #[serde(default)]
    pub no_put: bool,
    /// Leave out deletions.
    #[serde(default)]
    pub no_delete: bool,
    /// With what the keys were.
    #[serde(default)]
    pub prev_kv: bool,
    /// A revision may be divided over several responses.
    #[serde(default)]
    pub fragment: bool,
    /// In order of receipt.
    pub responses: Vec<WatchResponse>,
    /// It stayed open, and the harness waited, until everything up to this revision had to be there; 0: no such wait.
    #[serde(default)]
    pub complete_through: i64,
}

/// One message of a watch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchResponse {
    /// When it was there.
    pub received: u64,
    /// Of its header.
    pub revision: i64,
    /// The watch was made.
    #[serde(default)]
    pub created: bool,
    /// The watch ended, by the store.
    #[serde(default)]
    pub canceled: bool,
    /// Why: what it wanted next was compacted up to here; 0: something else.
    #[serde(default)]
    pub compact_revision: i64,
    /// The rest of the last revision is in the next response.
    #[serde(default)]
    pub fragment: bool,
    /// In order.
    #[serde(default)]
    pub events: Vec<Event>,
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// It was deleted: only key and revision of `kv` are set then.
    #[serde(default)]
    pub deleted: bool,
    /// What it is now.
    pub kv: KeyValue,
    /// What it was, if that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev: Option<KeyValue>,
}

impl WatchResponse {
    /// Whether it only says how far the watch is.
    pub fn is_progress(&self) -> bool {
        self.events.is_empty() && !self.created && !self.canceled
    }
}

impl Watch {
    /// Whether an event is one of those asked for.
    pub fn wants(&self, event: &Event) -> bool {
        let kind = if event.deleted { !self.no_delete } else { !self.no_put };
        kind && self.span.contains(&event.kv.key)
    }

    /// Whether it gets every event.
    pub(crate) fn wants_all(&self) -> bool {
        !self.no_put && !self.no_delete && self.span.is_open() && self.span.key.bytes() <= b"\0".as_slice()
    }

    /// The first revision whose events it has to get; none if it was never made.
    pub(crate) fn first(&self) -> Option<i64> {
        let made = self.responses.iter().find(|response| response.created && !response.canceled)?;
        Some(if self.start > 0 { self.start } else { made.revision + 1 })
    }
}
