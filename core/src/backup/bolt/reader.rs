//! Reads files that may be anything.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::{Buf, Bytes};

use super::format::{
    BRANCH, BUCKET, BUCKET_BYTES, ELEMENT_BYTES, HEADER_BYTES, LEAF, MAGIC, META_BYTES, VERSION, checksum,
};

/// Page sizes that a file may have: those of the machines that it may come from.
const PAGE_SIZES: std::ops::RangeInclusive<u32> = 10..=25;
/// Branches above each other at most. Eight of them reach further than any disk.
const DEPTH_MAX: usize = 32;

/// Bytes that are read from anywhere.
pub trait ReadAt: fmt::Debug {
    /// How many there are.
    fn length(&self) -> io::Result<u64>;

    /// Fills `into` with the bytes from `at` on.
    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()>;
}

impl ReadAt for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.read_exact_at(into, at)
    }
}

impl ReadAt for Bytes {
    fn length(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(at).ok().and_then(|at| self.get(at..)).and_then(|rest| rest.get(..into.len()));
        into.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// What is wrong with a file, and where.
#[derive(Debug, thiserror::Error)]
pub enum BoltError {
    /// It is no such file, or not a whole one.
    #[error("damaged at byte {offset}: {what}")]
    Damaged {
        /// Where in the file.
        offset: u64,
        /// What is there, or ought to be.
        what: String,
    },
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
}

fn damaged(offset: u64, what: impl Into<String>) -> BoltError {
    BoltError::Damaged { offset, what: what.into() }
}

/// An open file.
#[derive(Debug)]
pub struct BoltFile<R> {
    source: R,
    length: u64,
    page_bytes: u64,
    /// Numbers of pages are below this.
    pages: u64,
    root: u64,
}

#[derive(Clone, Copy, Debug)]
struct Meta {
    page_bytes: u64,
    pages: u64,
    root: u64,
    transaction: u64,
}

impl<R: ReadAt> BoltFile<R> {
    /// Opens a file: the newer one of its meta pages that is whole counts.
    pub fn open(source: R) -> Result<Self, BoltError> {
        let length = source.length()?;
        let first = read_meta(&source, length, 0).ok();
        let second = match first {
            Some(first) => read_meta(&source, length, first.page_bytes).ok(),
            // Where the second one lies depends on the size of pages, which the first one would have told.
            None => PAGE_SIZES
                .filter_map(|power| {
                    let at = 1 << power;
                    read_meta(&source, length, at).ok().filter(|meta| meta.page_bytes == at)
                })
                .next(),
        };
        let metas = [first, second].into_iter().flatten();
        let Some(meta) = metas.max_by_key(|meta| meta.transaction) else {
            return Err(damaged(0, "no meta page of a bbolt file that is whole: this is no snapshot of etcd's"));
        };
        Ok(Self { source, length, page_bytes: meta.page_bytes, pages: meta.pages, root: meta.root })
    }

    /// The rows of a bucket; `None` if the file has none of this name.
    pub fn bucket(&self, name: &str) -> Result<Option<Cursor<'_, R>>, BoltError> {
        let mut names = Cursor::new(self, self.page(self.root)?);
        while let Some(row) = names.advance()? {
            if row.key != name.as_bytes() {
                continue;
            }
            if !row.is_bucket || row.value.len() < BUCKET_BYTES {
                return Err(damaged(row.offset, format!("{name:?} is no bucket")));
            }
            let root = row.value.slice(..).get_u64_le();
            if root != 0 {
                return Ok(Some(Cursor::new(self, self.page(root)?)));
            }
            let offset = row.offset + BUCKET_BYTES as u64;
            let page = Page::new(row.value.slice(BUCKET_BYTES..), offset)?;
            return match page.flags {
                LEAF => Ok(Some(Cursor::new(self, page))),
                flags => Err(damaged(offset, format!("a page of flags {flags:#x} within a bucket's row"))),
            };
        }
        Ok(None)
    }

    /// Reads a page, with those that it takes besides the first.
    fn page(&self, number: u64) -> Result<Page, BoltError> {
        let offset = number.checked_mul(self.page_bytes).filter(|offset| *offset < self.length);
        let offset = offset.filter(|_| (2..self.pages).contains(&number)).ok_or_else(|| {
            damaged(0, format!("page {number} is pointed at, and there are {} in {} bytes", self.pages, self.length))
        })?;
        let mut header = [0; HEADER_BYTES];
        self.source.read_at(offset, &mut header)?;
        let (id, more) = ((&header[..8]).get_u64_le(), u64::from((&header[12..]).get_u32_le()));
        if id != number {
            return Err(damaged(offset, format!("page {id} stands in the place of page {number}")));
        }
        let bytes = (more + 1) * self.page_bytes;
        if more >= self.pages - number || bytes > self.length - offset {
            return Err(damaged(offset, format!("page {number} goes on for {more} pages, beyond the end")));
        }
        let bytes = usize::try_from(bytes).map_err(|_| damaged(offset, "a page larger than the memory"))?;
        let mut page = vec![0; bytes];
        self.source.read_at(offset, &mut page)?;
        Page::new(page.into(), offset)
    }
}

fn read_meta(source: &impl ReadAt, length: u64, at: u64) -> Result<Meta, BoltError> {
    let mut page = [0; HEADER_BYTES + META_BYTES];
    if length.saturating_sub(at) < page.len() as u64 {
        return Err(damaged(at, "the file ends before its meta page"));
    }
    source.read_at(at, &mut page)?;
    let mut meta = &page[HEADER_BYTES..];
    let sum = checksum(&meta[..META_BYTES - 8]);
    let (magic, version, page_bytes) = (meta.get_u32_le(), meta.get_u32_le(), meta.get_u32_le());
    let _flags = meta.get_u32_le();
    let (root, _sequence) = (meta.get_u64_le(), meta.get_u64_le());
    let (_freelist, pages, transaction) = (meta.get_u64_le(), meta.get_u64_le(), meta.get_u64_le());
    if magic != MAGIC || version != VERSION || meta.get_u64_le() != sum {
        return Err(damaged(at, "no meta page"));
    }
    if !page_bytes.is_power_of_two() || !PAGE_SIZES.contains(&page_bytes.ilog2()) {
        return Err(damaged(at, format!("pages of {page_bytes} bytes")));
    }
    Ok(Meta { page_bytes: page_bytes.into(), pages, root, transaction })
}

/// A page whose elements lie within it.
#[derive(Debug)]
struct Page {
    bytes: Bytes,
    offset: u64,
    flags: u16,
    count: usize,
}

/// A row as it stands in the file.
#[derive(Debug)]
pub struct FileRow {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// Where in the file the value lies.
    pub offset: u64,
    is_bucket: bool,
}

impl FileRow {
    /// The error that says what is wrong with this row.
    pub fn damaged(&self, what: impl Into<String>) -> BoltError {
        damaged(self.offset, what)
    }
}

impl Page {
    fn new(bytes: Bytes, offset: u64) -> Result<Self, BoltError> {
        let Some(header) = bytes.get(..HEADER_BYTES) else { return Err(damaged(offset, "half a page")) };
        let (flags, count) = ((&header[8..]).get_u16_le(), (&header[10..]).get_u16_le());
        let count = usize::from(count);
        if HEADER_BYTES + count * ELEMENT_BYTES > bytes.len() {
            return Err(damaged(offset, format!("a page with {count} elements, which do not fit")));
        }
        if flags != LEAF && flags != BRANCH {
            return Err(damaged(offset, format!("a page of flags {flags:#x} where rows ought to be")));
        }
        if flags == BRANCH && count == 0 {
            return Err(damaged(offset, "a branch without children"));
        }
        Ok(Self { bytes, offset, flags, count })
    }

