//! Where pages go: they are counted first, and written then.

use std::fmt::Debug;

use bytes::{BufMut, Bytes, BytesMut};

use super::format::{BRANCH, ELEMENT_BYTES, HEADER_BYTES, LEAF, PAGE_BYTES, put_header};
use super::tree::{Child, Row};

/// A value, or what is known of it.
pub(super) trait Value: Debug {
    /// Its bytes.
    fn length(&self) -> usize;
}

impl Value for Bytes {
    fn length(&self) -> usize {
        self.len()
    }
}

impl Value for usize {
    fn length(&self) -> usize {
        *self
    }
}

/// Takes pages one after the other, and gives each its number.
pub(super) trait Pages: Debug {
    /// What it has to know of values.
    type Value: Value;

    /// A leaf with these rows, which take `bytes` with the header of the page.
    fn leaf(&mut self, rows: &[Row<Self::Value>], bytes: usize) -> u64;

    /// A branch with these children, which take `bytes` with the header of the page.
    fn branch(&mut self, children: &[Child], bytes: usize) -> u64;
}

/// The first pass: pages are only counted.
#[derive(Debug)]
pub(super) struct Counted {
    /// The number of the next page.
    pub(super) next: u64,
}

impl Counted {
    fn take(&mut self, bytes: usize) -> u64 {
        let page = self.next;
        self.next += pages_of(bytes);
        page
    }
}

impl Pages for Counted {
    type Value = usize;

    fn leaf(&mut self, _rows: &[Row<usize>], bytes: usize) -> u64 {
        self.take(bytes)
    }

    fn branch(&mut self, _children: &[Child], bytes: usize) -> u64 {
        self.take(bytes)
    }
}

/// The second pass: pages are written one behind the other.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) counted: Counted,
    pub(super) out: BytesMut,
}

impl Written {
    fn begin(&mut self, flags: u16, count: usize, bytes: usize) -> (u64, usize) {
        let page = self.counted.take(bytes);
        let pages = pages_of(bytes);
        let end = self.out.len() + pages as usize * PAGE_BYTES;
        self.out.reserve(end - self.out.len());
        put_header(&mut self.out, page, flags, count, pages);
        (page, end)
    }
}

impl Pages for Written {
    type Value = Bytes;

    fn leaf(&mut self, rows: &[Row<Bytes>], bytes: usize) -> u64 {
        let (page, end) = self.begin(LEAF, rows.len(), bytes);
        // Counted from the element itself, like all positions here.
        let mut position = rows.len() * ELEMENT_BYTES;
        for row in rows {
            self.out.put_u32_le(row.flags);
            self.out.put_u32_le(position as u32);
            self.out.put_u32_le(row.key.len() as u32);
            self.out.put_u32_le(row.value.len() as u32);
            position = position + row.key.len() + row.value.len() - ELEMENT_BYTES;
        }
        for row in rows {
            self.out.put_slice(&row.key);
            self.out.put_slice(&row.value);
        }
        self.out.resize(end, 0);
        page
    }

    fn branch(&mut self, children: &[Child], bytes: usize) -> u64 {
        let (page, end) = self.begin(BRANCH, children.len(), bytes);
        let mut position = children.len() * ELEMENT_BYTES;
        for child in children {
            self.out.put_u32_le(position as u32);
            self.out.put_u32_le(child.key.len() as u32);
            self.out.put_u64_le(child.page);
            position = position + child.key.len() - ELEMENT_BYTES;
        }
        for child in children {
            self.out.put_slice(&child.key);
        }
        self.out.resize(end, 0);
        page
    }
}

/// How many pages so many bytes take.
const fn pages_of(bytes: usize) -> u64 {
    debug_assert!(bytes >= HEADER_BYTES, "a page has a header");
    bytes.div_ceil(PAGE_BYTES) as u64
}
