//! A run of neighbouring keys, packed.

use super::key_state::Versions;

/// Entries of a leaf at most.
pub(super) const LEAF_MAX: usize = 128;

/// Up to [`LEAF_MAX`] keys in order. Key bytes lie one after the other in one allocation, so that a
/// key costs its length and four bytes, and a search touches few cache lines.
#[derive(Debug, Default)]
pub(super) struct Leaf {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    versions: Vec<Versions>,
}

impl Leaf {
    /// A leaf with room for exactly what it is about to hold.
    pub(super) fn with_capacity(keys: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(keys), versions: Vec::with_capacity(keys) }
    }

    pub(super) const fn len(&self) -> usize {
        self.versions.len()
    }

    /// Bytes of all keys.
    pub(super) const fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn key(&self, place: usize) -> &[u8] {
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start as usize..self.ends[place] as usize]
    }

    pub(super) fn versions(&self, place: usize) -> &Versions {
        &self.versions[place]
    }

    pub(super) fn versions_mut(&mut self, place: usize) -> &mut Versions {
        &mut self.versions[place]
    }

    /// Where a key is, or where it would be.
    pub(super) fn find(&self, key: &[u8]) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            match self.key(middle).cmp(key) {
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// The place of the first key that is not less than `key`.
    pub(super) fn lower_bound(&self, key: &[u8]) -> usize {
        self.find(key).unwrap_or_else(|place| place)
    }

    /// Live keys among the first `places`.
    pub(super) fn live_before(&self, places: usize) -> usize {
        self.versions[..places].iter().filter(|versions| versions.is_live()).count()
    }

    pub(super) fn insert(&mut self, place: usize, key: &[u8], versions: Versions) {
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]) as usize;
        let old = self.bytes.len();
        // Growing by little keeps a half-empty leaf from holding memory for a full one.
        if self.bytes.capacity() - old < key.len() {
            self.bytes.reserve_exact(key.len().max(128));
        }
        self.bytes.resize(old + key.len(), 0);
        self.bytes.copy_within(start..old, start + key.len());
        self.bytes[start..start + key.len()].copy_from_slice(key);
        if self.ends.len() == self.ends.capacity() {
            self.ends.reserve_exact(16);
            self.versions.reserve_exact(16);
        }
        let length = length(key);
        for end in &mut self.ends[place..] {
            *end += length;
        }
        let end = u32::try_from(start).unwrap_or(u32::MAX) + length;
        self.ends.insert(place, end);
        self.versions.insert(place, versions);
    }

    /// Adds a key greater than all.
    pub(super) fn push(&mut self, key: &[u8], versions: Versions) {
        self.bytes.extend_from_slice(key);
        self.ends.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
        self.versions.push(versions);
    }

    pub(super) fn remove(&mut self, place: usize) {
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]) as usize;
        let end = self.ends.remove(place) as usize;
        self.versions.remove(place);
        self.bytes.drain(start..end);
        let length = u32::try_from(end - start).unwrap_or(u32::MAX);
        for end in &mut self.ends[place..] {
            *end -= length;
        }
    }

    /// Moves the keys from `place` on into a new leaf.
    pub(super) fn split_off(&mut self, place: usize) -> Self {
        let start = place.checked_sub(1).map_or(0, |before| self.ends[before]);
        let mut right = Self {
            bytes: self.bytes.split_off(start as usize),
            ends: self.ends.split_off(place),
            versions: self.versions.split_off(place),
        };
        for end in &mut right.ends {
            *end -= start;
        }
        for leaf in [self, &mut right] {
            leaf.bytes.shrink_to(leaf.bytes.len() + 128);
            leaf.ends.shrink_to(leaf.ends.len() + 16);
            leaf.versions.shrink_to(leaf.versions.len() + 16);
        }
        right
    }
}

/// Keys are bounded by the size of a request, and a leaf by [`LEAF_MAX`] of them: both far below 4 GiB.
fn length(key: &[u8]) -> u32 {
    u32::try_from(key.len()).unwrap_or(u32::MAX)
}
