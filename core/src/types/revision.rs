//! The two-level clock of the store.

use std::fmt;

/// When a change was made: the store revision of its transaction, and its place within it.
///
/// The order of revisions is the order of changes. An empty store is at revision 1; the first write
/// makes 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision {
    /// The store revision, as clients see it.
    pub main: i64,
    /// Place among the changes of one transaction, from 0.
    pub sub: u32,
}

impl Revision {
    /// Length of [`Revision::to_key`].
    pub const KEY_LEN: usize = 12;

    /// The revision `sub` within `main`.
    pub const fn new(main: i64, sub: u32) -> Self {
        Self { main, sub }
    }

    /// The key under which the state engine files what belongs to this revision: big-endian, so that
    /// the order of keys is the order of changes.
    pub fn to_key(self) -> [u8; Self::KEY_LEN] {
        let mut key = [0; Self::KEY_LEN];
        key[..8].copy_from_slice(&self.main.to_be_bytes());
        key[8..].copy_from_slice(&self.sub.to_be_bytes());
        key
    }

    /// Reads what [`Revision::to_key`] wrote; `None` if the length is another.
    pub fn from_key(key: &[u8]) -> Option<Self> {
        let (main, sub) = key.split_at_checked(8)?;
        Some(Self { main: i64::from_be_bytes(main.try_into().ok()?), sub: u32::from_be_bytes(sub.try_into().ok()?) })
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.main, self.sub)
    }
}