    fn element(&self, number: usize) -> (usize, &[u8]) {
        let start = HEADER_BYTES + number * ELEMENT_BYTES;
        (start, &self.bytes[start..start + ELEMENT_BYTES])
    }

    /// So many bytes of the page from a place that is counted from an element's own.
    fn part(&self, element: usize, position: u32, skip: u32, length: u32) -> Result<Bytes, BoltError> {
        let end = u64::from(position) + u64::from(skip) + u64::from(length) + element as u64;
        if position < ELEMENT_BYTES as u32 || end > self.bytes.len() as u64 {
            let offset = self.offset + element as u64;
            return Err(damaged(
                offset,
                format!("an element of {length} bytes, of which some are outside of its page"),
            ));
        }
        let end = end as usize;
        Ok(self.bytes.slice(end - length as usize..end))
    }

    fn row(&self, number: usize) -> Result<FileRow, BoltError> {
        let (start, mut element) = self.element(number);
        let (flags, position) = (element.get_u32_le(), element.get_u32_le());
        let (key_length, value_length) = (element.get_u32_le(), element.get_u32_le());
        let key = self.part(start, position, 0, key_length)?;
        let value = self.part(start, position, key_length, value_length)?;
        let offset = self.offset + start as u64 + u64::from(position) + u64::from(key_length);
        Ok(FileRow { key, value, offset, is_bucket: flags & BUCKET != 0 })
    }

    fn child(&self, number: usize) -> u64 {
        let (_, mut element) = self.element(number);
        element.advance(8);
        element.get_u64_le()
    }
}

/// Goes through the rows of a bucket in the order of their keys. Keys have to ascend, so that a tree which leads in circles,
/// or twice to the same page, is an error and not endless.
#[derive(Debug)]
pub struct Cursor<'a, R> {
    file: &'a BoltFile<R>,
    /// From the root down; of each page the element that is next.
    path: Vec<(Page, usize)>,
    last: Option<Bytes>,
}

impl<'a, R: ReadAt> Cursor<'a, R> {
    fn new(file: &'a BoltFile<R>, root: Page) -> Self {
        Self { file, path: vec![(root, 0)], last: None }
    }

    /// The next row that is no bucket itself; `None` after the last.
    pub fn next_row(&mut self) -> Result<Option<FileRow>, BoltError> {
        match self.advance()? {
            Some(row) if row.is_bucket => Err(damaged(row.offset, "a bucket where a row ought to be")),
            row => Ok(row),
        }
    }

    fn advance(&mut self) -> Result<Option<FileRow>, BoltError> {
        loop {
            let depth = self.path.len();
            let Some((page, next)) = self.path.last_mut() else { return Ok(None) };
            if *next == page.count {
                // A branch leads to leaves with rows: without, it could lead anywhere for ever.
                if page.count == 0 && depth > 1 {
                    return Err(damaged(page.offset, "a leaf without rows"));
                }
                self.path.pop();
                continue;
            }
            let number = *next;
            *next += 1;
            if page.flags == LEAF {
                let row = page.row(number)?;
                if self.last.as_ref().is_some_and(|last| *last >= row.key) {
                    return Err(damaged(row.offset, "a key that does not come after the one before it"));
                }
                // A copy, lest a small key keep a large page.
                self.last = Some(Bytes::copy_from_slice(&row.key));
                return Ok(Some(row));
            }
            let (child, offset) = (page.child(number), page.offset);
            if depth == DEPTH_MAX {
                return Err(damaged(offset, format!("more than {DEPTH_MAX} branches above each other")));
            }
            self.path.push((self.file.page(child)?, 0));
        }
    }
}
