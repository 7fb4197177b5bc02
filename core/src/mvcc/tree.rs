//! The key index: three levels of arrays, with counts of live keys at each.
//!
//! ```text
//! Tree -> Chunk (up to 256 slots) -> Slot -> Leaf (up to 128 keys)
//! ```
//!
//! A lookup is two binary searches over small arrays of separators and one inside the leaf. A count
//! adds up chunk and slot totals and looks into the two leaves at the edges of the range.

use std::collections::VecDeque;

use smallvec::SmallVec;

use super::key_index::{KeyIndex, Scanned};
use super::key_state::{KeyState, Known, Replaced, Versions};
use super::leaf::{LEAF_MAX, Leaf};
use crate::types::{KeyRange, Revision};

const CHUNK_MAX: usize = 256;
/// A leaf whose keys take more than this is divided even if they are few.
const LEAF_BYTES_MAX: usize = 64 << 10;
/// Births and deaths of keys that are remembered for counts at earlier revisions.
const RECENT_MAX: usize = 8192;

type Separator = SmallVec<[u8; 24]>;

/// [`KeyIndex`] for any number of keys.
#[derive(Debug)]
pub(super) struct Tree {
    chunks: Vec<Chunk>,
    recent: VecDeque<Turn>,
    /// Every birth and death at a later revision than this is in `recent`.
    recent_floor: i64,
}

/// A key began or ceased to exist.
#[derive(Debug)]
struct Turn {
    main: i64,
    born: bool,
    key: Box<[u8]>,
}

#[derive(Debug)]
struct Chunk {
    head: Separator,
    slots: Vec<Slot>,
    live: usize,
}

/// A leaf holds the keys from its slot's head up to the next slot's; the first of all reaches back
/// to the beginning of the key space, whatever its head says.
#[derive(Debug)]
struct Slot {
    head: Separator,
    live: usize,
    leaf: Box<Leaf>,
}

/// Place of a leaf, or of an entry within it.
#[derive(Clone, Copy, Debug)]
struct Place {
    chunk: usize,
    slot: usize,
}

impl Default for Tree {
    fn default() -> Self {
        let slot = Slot { head: Separator::new(), live: 0, leaf: Box::default() };
        let chunk = Chunk { head: Separator::new(), slots: vec![slot], live: 0 };
        Self { chunks: vec![chunk], recent: VecDeque::new(), recent_floor: 0 }
    }
}

impl Tree {
    /// A tree of keys that come in ascending order, each with its versions; loading, in one pass and
    /// without slack. Counts at revisions before `revision` are not known from it.
    pub(super) fn build<K: AsRef<[u8]>>(keys: impl Iterator<Item = (K, Versions)>, revision: i64) -> Self {
        // A little room, so that the first new keys do not divide every leaf.
        const FILL: usize = LEAF_MAX - 16;
        let mut tree = Self { chunks: Vec::new(), recent: VecDeque::new(), recent_floor: revision };
        let mut run: Vec<(K, Versions)> = Vec::with_capacity(FILL);
        let mut bytes = 0;
        for (key, versions) in keys {
            if run.len() == FILL || bytes > LEAF_BYTES_MAX / 2 {
                tree.append_leaf(&mut run, bytes);
                bytes = 0;
            }
            bytes += key.as_ref().len();
            run.push((key, versions));
        }
        tree.append_leaf(&mut run, bytes);
        if tree.chunks.is_empty() {
            tree.chunks = Self::default().chunks;
        }
        tree
    }

    fn append_leaf<K: AsRef<[u8]>>(&mut self, run: &mut Vec<(K, Versions)>, bytes: usize) {
        let Some((first, _)) = run.first() else { return };
        let head = Separator::from_slice(first.as_ref());
        let mut leaf = Leaf::with_capacity(run.len(), bytes);
        for (key, versions) in run.drain(..) {
            leaf.push(key.as_ref(), versions);
        }
        let live = leaf.live_before(leaf.len());
        if self.chunks.last().is_none_or(|chunk| chunk.slots.len() >= CHUNK_MAX / 2) {
            self.chunks.push(Chunk { head: head.clone(), slots: Vec::with_capacity(CHUNK_MAX / 2), live: 0 });
        }
        let chunk = self.chunks.len() - 1;
        self.chunks[chunk].live += live;
        self.chunks[chunk].slots.push(Slot { head, live, leaf: Box::new(leaf) });
    }

