//! A file, in two passes over the same rows.

use std::io;

use bytes::{Bytes, BytesMut};

use super::format::{BUCKET, BUCKET_BYTES, LEAF, PAGE_BYTES, put_bucket, put_header, put_meta};
use super::pages::{Counted, Pages, Written};
use super::tree::{Row, Tree};

/// Behind the two meta pages.
const FIRST_PAGE: u64 = 2;
/// The longest key and value that the format's library takes.
const KEY_MAX: usize = 32_768;
const VALUE_MAX: usize = (1 << 31) - 2;

/// What a file will be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    root: u64,
    pages: u64,
}

impl Plan {
    /// Bytes of the file.
    pub const fn bytes(&self) -> u64 {
        self.pages * PAGE_BYTES as u64
    }
}

/// The buckets of a file, in the order of their names, each with its rows, in the order of their keys.
#[derive(Debug)]
struct Buckets<P: Pages> {
    pages: P,
    tree: Tree<P::Value>,
    last_key: Option<Bytes>,
    ended: Vec<(&'static str, Option<u64>)>,
}

impl<P: Pages> Buckets<P> {
    const fn new(pages: P) -> Self {
        Self { pages, tree: Tree::new(), last_key: None, ended: Vec::new() }
    }

    fn row(&mut self, key: Bytes, length: usize, value: P::Value) -> io::Result<()> {
        let refuse = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        if key.is_empty() || key.len() > KEY_MAX || length > VALUE_MAX {
            return Err(refuse("a row does not fit into a backup"));
        }
        if self.last_key.as_ref().is_some_and(|last| *last >= key) {
            return Err(refuse("rows of a backup are not in order"));
        }
        self.last_key = Some(key.clone());
        self.tree.push(Row { flags: 0, key, value }, &mut self.pages);
        Ok(())
    }

    fn end_bucket(&mut self, name: &'static str) {
        debug_assert!(self.ended.last().is_none_or(|(last, _)| *last < name), "buckets come by name");
        let root = self.tree.finish(&mut self.pages);
        self.last_key = None;
        self.ended.push((name, root));
    }

    /// Writes the tree of buckets; its root.
    fn finish(&mut self, value: impl Fn(Bytes) -> P::Value) -> u64 {
        for (name, root) in std::mem::take(&mut self.ended) {
            let row = Row { flags: BUCKET, key: name.as_bytes().into(), value: value(bucket(root)) };
            self.tree.push(row, &mut self.pages);
        }
        self.tree.finish(&mut self.pages).unwrap_or(FIRST_PAGE)
    }
}

/// A bucket as the tree of buckets has it. One without rows has its page in there, as the format's library does it.
fn bucket(root: Option<u64>) -> Bytes {
    let mut value = BytesMut::with_capacity(2 * BUCKET_BYTES);
    put_bucket(&mut value, root.unwrap_or(0));
    if root.is_none() {
        put_header(&mut value, 0, LEAF, 0, 1);
    }
    value.freeze()
}

/// The first pass.
#[derive(Debug)]
pub struct Planner(Buckets<Counted>);

impl Default for Planner {
    fn default() -> Self {
        Self(Buckets::new(Counted { next: FIRST_PAGE }))
    }
}

impl Planner {
    /// The next row of the bucket that is open.
    ///
    /// # Errors
    /// If it comes out of order, or is too large.
    pub fn row(&mut self, key: Bytes, value_length: usize) -> io::Result<()> {
        self.0.row(key, value_length, value_length)
    }

    /// Ends the bucket, and names it.
    pub fn end_bucket(&mut self, name: &'static str) {
        self.0.end_bucket(name);
    }

    /// What the file will be like.
    pub fn finish(mut self) -> Plan {
        let root = self.0.finish(|value| value.len());
        Plan { root, pages: self.0.pages.next }
    }
}

/// The second pass.
#[derive(Debug)]
pub struct Writer {
    buckets: Buckets<Written>,
    plan: Plan,
}

impl Writer {
    /// Begins a file that is to be as planned.
    pub fn new(plan: Plan) -> Self {
        let mut out = BytesMut::new();
        for number in 0..FIRST_PAGE {
            put_meta(&mut out, number, plan.root, plan.pages);
        }
        Self { buckets: Buckets::new(Written { counted: Counted { next: FIRST_PAGE }, out }), plan }
    }

    /// The next row of the bucket that is open, as it was in the first pass.
    ///
    /// # Errors
    /// If it comes out of order, or is too large.
    pub fn row(&mut self, key: Bytes, value: Bytes) -> io::Result<()> {
        self.buckets.row(key, value.len(), value)
    }

    /// Ends the bucket, and names it.
    pub fn end_bucket(&mut self, name: &'static str) {
        self.buckets.end_bucket(name);
    }

    /// Ends the file.
    ///
    /// # Errors
    /// If the rows were others than in the first pass.
    pub fn finish(&mut self) -> io::Result<()> {
        let root = self.buckets.finish(|value| value);
        let written = Plan { root, pages: self.buckets.pages.counted.next };
        if written == self.plan {
            return Ok(());
        }
        Err(io::Error::other("a backup came out otherwise than planned: what it is made of has changed meanwhile"))
    }

    /// The bytes that were written since the last call.
    pub const fn written(&mut self) -> &mut BytesMut {
        &mut self.buckets.pages.out
    }
}
