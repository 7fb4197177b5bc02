//! The records of the log, as bytes inside a batch.
//!
//! ```text
//! entry           1 | content kind u8 | term u64 | index u64 | length u32 | crc32c u32 | bytes
//! vote            2 | term u64 | member u64 | committed u8
//! committed       3 | term u64 | index u64
//! truncate after  4 | present u8 | term u64 | index u64
//! purge           5 | term u64 | index u64
//! last            6 | present u8 | term u64 | index u64     (the last entry before this record)
//! ```
//!
//! Numbers are little endian. An entry has a checksum of its own, because later it is read back
//! without the batch around it.

use std::io;

use bytes::Buf;

use super::entry::{EntryId, SavedVote};

/// Length of an entry record without its bytes.
pub(super) const ENTRY_HEADER: usize = 26;
/// Room for all records of the state that a batch may carry besides entries.
pub(super) const STATE_RECORDS: usize = 18 + 18 + 17 + 17;

const ENTRY: u8 = 1;
const VOTE: u8 = 2;
const COMMITTED: u8 = 3;
const TRUNCATE_AFTER: u8 = 4;
const PURGE: u8 = 5;
const LAST: u8 = 6;

/// A record as read from a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record<'a> {
    Entry { id: EntryId, kind: u8, bytes: &'a [u8] },
    Vote(SavedVote),
    Committed(EntryId),
    TruncateAfter(Option<EntryId>),
    Purge(EntryId),
    Last(Option<EntryId>),
}

impl<'a> Record<'a> {
    /// Appends the record to a batch.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Record::Entry { id, kind, bytes } => {
                let start = out.len();
                out.extend_from_slice(&[ENTRY, kind]);
                write_id(out, id);
                out.extend_from_slice(&length(bytes).to_le_bytes());
                let crc = entry_crc(&out[start..], bytes);
                out.extend_from_slice(&crc.to_le_bytes());
                out.extend_from_slice(bytes);
            }
            Record::Vote(vote) => {
                out.push(VOTE);
                out.extend_from_slice(&vote.term.to_le_bytes());
                out.extend_from_slice(&vote.member.to_le_bytes());
                out.push(u8::from(vote.committed));
            }
            Record::Committed(id) => {
                out.push(COMMITTED);
                write_id(out, id);
            }
            Record::TruncateAfter(id) => {
                out.push(TRUNCATE_AFTER);
                write_optional(out, id);
            }
            Record::Purge(id) => {
                out.push(PURGE);
                write_id(out, id);
            }
            Record::Last(id) => {
                out.push(LAST);
                write_optional(out, id);
            }
        }
    }

    /// Takes the next record off the front of `from`. Whatever is wrong is damage, or a newer format.
    pub(super) fn read(from: &mut &'a [u8]) -> io::Result<Self> {
        let start = *from;
        let record = match from.try_get_u8()? {
            ENTRY => {
                let kind = from.try_get_u8()?;
                let id = read_id(from)?;
                let length = from.try_get_u32_le()? as usize;
                let crc = from.try_get_u32_le()?;
                let bytes = from.split_off(..length).ok_or_else(|| damaged("an entry is cut short"))?;
                if entry_crc(&start[..ENTRY_HEADER - 4], bytes) != crc {
                    return Err(damaged("an entry does not match its checksum"));
                }
                Record::Entry { id, kind, bytes }
            }
            VOTE => Record::Vote(SavedVote {
                term: from.try_get_u64_le()?,
                member: from.try_get_u64_le()?,
                committed: from.try_get_u8()? != 0,
            }),
            COMMITTED => Record::Committed(read_id(from)?),
            TRUNCATE_AFTER => Record::TruncateAfter(read_optional(from)?),
            PURGE => Record::Purge(read_id(from)?),
            LAST => Record::Last(read_optional(from)?),
            other => return Err(damaged(&format!("record kind {other} is unknown to this version"))),
        };
        Ok(record)
    }
}

fn write_id(out: &mut Vec<u8>, id: EntryId) {
    out.extend_from_slice(&id.term.to_le_bytes());
    out.extend_from_slice(&id.index.to_le_bytes());
}

fn write_optional(out: &mut Vec<u8>, id: Option<EntryId>) {
    out.push(u8::from(id.is_some()));
    write_id(out, id.unwrap_or(EntryId::new(0, 0)));
}

fn read_id(from: &mut &[u8]) -> io::Result<EntryId> {
    Ok(EntryId::new(from.try_get_u64_le()?, from.try_get_u64_le()?))
}

fn read_optional(from: &mut &[u8]) -> io::Result<Option<EntryId>> {
    let present = from.try_get_u8()? != 0;
    let id = read_id(from)?;
    Ok(present.then_some(id))
}

fn entry_crc(header: &[u8], bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(header), bytes)
}

/// Entries are refused long before this when they are appended.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("an entry fits into a segment")
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_reads_back() {
        let id = EntryId::new(3, 9);
        let vote = SavedVote { term: 4, member: u64::MAX, committed: true };
        let records = [
            Record::Entry { id, kind: 2, bytes: b"content" },
            Record::Entry { id, kind: 0, bytes: b"" },
            Record::Vote(vote),
            Record::Committed(id),
            Record::TruncateAfter(None),
            Record::TruncateAfter(Some(id)),
            Record::Purge(id),
            Record::Last(None),
            Record::Last(Some(id)),
        ];
        let mut bytes = Vec::new();
        records.iter().for_each(|record| record.write(&mut bytes));
        let mut from = bytes.as_slice();
        for record in records {
            assert_eq!(Record::read(&mut from).expect("readable"), record);
        }
        assert!(from.is_empty());
    }

    #[test]
    fn a_cut_or_changed_entry_is_an_error() {
        let mut bytes = Vec::new();
        Record::Entry { id: EntryId::new(1, 2), kind: 1, bytes: b"abc" }.write(&mut bytes);
        for end in 0..bytes.len() {
            assert!(Record::read(&mut &bytes[..end]).is_err(), "cut at {end}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let read = Record::read(&mut changed.as_slice()).ok();
            assert!(!matches!(read, Some(Record::Entry { .. })), "bit {bit}");
        }
    }
}
