//! One bucket's tree, built from rows in their order.

use bytes::Bytes;

use super::format::{ELEMENT_BYTES, HEADER_BYTES, PAGE_BYTES};
use super::pages::{Pages, Value};

/// Takes rows, and makes a page of them whenever one is full: leaves, and behind a page's worth of leaves the branch that
/// lists them, and so on upwards. One open page for each level is in memory.
#[derive(Debug)]
pub(super) struct Tree<V> {
    rows: Vec<Row<V>>,
    bytes: usize,
    levels: Vec<Level>,
}

/// A row of a leaf.
#[derive(Debug)]
pub(super) struct Row<V> {
    pub(super) flags: u32,
    pub(super) key: Bytes,
    pub(super) value: V,
}

/// A page as the branch above it knows it: by its first key.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) key: Bytes,
    pub(super) page: u64,
}

#[derive(Debug, Default)]
struct Level {
    children: Vec<Child>,
    bytes: usize,
}

/// A branch with one child is one that etcd's library cannot shrink.
const CHILDREN_MIN: usize = 2;

impl<V: Value> Tree<V> {
    pub(super) const fn new() -> Self {
        Self { rows: Vec::new(), bytes: HEADER_BYTES, levels: Vec::new() }
    }

    pub(super) fn push(&mut self, row: Row<V>, pages: &mut impl Pages<Value = V>) {
        let bytes = ELEMENT_BYTES + row.key.len() + row.value.length();
        if self.bytes + bytes > PAGE_BYTES {
            self.end_leaf(pages);
        }
        self.bytes += bytes;
        self.rows.push(row);
    }

    fn end_leaf(&mut self, pages: &mut impl Pages<Value = V>) {
        let Some(first) = self.rows.first() else { return };
        let key = first.key.clone();
        let page = pages.leaf(&self.rows, self.bytes);
        self.rows.clear();
        self.bytes = HEADER_BYTES;
        self.add(0, Child { key, page }, pages);
    }

    /// Adds a page to the branch of a level; if that is full it becomes a page itself, and its last child begins the next
    /// one, so that no branch is left with one child.
    fn add(&mut self, level: usize, child: Child, pages: &mut impl Pages<Value = V>) {
        if self.levels.len() == level {
            self.levels.push(Level { children: Vec::new(), bytes: HEADER_BYTES });
        }
        let branch = &mut self.levels[level];
        let bytes = ELEMENT_BYTES + child.key.len();
        let mut full = None;
        if branch.bytes + bytes > PAGE_BYTES && branch.children.len() > CHILDREN_MIN {
            let last = branch.children.split_off(branch.children.len() - 1);
            let last_bytes: usize = last.iter().map(|child| ELEMENT_BYTES + child.key.len()).sum();
            let size = branch.bytes - last_bytes;
            full = Some((std::mem::replace(&mut branch.children, last), size));
            branch.bytes = HEADER_BYTES + last_bytes;
        }
        branch.bytes += bytes;
        branch.children.push(child);
        if let Some((children, size)) = full {
            self.add_branch(level, &children, size, pages);
        }
    }

    fn add_branch(&mut self, level: usize, children: &[Child], bytes: usize, pages: &mut impl Pages<Value = V>) {
        let Some(first) = children.first() else { return };
        let page = pages.branch(children, bytes);
        self.add(level + 1, Child { key: first.key.clone(), page }, pages);
    }

    /// Makes pages of what is left, and begins anew; the page of the root, `None` if there were no rows.
    pub(super) fn finish(&mut self, pages: &mut impl Pages<Value = V>) -> Option<u64> {
        self.end_leaf(pages);
        let mut level = 0;
        while let Some(branch) = self.levels.get_mut(level) {
            let Level { children, bytes } = std::mem::take(branch);
            // Nothing above it: then it is all that there is.
            if let ([only], None) = (&children[..], self.levels.get(level + 1)) {
                let root = only.page;
                self.levels.clear();
                return Some(root);
            }
            self.add_branch(level, &children, bytes, pages);
            level += 1;
        }
        None
    }
}