    fn locate(&self, key: &[u8]) -> Place {
        let chunk = self.chunks.partition_point(|chunk| chunk.head.as_slice() <= key).saturating_sub(1);
        let slots = &self.chunks[chunk].slots;
        Place { chunk, slot: slots.partition_point(|slot| slot.head.as_slice() <= key).saturating_sub(1) }
    }

    fn leaf(&self, place: Place) -> &Leaf {
        &self.chunks[place.chunk].slots[place.slot].leaf
    }

    fn leaf_mut(&mut self, place: Place) -> &mut Leaf {
        &mut self.chunks[place.chunk].slots[place.slot].leaf
    }

    fn next(&self, place: Place) -> Option<Place> {
        if place.slot + 1 < self.chunks[place.chunk].slots.len() {
            return Some(Place { slot: place.slot + 1, ..place });
        }
        (place.chunk + 1 < self.chunks.len()).then_some(Place { chunk: place.chunk + 1, slot: 0 })
    }

    fn get(&self, key: &[u8]) -> Option<&Versions> {
        let leaf = self.leaf(self.locate(key));
        Some(leaf.versions(leaf.find(key).ok()?))
    }

    fn turn(&mut self, place: Place, key: &[u8], main: i64, born: bool) {
        let chunk = &mut self.chunks[place.chunk];
        let slot = &mut chunk.slots[place.slot];
        if born {
            slot.live += 1;
            chunk.live += 1;
        } else {
            slot.live -= 1;
            chunk.live -= 1;
        }
        if self.recent.len() == RECENT_MAX
            && let Some(oldest) = self.recent.pop_front()
        {
            self.recent_floor = oldest.main;
        }
        self.recent.push_back(Turn { main, born, key: key.into() });
    }

    fn insert(&mut self, place: Place, at: usize, key: &[u8], versions: Versions) {
        let live = versions.is_live();
        let leaf = self.leaf(place);
        let full = leaf.len() >= LEAF_MAX || (leaf.len() >= 2 && leaf.bytes_len() > LEAF_BYTES_MAX);
        let (place, at) = if full { self.divide(place, at, key) } else { (place, at) };
        let main = versions.main();
        self.leaf_mut(place).insert(at, key, versions);
        if live {
            self.turn(place, key, main, true);
        }
    }

    /// Makes room in a full leaf; answers where the place `at` is now.
    fn divide(&mut self, place: Place, at: usize, key: &[u8]) -> (Place, usize) {
        let chunk = &mut self.chunks[place.chunk];
        let left = &mut chunk.slots[place.slot];
        // Keys that arrive in order leave full leaves behind.
        let middle = if at == left.leaf.len() { at } else { left.leaf.len() / 2 };
        let right = left.leaf.split_off(middle);
        let head = Separator::from_slice(if right.len() == 0 { key } else { right.key(0) });
        let live = right.live_before(right.len());
        left.live -= live;
        let slot = Slot { head, live, leaf: Box::new(right) };
        chunk.slots.insert(place.slot + 1, slot);
        let (mut place, at) =
            if at >= middle { (Place { slot: place.slot + 1, ..place }, at - middle) } else { (place, at) };
        let slots = chunk.slots.len();
        if slots > CHUNK_MAX {
            let middle = if place.slot + 1 == slots { slots - 1 } else { slots / 2 };
            let right = chunk.slots.split_off(middle);
            let live = right.iter().map(|slot| slot.live).sum();
            chunk.live -= live;
            let right = Chunk { head: right[0].head.clone(), slots: right, live };
            self.chunks.insert(place.chunk + 1, right);
            if place.slot >= middle {
                place = Place { chunk: place.chunk + 1, slot: place.slot - middle };
            }
        }
        (place, at)
    }

    fn remove(&mut self, place: Place, at: usize) {
        self.leaf_mut(place).remove(at);
        if self.leaf(place).len() > 0 {
            return;
        }
        let chunk = &mut self.chunks[place.chunk];
        if chunk.slots.len() > 1 {
            chunk.slots.remove(place.slot);
        } else if self.chunks.len() > 1 {
            self.chunks.remove(place.chunk);
        }
    }

