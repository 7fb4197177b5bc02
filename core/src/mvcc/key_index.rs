//! What the store asks of its index of keys.

use std::fmt::Debug;

use super::key_state::{KeyState, Known, Replaced};
use crate::types::{KeyRange, Revision};

/// Keys in order, each with the revisions at which it changed, from the compaction watermark on.
///
/// Values are not in it. Revisions are given in ascending order, and reads name the revision that
/// they want to see, so that a reader needs no copy of the index and no lock for longer than a few
/// keys take.
pub(super) trait KeyIndex: Debug + Default + Send + Sync {
    /// Records a put. Tells the metadata that the key has now, and the live state before.
    fn put(&mut self, key: &[u8], at: Revision, lease: i64) -> (Known, Option<Replaced>);

    /// Records a deletion, if the key exists; tells its state before.
    fn delete(&mut self, key: &[u8], at: Revision) -> Option<Replaced>;

    /// The key as it stood at a store revision, if it existed then.
    fn state(&self, key: &[u8], revision: i64) -> Option<KeyState>;

    /// The change to `key` that came after the one at `at`, if both are known.
    fn successor(&self, key: &[u8], at: Revision) -> Option<Revision>;

    /// Shows the keys of `range` that existed at `revision`, in order, from `from` on (from the
    /// beginning without it), until `each` answers false or `steps` keys were looked at.
    fn scan(
        &self,
        range: &KeyRange,
        from: Option<&[u8]>,
        revision: i64,
        steps: usize,
        each: &mut dyn FnMut(&[u8], KeyState) -> bool,
    ) -> Scanned;

    /// How many keys of `range` existed at `revision`; `None` if that is too long ago to be known
    /// without a walk.
    fn count(&self, range: &KeyRange, revision: i64) -> Option<i64>;

    /// How many keys exist.
    fn live(&self) -> usize;

    /// Forgets what no read of `key` at `watermark` or later needs.
    fn compact(&mut self, key: &[u8], watermark: i64);
}

/// How a scan ended.
#[derive(Debug)]
pub(super) enum Scanned {
    /// At the end of the range, or because it was told to.
    Finished,
    /// It has looked at as many keys as it was allowed; this one is next.
    Paused(Box<[u8]>),
}
