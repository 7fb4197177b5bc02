//! A batch: the records of one drain, under one checksum. It begins at a block of its segment.
//!
//! ```text
//! magic u32 | crc32c of the rest of the header u32 | sequence u64 | synced u64 | epoch u64
//! | generation u64 | body length u32 | crc32c of the body u32 | body | zeros up to the next block
//! ```
//!
//! Both checksums are seeded with the log's random identity and the segment's generation: neither a
//! recycled segment nor bytes that a client sent can pass for a batch.

use super::segment::Segment;
use crate::env::planted;

/// Length of the header.
pub(super) const BATCH_HEADER: usize = 48;

const MAGIC: u32 = u32::from_le_bytes(*b"klb1");

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchHeader {
    /// One more than that of the batch before.
    pub(super) sequence: u64,
    /// The highest sequence that was known to be durable when this batch was written. Whatever is
    /// not readable up to there was damaged; it is not the torn end of an unfinished write.
    pub(super) synced: u64,
    /// One more with each opening of the log: what an earlier life left behind the point at which
    /// the log was cut does not continue it.
    pub(super) epoch: u64,
    body_length: u32,
    body_crc: u32,
}

impl BatchHeader {
    /// Starts a batch at the end of `out`; returns where it begins.
    pub(super) fn begin(out: &mut Vec<u8>) -> usize {
        let start = out.len();
        out.resize(start + BATCH_HEADER, 0);
        start
    }

    /// Completes the batch that begins at `start` and runs to the end of `out`.
    pub(super) fn finish(out: &mut Vec<u8>, start: usize, segment: &Segment, sequence: u64, synced: u64, epoch: u64) {
        let seed = segment.seed();
        let (header, body) = out[start..].split_at_mut(BATCH_HEADER);
        let body_length = u32::try_from(body.len()).expect("a batch fits into a segment");
        header[..4].copy_from_slice(&MAGIC.to_le_bytes());
        header[8..16].copy_from_slice(&sequence.to_le_bytes());
        header[16..24].copy_from_slice(&synced.to_le_bytes());
        header[24..32].copy_from_slice(&epoch.to_le_bytes());
        header[32..40].copy_from_slice(&segment.generation.to_le_bytes());
        header[40..44].copy_from_slice(&body_length.to_le_bytes());
        header[44..].copy_from_slice(&crc32c::crc32c_append(seed, body).to_le_bytes());
        let crc = crc32c::crc32c_append(seed, &header[8..]);
        header[4..8].copy_from_slice(&crc.to_le_bytes());
        out.resize(start + segment.round_up(out.len() - start), 0);
    }

    /// The header at the start of `bytes`, if one of this segment is there.
    pub(super) fn read(bytes: &[u8], segment: &Segment) -> Option<Self> {
        let header = bytes.get(..BATCH_HEADER)?;
        // What a recycled segment held before is kept out three times: here, by the seed of the checksums, and by
        // the sequence. Only a bug that passes over all of them reads it.
        let of_another = u64_at(header, 32) != segment.generation && !planted::is("recycled-segment-read");
        if u32_at(header, 0) != MAGIC || of_another {
            return None;
        }
        if crc32c::crc32c_append(segment.seed(), &header[8..]) != u32_at(header, 4) {
            return None;
        }
        Some(Self {
            sequence: u64_at(header, 8),
            synced: u64_at(header, 16),
            epoch: u64_at(header, 24),
            body_length: u32_at(header, 40),
            body_crc: u32_at(header, 44),
        })
    }

    /// The body behind this header, if it is whole. `bytes` begins with the header.
    pub(super) fn body<'a>(&self, bytes: &'a [u8], segment: &Segment) -> Option<&'a [u8]> {
        let body = bytes.get(BATCH_HEADER..self.length())?;
        (crc32c::crc32c_append(segment.seed(), body) == self.body_crc).then_some(body)
    }

    /// Length of header and body.
    pub(super) const fn length(&self) -> usize {
        BATCH_HEADER + self.body_length as usize
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
