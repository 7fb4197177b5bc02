//! What changed, as watchers are told.

use keelkv_proto::mvccpb::KeyValue;

use super::Revision;

/// One key changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The key as it is now. Of a deletion only `key` and `mod_revision` are set.
    pub kv: KeyValue,
    /// Whether the key was deleted.
    pub deleted: bool,
    /// The change to the same key that this one replaced, if the key existed before.
    pub replaced: Option<Revision>,
}

/// Everything that one store revision changed, in order. Never empty, never split.
#[derive(Clone, Debug, PartialEq)]
pub struct RevisionEvents {
    /// The store revision.
    pub revision: i64,
    /// Its changes; their sub revisions are 0, 1, 2 and so on.
    pub events: Vec<Event>,
}
