//! The numbers of the format. All are little-endian.

use bytes::{BufMut, BytesMut};

/// The size of the pages that we write.
pub(super) const PAGE_BYTES: usize = 4096;
/// In front of each page: its id, flags, number of elements, and number of pages that it takes besides the first.
pub(super) const HEADER_BYTES: usize = 16;
/// What an element takes besides key and value, on leaves and on branches.
pub(super) const ELEMENT_BYTES: usize = 16;
/// A bucket's value on a leaf: the page of its root, and a sequence number. Pages of small buckets may follow at once.
pub(super) const BUCKET_BYTES: usize = 16;
/// The meta record, which stands behind the header of its page.
pub(super) const META_BYTES: usize = 64;

pub(super) const BRANCH: u16 = 0x01;
pub(super) const LEAF: u16 = 0x02;
const META: u16 = 0x04;

/// Flag of an element: its value is a bucket.
pub(super) const BUCKET: u32 = 0x01;

pub(super) const MAGIC: u32 = 0xED0C_DAED;
pub(super) const VERSION: u32 = 2;
/// In the place of the list of free pages: there is none, and whoever opens the file finds out.
const NO_FREELIST: u64 = u64::MAX;

/// FNV-1a over 64 bits.
pub(super) fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Writes the header of a page.
pub(super) fn put_header(out: &mut BytesMut, id: u64, flags: u16, count: usize, pages: u64) {
    out.put_u64_le(id);
    out.put_u16_le(flags);
    out.put_u16_le(count as u16);
    out.put_u32_le((pages - 1) as u32);
}

/// Writes a meta page, number 0 or 1, of a file of `pages` pages.
pub(super) fn put_meta(out: &mut BytesMut, number: u64, root: u64, pages: u64) {
    let end = out.len() + PAGE_BYTES;
    put_header(out, number, META, 0, 1);
    let start = out.len();
    out.put_u32_le(MAGIC);
    out.put_u32_le(VERSION);
    out.put_u32_le(PAGE_BYTES as u32);
    out.put_u32_le(0);
    put_bucket(out, root);
    out.put_u64_le(NO_FREELIST);
    out.put_u64_le(pages);
    // The transaction that wrote it: the parity says which of the two pages it is.
    out.put_u64_le(number);
    let sum = checksum(&out[start..]);
    out.put_u64_le(sum);
    out.resize(end, 0);
}

/// Writes where a bucket's tree begins.
pub(super) fn put_bucket(out: &mut BytesMut, root: u64) {
    out.put_u64_le(root);
    out.put_u64_le(0);
}