    /// Live keys before `key`; all of them without one.
    fn rank(&self, key: Option<&[u8]>) -> usize {
        let Some(key) = key else { return self.chunks.iter().map(|chunk| chunk.live).sum() };
        let place = self.locate(key);
        let chunks: usize = self.chunks[..place.chunk].iter().map(|chunk| chunk.live).sum();
        let slots: usize = self.chunks[place.chunk].slots[..place.slot].iter().map(|slot| slot.live).sum();
        let leaf = self.leaf(place);
        chunks + slots + leaf.live_before(leaf.lower_bound(key))
    }
}

impl KeyIndex for Tree {
    fn put(&mut self, key: &[u8], at: Revision, lease: i64) -> (Known, Option<Replaced>) {
        let place = self.locate(key);
        match self.leaf(place).find(key) {
            Ok(found) => {
                let versions = self.leaf_mut(place).versions_mut(found);
                let replaced = versions.live();
                let known = versions.put(at, lease);
                if replaced.is_none() {
                    self.turn(place, key, at.main, true);
                }
                (known, replaced)
            }
            Err(missing) => {
                let known = Known { create: at.main, version: 1, lease };
                self.insert(place, missing, key, Versions::new(at, Some(known)));
                (known, None)
            }
        }
    }

    fn delete(&mut self, key: &[u8], at: Revision) -> Option<Replaced> {
        let place = self.locate(key);
        let found = self.leaf(place).find(key).ok()?;
        let versions = self.leaf_mut(place).versions_mut(found);
        let replaced = versions.live()?;
        versions.push(at, None);
        self.turn(place, key, at.main, false);
        Some(replaced)
    }

    fn state(&self, key: &[u8], revision: i64) -> Option<KeyState> {
        self.get(key)?.at(revision)
    }

    fn successor(&self, key: &[u8], at: Revision) -> Option<Revision> {
        self.get(key)?.successor(at)
    }

    fn scan(
        &self,
        range: &KeyRange,
        from: Option<&[u8]>,
        revision: i64,
        steps: usize,
        each: &mut dyn FnMut(&[u8], KeyState) -> bool,
    ) -> Scanned {
        if let KeyRange::Single(key) = range {
            if let Some(state) = self.state(key, revision) {
                each(key, state);
            }
            return Scanned::Finished;
        }
        let from = from.unwrap_or_else(|| range.start());
        let mut place = Some(self.locate(from));
        let mut first = self.leaf(self.locate(from)).lower_bound(from);
        let mut seen = 0;
        while let Some(here) = place {
            let leaf = self.leaf(here);
            for entry in first..leaf.len() {
                let key = leaf.key(entry);
                if range.ends_before(key) {
                    return Scanned::Finished;
                }
                if seen == steps {
                    return Scanned::Paused(key.into());
                }
                seen += 1;
                if let Some(state) = leaf.versions(entry).at(revision)
                    && !each(key, state)
                {
                    return Scanned::Finished;
                }
            }
            first = 0;
            place = self.next(here);
        }
        Scanned::Finished
    }

    fn count(&self, range: &KeyRange, revision: i64) -> Option<i64> {
        if revision < self.recent_floor {
            return None;
        }
        if range.is_empty() {
            return Some(0);
        }
        let now = match range {
            KeyRange::Single(key) => return Some(i64::from(self.state(key, revision).is_some())),
            KeyRange::Interval(start, end) => self.rank(Some(end)) - self.rank(Some(start)),
            KeyRange::From(start) => self.rank(None) - self.rank(Some(start)),
        };
        let mut count = i64::try_from(now).unwrap_or(i64::MAX);
        for turn in self.recent.iter().rev().take_while(|turn| turn.main > revision) {
            if range.contains(&turn.key) {
                count += if turn.born { -1 } else { 1 };
            }
        }
        Some(count)
    }

    fn live(&self) -> usize {
        self.rank(None)
    }

    fn compact(&mut self, key: &[u8], watermark: i64) {
        let place = self.locate(key);
        if let Ok(found) = self.leaf(place).find(key)
            && self.leaf_mut(place).versions_mut(found).compact(watermark)
        {
            self.remove(place, found);
        }
    }
}
