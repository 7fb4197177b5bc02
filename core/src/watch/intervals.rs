//! Which of many key intervals contain a key.

use std::cmp::Ordering;

use bytes::Bytes;
use smallvec::SmallVec;

const NIL: u32 = u32::MAX;

/// A search tree of half-open intervals, ordered by (start, end), in which every node also knows the
/// greatest end below it: branches that end before a key are never entered. Balanced as a treap, with
/// priorities that depend on nothing but how many nodes were made before.
#[derive(Debug)]
pub(super) struct Intervals {
    nodes: Vec<Node>,
    free: Vec<u32>,
    root: u32,
    made: u64,
}

#[derive(Debug)]
struct Node {
    start: Bytes,
    /// None: to the end of the key space.
    end: Option<Bytes>,
    ids: SmallVec<[u32; 4]>,
    priority: u64,
    left: u32,
    right: u32,
    /// The node of this subtree with the greatest end.
    furthest: u32,
}

impl Intervals {
    pub(super) const fn new() -> Self {
        Self { nodes: Vec::new(), free: Vec::new(), root: NIL, made: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.root == NIL
    }

    /// Files `id` under the interval.
    pub(super) fn insert(&mut self, start: &Bytes, end: Option<&Bytes>, id: u32) {
        self.root = self.insert_below(self.root, start, end, id);
    }

    /// Takes `id` out from under the interval.
    pub(super) fn remove(&mut self, start: &Bytes, end: Option<&Bytes>, id: u32) {
        self.root = self.remove_below(self.root, start, end, id);
    }

    /// Appends the ids of all intervals that contain `key`.
    pub(super) fn matches(&self, key: &[u8], found: &mut Vec<u32>) {
        let mut waiting: SmallVec<[u32; 64]> = SmallVec::new();
        waiting.push(self.root);
        while let Some(at) = waiting.pop() {
            if at == NIL {
                continue;
            }
            let node = self.node(at);
            if !ends_after(self.node(node.furthest).end.as_ref(), key) {
                continue;
            }
            waiting.push(node.left);
            if node.start.as_ref() <= key {
                if ends_after(node.end.as_ref(), key) {
                    found.extend_from_slice(&node.ids);
                }
                waiting.push(node.right);
            }
        }
    }

    fn node(&self, at: u32) -> &Node {
        &self.nodes[at as usize]
    }

    fn node_mut(&mut self, at: u32) -> &mut Node {
        &mut self.nodes[at as usize]
    }

    fn insert_below(&mut self, at: u32, start: &Bytes, end: Option<&Bytes>, id: u32) -> u32 {
        if at == NIL {
            return self.make(start, end, id);
        }
        match self.compare(start, end, at) {
            Ordering::Equal => {
                self.node_mut(at).ids.push(id);
                at
            }
            Ordering::Less => {
                let left = self.insert_below(self.node(at).left, start, end, id);
                self.node_mut(at).left = left;
                if self.node(left).priority > self.node(at).priority {
                    self.node_mut(at).left = self.node(left).right;
                    self.node_mut(left).right = at;
                    self.measure(at);
                    self.measure(left);
                    return left;
                }
                self.measure(at);
                at
            }
            Ordering::Greater => {
                let right = self.insert_below(self.node(at).right, start, end, id);
                self.node_mut(at).right = right;
                if self.node(right).priority > self.node(at).priority {
                    self.node_mut(at).right = self.node(right).left;
                    self.node_mut(right).left = at;
                    self.measure(at);
                    self.measure(right);
                    return right;
                }
                self.measure(at);
                at
            }
        }
    }

    fn remove_below(&mut self, at: u32, start: &Bytes, end: Option<&Bytes>, id: u32) -> u32 {
        if at == NIL {
            return NIL;
        }
        match self.compare(start, end, at) {
            Ordering::Equal => {
                let node = self.node_mut(at);
                if let Some(place) = node.ids.iter().rposition(|filed| *filed == id) {
                    node.ids.swap_remove(place);
                }
                if !node.ids.is_empty() {
                    return at;
                }
                let (left, right) = (node.left, node.right);
                node.start = Bytes::new();
                node.end = None;
                self.free.push(at);
                self.join(left, right)
            }
            Ordering::Less => {
                let left = self.remove_below(self.node(at).left, start, end, id);
                self.node_mut(at).left = left;
                self.measure(at);
                at
            }
            Ordering::Greater => {
                let right = self.remove_below(self.node(at).right, start, end, id);
                self.node_mut(at).right = right;
                self.measure(at);
                at
            }
        }
    }

    /// One tree of two, all of `left` being before all of `right`.
    fn join(&mut self, left: u32, right: u32) -> u32 {
        if left == NIL {
            return right;
        }
        if right == NIL {
            return left;
        }
        if self.node(left).priority > self.node(right).priority {
            let joined = self.join(self.node(left).right, right);
            self.node_mut(left).right = joined;
            self.measure(left);
            left
        } else {
            let joined = self.join(left, self.node(right).left);
            self.node_mut(right).left = joined;
            self.measure(right);
            right
        }
    }

    fn compare(&self, start: &Bytes, end: Option<&Bytes>, at: u32) -> Ordering {
        let node = self.node(at);
        start.cmp(&node.start).then_with(|| compare_ends(end, node.end.as_ref()))
    }

    /// Finds the greatest end of a subtree again, after its branches changed.
    fn measure(&mut self, at: u32) {
        let node = self.node(at);
        let mut furthest = at;
        for branch in [node.left, node.right] {
            if branch == NIL {
                continue;
            }
            let candidate = self.node(branch).furthest;
            if compare_ends(self.node(candidate).end.as_ref(), self.node(furthest).end.as_ref()).is_gt() {
                furthest = candidate;
            }
        }
        self.node_mut(at).furthest = furthest;
    }

    fn make(&mut self, start: &Bytes, end: Option<&Bytes>, id: u32) -> u32 {
        self.made += 1;
        let priority = scramble(self.made);
        let mut node = Node {
            start: start.clone(),
            end: end.cloned(),
            ids: SmallVec::from_slice(&[id]),
            priority,
            left: NIL,
            right: NIL,
            furthest: NIL,
        };
        if let Some(at) = self.free.pop() {
            node.furthest = at;
            self.nodes[at as usize] = node;
            return at;
        }
        let at = self.nodes.len() as u32;
        node.furthest = at;
        self.nodes.push(node);
        at
    }
}

fn ends_after(end: Option<&Bytes>, key: &[u8]) -> bool {
    end.is_none_or(|end| key < end.as_ref())
}

fn compare_ends(a: Option<&Bytes>, b: Option<&Bytes>) -> Ordering {
    match (a, b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(a), Some(b)) => a.cmp(b),
    }
}

/// Spreads consecutive numbers over the whole range (the finalizer of splitmix64).
const fn scramble(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
