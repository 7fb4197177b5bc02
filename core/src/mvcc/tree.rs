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

/// A leaf holds the keys from its slot's head up to the next slot's. The head of a chunk is that of
/// its first slot, and the head of all is empty: every key has its place.
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
        // The first leaf of all begins where the key space does.
        let head = if self.chunks.is_empty() { Separator::new() } else { Separator::from_slice(first.as_ref()) };
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
        let chunk = self.chunks.partition_point(|chunk| chunk.head.as_slice() <= key) - 1;
        let slots = &self.chunks[chunk].slots;
        Place { chunk, slot: slots.partition_point(|slot| slot.head.as_slice() <= key) - 1 }
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
        // What lies between the halves belongs to the left one: the right one's head is its first key.
        let goes_right = at > middle || right.len() == 0;
        let head = Separator::from_slice(if right.len() == 0 { key } else { right.key(0) });
        let live = right.live_before(right.len());
        left.live -= live;
        let slot = Slot { head, live, leaf: Box::new(right) };
        chunk.slots.insert(place.slot + 1, slot);
        let (mut place, at) =
            if goes_right { (Place { slot: place.slot + 1, ..place }, at - middle) } else { (place, at) };
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
        // The left neighbour takes over the keys; without one, the right neighbour reaches down as far.
        let chunk = &mut self.chunks[place.chunk];
        if chunk.slots.len() > 1 {
            let gone = chunk.slots.remove(place.slot);
            if place.slot == 0 {
                chunk.slots[0].head = gone.head;
            }
        } else if self.chunks.len() > 1 {
            let gone = self.chunks.remove(place.chunk);
            if place.chunk == 0 {
                self.chunks[0].slots[0].head.clone_from(&gone.head);
                self.chunks[0].head = gone.head;
            }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// What the tree should know: for every key its changes, true for a put.
    type Model = BTreeMap<Vec<u8>, Vec<(i64, bool)>>;

    fn lives(changes: &[(i64, bool)], revision: i64) -> Option<i64> {
        let last = changes.iter().rev().find(|change| change.0 <= revision)?;
        last.1.then_some(last.0)
    }

    fn found(tree: &Tree, range: &KeyRange, revision: i64, steps: usize) -> Vec<(Vec<u8>, i64)> {
        let mut found = Vec::new();
        let mut from: Option<Box<[u8]>> = None;
        loop {
            let mut add = |key: &[u8], state: KeyState| {
                found.push((key.to_vec(), state.at.main));
                true
            };
            match tree.scan(range, from.as_deref(), revision, steps, &mut add) {
                Scanned::Finished => return found,
                Scanned::Paused(next) => from = Some(next),
            }
        }
    }

    fn check(tree: &Tree, model: &Model, range: &KeyRange, revision: i64, steps: usize) {
        let expected: Vec<(Vec<u8>, i64)> = model
            .iter()
            .filter(|(key, _)| range.contains(key))
            .filter_map(|(key, changes)| Some((key.clone(), lives(changes, revision)?)))
            .collect();
        let found = found(tree, range, revision, steps);
        let different = found.iter().zip(&expected).find(|(found, expected)| found != expected);
        assert_eq!(different, None, "{range:?} at {revision}");
        assert_eq!(found.len(), expected.len(), "{range:?} at {revision}");
        if let Some(count) = tree.count(range, revision) {
            assert_eq!(count, expected.len() as i64, "{range:?} at {revision}");
        }
    }

    fn key(random: &mut ChaCha8Rng, keys: u32) -> Vec<u8> {
        let number = random.random_range(0..keys);
        // Lengths from 1 to beyond what a separator holds in place.
        let mut key = number.to_be_bytes().to_vec();
        key.resize(4 + (number % 40) as usize, b'k');
        key
    }

    fn range(random: &mut ChaCha8Rng, keys: u32) -> KeyRange {
        let (a, b) = (Bytes::from(key(random, keys)), Bytes::from(key(random, keys)));
        match random.random_range(0..6) {
            0 => KeyRange::Single(a),
            1 => KeyRange::From(a),
            2 => KeyRange::From(Bytes::new()),
            _ => KeyRange::Interval(a, b),
        }
    }

    #[test]
    fn agrees_with_a_map() {
        for (seed, keys) in [(1, 50), (2, 3000), (3, 60_000)] {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let (mut tree, mut model) = (Tree::default(), Model::new());
            let (mut revision, mut watermark) = (1, 0);
            for round in 0..40_000 {
                revision += 1;
                let key = key(&mut random, keys);
                let changes = model.entry(key.clone()).or_default();
                let live = lives(changes, revision);
                let at = Revision::new(revision, 0);
                // By turns the store grows and shrinks.
                if random.random_range(0..10) < if round / 5000 % 2 == 0 { 8 } else { 3 } {
                    let (known, replaced) = tree.put(&key, at, 0);
                    assert_eq!(replaced.map(|replaced| replaced.at.main), live);
                    assert_eq!(known.version == 1, live.is_none());
                    changes.push((revision, true));
                } else {
                    assert_eq!(tree.delete(&key, at).map(|replaced| replaced.at.main), live);
                    if live.is_some() {
                        changes.push((revision, false));
                    }
                }
                if round % 997 == 0 {
                    for at in [revision, revision - 10, random.random_range(watermark..=revision)] {
                        check(&tree, &model, &range(&mut random, keys), at, random.random_range(1..400));
                    }
                }
                if round % 9001 == 9000 {
                    watermark = random.random_range(watermark..=revision);
                    for (key, changes) in &mut model {
                        tree.compact(key, watermark);
                        let kept = changes.partition_point(|change| change.0 <= watermark).saturating_sub(1);
                        changes.drain(..kept);
                    }
                    model.retain(|_, changes| changes.last().is_some_and(|last| last.1 || last.0 >= watermark));
                    check(&tree, &model, &KeyRange::From(Bytes::new()), revision, 256);
                }
            }
            let everything = KeyRange::From(Bytes::new());
            assert_eq!(tree.live(), found(&tree, &everything, revision, 1000).len());
            // The same keys, loaded at once.
            let loaded = model.iter().filter(|(_, changes)| !changes.is_empty()).map(|(key, changes)| {
                let known = |put: bool| put.then_some(Known { create: 1, version: 1, lease: 0 });
                let mut versions = Versions::new(Revision::new(changes[0].0, 0), known(changes[0].1));
                for change in &changes[1..] {
                    versions.push(Revision::new(change.0, 0), known(change.1));
                }
                (key, versions)
            });
            let loaded = Tree::build(loaded, revision);
            assert_eq!(loaded.live(), tree.live());
            for _ in 0..50 {
                check(&loaded, &model, &range(&mut random, keys), random.random_range(watermark..=revision), 100);
            }
        }
    }

    #[test]
    fn everything_can_be_removed() {
        let mut tree = Tree::default();
        for n in 0..20_000_u32 {
            tree.put(&n.to_be_bytes(), Revision::new(2, n), 0);
        }
        for n in (0..20_000_u32).rev() {
            tree.delete(&n.to_be_bytes(), Revision::new(3, n));
        }
        assert_eq!((tree.live(), tree.count(&KeyRange::From(Bytes::new()), 2)), (0, None));
        for n in 0..20_000_u32 {
            tree.compact(&n.to_be_bytes(), 4);
        }
        assert_eq!(found(&tree, &KeyRange::From(Bytes::new()), 2, 100), []);
        assert_eq!((tree.chunks.len(), tree.chunks[0].slots.len()), (1, 1));
        tree.put(b"again", Revision::new(5, 0), 0);
        assert_eq!(tree.live(), 1);
    }

    #[test]
    fn keys_in_order_fill_their_leaves() {
        let mut tree = Tree::default();
        for n in 0..50_000_u32 {
            tree.put(&n.to_be_bytes(), Revision::new(i64::from(n) + 2, 0), 0);
        }
        let leaves: usize = tree.chunks.iter().map(|chunk| chunk.slots.len()).sum();
        assert!(leaves <= 50_000 / LEAF_MAX + 1, "{leaves} leaves");
    }

    #[test]
    fn large_keys_divide_leaves_early() {
        let mut tree = Tree::default();
        for n in 0..100_u8 {
            let mut key = vec![b'x'; 20_000];
            key.push(n);
            tree.put(&key, Revision::new(2, u32::from(n)), 0);
        }
        let largest = tree.chunks.iter().flat_map(|chunk| &chunk.slots).map(|slot| slot.leaf.bytes_len()).max();
        assert!(largest < Some(LEAF_BYTES_MAX + 40_000), "{largest:?}");
        assert_eq!(tree.live(), 100);
    }
}
