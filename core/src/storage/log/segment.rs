//! A segment: one file of fixed size, reserved and named before anything is promised from it.
//!
//! The file's first block holds this header; batches follow from the second block on.
//!
//! ```text
//! magic 8 bytes | version u32 | block u32 | size u64 | generation u64 | identity u64 | crc32c u32
//! ```
//!
//! The header is durable before the file gets its name, so a named segment without a good header is
//! damaged, never unfinished. The generation is also the name; a recycled file gets a new one.

use std::io;
use std::sync::Arc;

use super::batch::BATCH_HEADER;
use super::disk::{Disk, DiskFile};
use super::record::STATE_RECORDS;
use crate::env::planted;

/// Length of the header.
pub(super) const SEGMENT_HEADER: usize = 44;
/// Name of a segment that is being made.
pub(super) const UNFINISHED: &str = "unfinished.tmp";

const MAGIC: [u8; 8] = *b"keelkvlg";
const VERSION: u32 = 1;

/// Batches of state that fit into the reserve of a large segment: a few for each start on a full disk, and one
/// for each purge that releases segments.
const RESERVED_BATCHES: u64 = 64;

/// The reserve of a segment: an eighth at most, but one batch at least. Only writers know of it.
pub(super) const fn reserve_bytes(size: u64, block: u32) -> usize {
    let batch = (BATCH_HEADER + STATE_RECORDS).next_multiple_of(block as usize) as u64;
    let eighth = size / 8 / batch * batch;
    let wanted = RESERVED_BATCHES * batch;
    let bytes = if eighth < batch {
        batch
    } else if eighth < wanted {
        eighth
    } else {
        wanted
    };
    bytes as usize
}

/// The constants of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Number of this use of a file; ascending without gaps.
    pub(super) generation: u64,
    /// Random, the same in all segments of a log.
    pub(super) identity: u64,
    /// Length of the file.
    pub(super) size: u64,
    /// Every batch begins at a multiple of this: whole blocks are written, so that the kernel need
    /// not read what a recycled page held.
    pub(super) block: u32,
}

/// Why a header cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// Not a header, or a changed one.
    Damaged,
    /// Written by a later version of this software.
    Newer(u32),
}

impl Segment {
    /// The file name of a generation.
    pub(super) fn name(generation: u64) -> String {
        format!("{generation:016x}.log")
    }

    /// The generation that a file name tells, if it is a segment's.
    pub(super) fn parse_name(name: &str) -> Option<u64> {
        let digits = name.strip_suffix(".log").filter(|digits| digits.len() == 16)?;
        u64::from_str_radix(digits, 16).ok().filter(|generation| Self::name(*generation) == name)
    }

    /// Where the first batch begins.
    pub(super) const fn first_batch(&self) -> u64 {
        self.block as u64
    }

    /// Bytes at the end that entries leave alone: room for what must be written when there is no next segment.
    pub(super) const fn reserve(&self) -> usize {
        reserve_bytes(self.size, self.block)
    }

    /// `length` in whole blocks.
    pub(super) const fn round_up(&self, length: usize) -> usize {
        length.next_multiple_of(self.block as usize)
    }

    /// Where the checksums of this segment's batches start.
    pub(super) fn seed(&self) -> u32 {
        let generation = if planted::is("recycled-segment-read") { 0 } else { self.generation };
        crc32c::crc32c_append(crc32c::crc32c(&self.identity.to_le_bytes()), &generation.to_le_bytes())
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.block as usize);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&self.block.to_le_bytes());
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.identity.to_le_bytes());
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out.resize(self.block as usize, 0);
        out
    }

    /// Reads a header.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let header = bytes.get(..SEGMENT_HEADER).ok_or(HeaderError::Damaged)?;
        let u32_at = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
        if header[..8] != MAGIC || crc32c::crc32c(&header[..40]) != u32_at(40) {
            return Err(HeaderError::Damaged);
        }
        if u32_at(8) != VERSION {
            return Err(HeaderError::Newer(u32_at(8)));
        }
        let segment = Self { block: u32_at(12), size: u64_at(16), generation: u64_at(24), identity: u64_at(32) };
        if segment.block < SEGMENT_HEADER as u32 || segment.size > u64::from(u32::MAX) {
            return Err(HeaderError::Damaged);
        }
        Ok(segment)
    }

    /// Makes the file, from `spare` if there is one that fits. When this returns, the space is
    /// reserved and the name and the header are durable.
    pub(super) fn create(&self, disk: &dyn Disk, spare: Option<&str>) -> io::Result<Arc<dyn DiskFile>> {
        let recycled = match spare {
            Some(name) => {
                disk.rename(name, UNFINISHED)?;
                Some(disk.open(UNFINISHED)?).filter(|file| file.size().is_ok_and(|size| size == self.size))
            }
            None => None,
        };
        let file = match recycled {
            Some(file) => file,
            None => {
                if disk.list()?.iter().any(|name| name == UNFINISHED) {
                    disk.remove(UNFINISHED)?;
                }
                disk.create(UNFINISHED, self.size)?
            }
        };
        file.write_all_at(&self.encode(), 0)?;
        file.sync_data()?;
        disk.rename(UNFINISHED, &Self::name(self.generation))?;
        disk.sync_dir()?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_generations() {
        assert_eq!(Segment::name(26), "000000000000001a.log");
        assert_eq!(Segment::parse_name("000000000000001a.log"), Some(26));
        for other in ["1a.log", "000000000000001A.log", "000000000000001a.tmp", "LOCK", "+00000000000001a.log"] {
            assert_eq!(Segment::parse_name(other), None, "{other}");
        }
    }

    #[test]
    fn a_changed_header_is_noticed() {
        let segment = Segment { generation: 7, identity: 99, size: 4096, block: 256 };
        let bytes = segment.encode();
        assert_eq!(Segment::decode(&bytes), Ok(segment));
        for bit in 0..SEGMENT_HEADER * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Segment::decode(&changed), Err(HeaderError::Damaged), "bit {bit}");
        }
        let mut newer = bytes;
        newer[8] = 2;
        let crc = crc32c::crc32c(&newer[..40]);
        newer[40..44].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Segment::decode(&newer), Err(HeaderError::Newer(2)));
    }
}
