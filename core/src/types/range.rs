//! Ranges of keys as etcd's wire spells them.

use bytes::Bytes;

/// A set of keys: one key, a half-open interval, or everything from a key on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeyRange {
    /// Exactly this key.
    Single(Bytes),
    /// From the first key up to, and without, the second. Empty if the second is not greater.
    Interval(Bytes, Bytes),
    /// From this key to the end of the key space.
    From(Bytes),
}

impl KeyRange {
    /// Reads the pair (key, range_end) of a request: no end means one key, an end of one zero byte
    /// means everything from the key on.
    pub fn from_wire(key: Bytes, range_end: Bytes) -> Self {
        match range_end.as_ref() {
            [] => Self::Single(key),
            [0] => Self::From(key),
            _ => Self::Interval(key, range_end),
        }
    }

    /// The range end of a request for all keys with a prefix.
    pub fn prefix_end(prefix: &[u8]) -> Bytes {
        // The last byte that can grow does; behind bytes that cannot there is no further key with the prefix.
        let Some(last) = prefix.iter().rposition(|byte| *byte < u8::MAX) else { return Bytes::from_static(b"\0") };
        let mut end = prefix[..=last].to_vec();
        end[last] += 1;
        end.into()
    }

    /// The first key that can be in the range.
    pub fn start(&self) -> &[u8] {
        match self {
            Self::Single(key) | Self::Interval(key, _) | Self::From(key) => key,
        }
    }

    /// Whether `key` lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            Self::Single(only) => key == only.as_ref(),
            Self::Interval(start, end) => start.as_ref() <= key && key < end.as_ref(),
            Self::From(start) => start.as_ref() <= key,
        }
    }

    /// Whether `key` lies beyond the range: no later key can be in it.
    pub fn ends_before(&self, key: &[u8]) -> bool {
        match self {
            Self::Single(only) => key > only.as_ref(),
            Self::Interval(_, end) => key >= end.as_ref(),
            Self::From(_) => false,
        }
    }

    /// Whether no key can be in the range.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Interval(start, end) if end <= start)
    }
}
