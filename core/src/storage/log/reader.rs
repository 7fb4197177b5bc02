//! Reading entries: the last ones from memory, older ones from their segments on a thread of its own.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::disk::DiskFile;
use super::entry::{Content, EntryId};
use super::record::{ENTRY_HEADER, Record};
use super::shared::State;

/// An entry that has to be read from its segment. Holding the file keeps it from being reused.
pub(super) struct OnDisk {
    id: EntryId,
    file: Arc<dyn DiskFile>,
    offset: u32,
    length: u32,
}

/// Entries that were asked for, in order: first these, then those.
pub(super) struct Found<C> {
    pub(super) on_disk: Vec<OnDisk>,
    pub(super) in_memory: Vec<(EntryId, C)>,
}

/// Entries to be read, and who waits for them.
pub(super) struct Read<C> {
    pub(super) entries: Vec<OnDisk>,
    pub(super) answer: oneshot::Sender<io::Result<Vec<(EntryId, C)>>>,
}

impl<C: Content> State<C> {
    /// The entries of `range` that there are, from its start on, up to `max_bytes` of content but at
    /// least one: first those on the disk, then those in memory.
    pub(super) fn find(&self, range: Range<u64>, max_bytes: usize) -> io::Result<Found<C>> {
        let there = self.entries.indices();
        let (mut on_disk, mut in_memory, mut bytes) = (Vec::new(), Vec::new(), 0);
        for index in range.start.max(there.start)..range.end.min(there.end) {
            let Some((id, mark, content)) = self.entries.get(index) else { break };
            if bytes > 0 && bytes + mark.length as usize > max_bytes {
                break;
            }
            bytes += (mark.length as usize).max(1);
            match (content, mark.place) {
                (Some(content), _) => in_memory.push((id, content.clone())),
                (None, Some(place)) => {
                    let file = self.files.get(&place.generation).ok_or_else(|| lost(id))?;
                    on_disk.push(OnDisk { id, file: Arc::clone(file), offset: place.offset, length: mark.length });
                }
                (None, None) => return Err(lost(id)),
            }
        }
        Ok(Found { on_disk, in_memory })
    }
}

impl OnDisk {
    /// Reads and checks the entry.
    pub(super) fn read<C: Content>(&self) -> io::Result<(EntryId, C)> {
        let mut buffer = vec![0; ENTRY_HEADER + self.length as usize];
        self.file.read_exact_at(&mut buffer, u64::from(self.offset))?;
        let bytes = Bytes::from(buffer);
        match Record::read(&mut bytes.as_ref())? {
            Record::Entry { id, kind, .. } if id == self.id => Ok((id, C::decode(kind, bytes.slice(ENTRY_HEADER..))?)),
            _ => Err(lost(self.id)),
        }
    }
}

fn lost(id: EntryId) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("entry {id} is not where the log wrote it"))
}
