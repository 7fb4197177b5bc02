//! A state that travels: pinned at its sender, or spooled at its receiver.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use keelkv_proto::keelkv::StateChunk;
use prost::Message;

use crate::apply::Export;
use crate::env::Aside;

/// About how much of a state is in memory while it is read.
const CHUNK_BYTES: usize = 1 << 20;

/// What travels when a member is too far behind for the log.
#[derive(Debug)]
pub enum SnapshotData {
    /// Nothing was applied yet.
    Empty,
    /// Read piece by piece from the engine, while the member goes on.
    Pinned(Export),
    /// Received in whole.
    Received(Spool),
}

impl SnapshotData {
    /// The next piece; `None` after the last. It is read where that holds nobody up.
    pub async fn next_chunk(&mut self, aside: &Aside) -> io::Result<Option<StateChunk>> {
        let this = std::mem::replace(self, Self::Empty);
        let read = |mut this: Self| move || (this.read(), this);
        let (chunk, this) =
            aside.run(read(this)).await.ok_or_else(|| io::Error::other("the thread that reads states was lost"))?;
        *self = this;
        chunk
    }

    fn read(&mut self) -> io::Result<Option<StateChunk>> {
        match self {
            Self::Empty => Ok(None),
            Self::Pinned(export) => export.next_chunk(CHUNK_BYTES),
            Self::Received(spool) => spool.next_chunk(),
        }
    }
}

/// Where states are kept while they arrive.
#[derive(Clone, Debug)]
pub enum SpoolPlace {
    /// In memory, for members that keep all there.
    Memory,
    /// In a directory, which must be there. Files in it have no name, and go with the process.
    Directory(PathBuf),
}

/// A state that arrives, piece by piece.
#[derive(Debug)]
pub struct Spool {
    pieces: Pieces,
    /// The next piece to be read.
    next: usize,
}

#[derive(Debug)]
enum Pieces {
    Memory(Vec<Bytes>),
    File { file: File, ends: Vec<u64> },
}

impl Spool {
    /// An empty one.
    pub fn open(place: &SpoolPlace) -> io::Result<Self> {
        let pieces = match place {
            SpoolPlace::Memory => Pieces::Memory(Vec::new()),
            SpoolPlace::Directory(path) => Pieces::File { file: nameless(path)?, ends: Vec::new() },
        };
        Ok(Self { pieces, next: 0 })
    }

    /// How many pieces there are.
    pub fn len(&self) -> usize {
        match &self.pieces {
            Pieces::Memory(pieces) => pieces.len(),
            Pieces::File { ends, .. } => ends.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a piece. May block.
    pub fn push(&mut self, piece: Bytes) -> io::Result<()> {
        match &mut self.pieces {
            // A copy, as the frame that it came in may be larger.
            Pieces::Memory(pieces) => pieces.push(Bytes::copy_from_slice(&piece)),
            Pieces::File { file, ends } => {
                let start = ends.last().copied().unwrap_or(0);
                file.write_all_at(&piece, start)?;
                ends.push(start + piece.len() as u64);
            }
        }
        Ok(())
    }

    fn next_chunk(&mut self) -> io::Result<Option<StateChunk>> {
        let piece = match &mut self.pieces {
            Pieces::Memory(pieces) => match pieces.get_mut(self.next) {
                Some(piece) => std::mem::take(piece),
                None => return Ok(None),
            },
            Pieces::File { file, ends } => {
                let Some(end) = ends.get(self.next).copied() else { return Ok(None) };
                let start = self.next.checked_sub(1).map_or(0, |before| ends[before]);
                let mut piece = vec![0; usize::try_from(end - start).map_err(io::Error::other)?];
                file.read_exact_at(&mut piece, start)?;
                piece.into()
            }
        };
        self.next += 1;
        StateChunk::decode(piece).map(Some).map_err(io::Error::other)
    }
}

/// A file that is gone when it is closed.
fn nameless(directory: &Path) -> io::Result<File> {
    let path = directory.join("incoming");
    let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use keelkv_proto::keelkv::StateRow;

    use super::*;

    #[test]
    fn pieces_come_back_in_order() {
        let directory = tempfile::tempdir().expect("a directory");
        for place in [SpoolPlace::Memory, SpoolPlace::Directory(directory.path().into())] {
            let mut spool = Spool::open(&place).expect("opens");
            let chunk = |number: u32| StateChunk {
                table: number,
                rows: vec![StateRow { key: vec![b'k'; number as usize * 100].into(), value: Bytes::new() }],
            };
            for number in 0..5 {
                spool.push(chunk(number).encode_to_vec().into()).expect("there is room");
            }
            assert_eq!(spool.len(), 5);
            for number in 0..5 {
                assert_eq!(spool.next_chunk().expect("readable"), Some(chunk(number)));
            }
            assert_eq!(spool.next_chunk().expect("readable"), None);
        }
        assert_eq!(std::fs::read_dir(directory.path()).expect("a directory").count(), 0);
    }
}
