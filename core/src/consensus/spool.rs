//! A state on its way into a member, on that member's disk.
//!
//! ```text
//! state.arriving    piece, piece, ...       let go of by the next start
//!      │  seal: durable, and renamed
//! state.installing  taken once more by the next start, until it is removed
//! ```
//!
//! From the moment the member's own state is touched until the other one stands in its place, whatever ends the
//! member leaves the other one here.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use keelkv_proto::keelkv::StateChunk;
use prost::Message;

use crate::storage::log::disk::{Disk, DiskFile};

const ARRIVING: &str = "state.arriving";
const INSTALLING: &str = "state.installing";
/// Before each piece: its length and its checksum, little-endian.
const HEADER: usize = 8;

/// What is left of the disk to the member that goes on meanwhile: its reserve must not be used up by a state that can
/// come again. On a small disk it is a quarter of it.
const LEFT_BYTES: u64 = 256 << 20;

/// The pieces of a state, in one file. All of its methods may block.
#[derive(Debug)]
pub struct Spool {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    /// Where each piece ends.
    ends: Vec<u64>,
    /// The next piece to be read.
    next: usize,
}

impl Spool {
    /// An empty one, in the place of one that never became whole. An error of kind `StorageFull` if the disk is nearly
    /// full.
    pub fn begin(disk: &Arc<dyn Disk>) -> io::Result<Self> {
        sweep(disk)?;
        check_room(disk, 0)?;
        let file = disk.create(ARRIVING, 0)?;
        Ok(Self { disk: Arc::clone(disk), file, ends: Vec::new(), next: 0 })
    }

    /// What was being installed when the member ended, if it was.
    pub fn interrupted(disk: &Arc<dyn Disk>) -> io::Result<Option<Self>> {
        sweep(disk)?;
        if !disk.list()?.iter().any(|name| name == INSTALLING) {
            return Ok(None);
        }
        let file = disk.open(INSTALLING)?;
        let (size, mut end, mut ends) = (file.size()?, 0, Vec::new());
        while end < size {
            let mut header = [0; HEADER];
            file.read_exact_at(&mut header, end)?;
            end += HEADER as u64 + u64::from(split(header).0);
            ends.push(end);
        }
        Ok(Some(Self { disk: Arc::clone(disk), file, ends, next: 0 }))
    }

    /// How many pieces there are.
    pub fn pieces(&self) -> u64 {
        self.ends.len() as u64
    }

    /// Adds a piece, which has this checksum. An error of kind `StorageFull` if the disk would be nearly full then.
    pub fn push(&mut self, piece: &[u8], checksum: u32) -> io::Result<()> {
        let length = u32::try_from(piece.len()).map_err(io::Error::other)?;
        let start = self.ends.last().copied().unwrap_or(0);
        check_room(&self.disk, piece.len() as u64)?;
        let framed = [&length.to_le_bytes()[..], &checksum.to_le_bytes(), piece].concat();
        self.file.write_all_at(&framed, start)?;
        self.ends.push(start + framed.len() as u64);
        Ok(())
    }

    /// Keeps the whole state over the end of the member, until [`Spool::remove`].
    pub fn seal(&self) -> io::Result<()> {
        self.file.sync_data()?;
        self.disk.rename(ARRIVING, INSTALLING)?;
        self.disk.sync_dir()
    }

    /// The next piece; `None` after the last. One that is damaged is an error.
    pub fn next_chunk(&mut self) -> io::Result<Option<StateChunk>> {
        let Some(end) = self.ends.get(self.next).copied() else { return Ok(None) };
        let start = self.next.checked_sub(1).map_or(0, |before| self.ends[before]);
        let mut header = [0; HEADER];
        self.file.read_exact_at(&mut header, start)?;
        let mut piece = vec![0; usize::try_from(end - start).map_err(io::Error::other)? - HEADER];
        self.file.read_exact_at(&mut piece, start + HEADER as u64)?;
        if crc32c::crc32c(&piece) != split(header).1 {
            let text = format!("piece {} of the state in {INSTALLING} is damaged", self.next);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        self.next += 1;
        StateChunk::decode(Bytes::from(piece)).map(Some).map_err(io::Error::other)
    }

    /// Lets go of a state that was sealed and stands in its place now.
    pub fn remove(self) -> io::Result<()> {
        self.disk.remove(INSTALLING)?;
        self.disk.sync_dir()
    }
}

/// Removes what arrived and was never sealed. Nobody may write it any more.
pub(super) fn sweep(disk: &Arc<dyn Disk>) -> io::Result<()> {
    if disk.list()?.iter().any(|name| name == ARRIVING) {
        disk.remove(ARRIVING)?;
    }
    Ok(())
}

fn check_room(disk: &Arc<dyn Disk>, needed: u64) -> io::Result<()> {
    let (free, all) = disk.space()?;
    if all > 0 && free < needed.saturating_add(LEFT_BYTES.min(all / 4)) {
        let text = format!("{free} bytes of the disk are free, and the rest of them is for other things");
        return Err(io::Error::new(io::ErrorKind::StorageFull, text));
    }
    Ok(())
}

/// Length and checksum of a piece.
fn split(header: [u8; HEADER]) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = header;
    (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
}

#[cfg(test)]
mod tests {
    use keelkv_proto::keelkv::StateRow;

    use super::*;
    use crate::storage::log::{Crash, FileDisk, SimDisk};

    fn chunk(number: u32) -> StateChunk {
        StateChunk {
            table: number,
            rows: vec![StateRow { key: vec![b'k'; number as usize * 100].into(), value: Bytes::new() }],
        }
    }

    fn filled(disk: &Arc<dyn Disk>) -> Spool {
        let mut spool = Spool::begin(disk).expect("begins");
        for number in 0..5 {
            let piece = chunk(number).encode_to_vec();
            spool.push(&piece, crc32c::crc32c(&piece)).expect("there is room");
        }
        spool
    }

    fn assert_whole(mut spool: Spool) -> Spool {
        assert_eq!(spool.pieces(), 5);
        for number in 0..5 {
            assert_eq!(spool.next_chunk().expect("readable"), Some(chunk(number)));
        }
        assert_eq!(spool.next_chunk().expect("readable"), None);
        spool
    }

    #[test]
    fn pieces_come_back_in_order_until_they_are_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        let disks: [Arc<dyn Disk>; 2] = [SimDisk::new(), FileDisk::open(directory.path()).expect("opens")];
        for disk in disks {
            let spool = filled(&disk);
            spool.seal().expect("sealed");
            assert_whole(spool);
            let again = Spool::interrupted(&disk).expect("readable").expect("is there");
            assert_whole(again).remove().expect("removed");
            assert!(Spool::interrupted(&disk).expect("readable").is_none());
            assert_eq!(disk.list().expect("readable"), Vec::<String>::new());
        }
    }

    #[test]
    fn what_was_sealed_outlives_a_loss_of_power_and_what_was_not_is_let_go_of() {
        for seed in 0..64 {
            let (sealed, arriving) = (SimDisk::new(), SimDisk::new());
            filled(&(Arc::clone(&sealed) as Arc<dyn Disk>)).seal().expect("sealed");
            let after: Arc<dyn Disk> = sealed.crash(Crash::Power(seed));
            assert_whole(Spool::interrupted(&after).expect("readable").expect("is there"));

            filled(&(Arc::clone(&arriving) as Arc<dyn Disk>));
            let after: Arc<dyn Disk> = arriving.crash(Crash::Power(seed));
            assert!(Spool::interrupted(&after).expect("readable").is_none());
            assert_eq!(after.list().expect("readable"), Vec::<String>::new());
        }
    }

    #[test]
    fn a_quarter_of_a_small_disk_is_left_to_others() {
        let sim = SimDisk::new();
        sim.set_capacity(Some(10_000));
        let disk: Arc<dyn Disk> = Arc::clone(&sim) as _;
        let mut spool = Spool::begin(&disk).expect("there is room");
        let piece = [0; 1000];
        let full = loop {
            if let Err(error) = spool.push(&piece, crc32c::crc32c(&piece)) {
                break error;
            }
        };
        assert_eq!((full.kind(), spool.pieces()), (io::ErrorKind::StorageFull, 7));
        sim.set_capacity(Some(8000));
        spool.push(&[], 0).expect_err("there is less room");
        assert_eq!(Spool::begin(&disk).expect("the other one is gone").pieces(), 0);
        disk.create("other", 6500).expect("there is room");
        assert_eq!(Spool::begin(&disk).map(drop).map_err(|error| error.kind()), Err(io::ErrorKind::StorageFull));
    }

    #[test]
    fn damage_is_noticed() {
        let disk = SimDisk::new();
        filled(&(Arc::clone(&disk) as Arc<dyn Disk>)).seal().expect("sealed");
        disk.tamper(INSTALLING, |bytes| *bytes.last_mut().expect("not empty") ^= 1);
        let mut spool = Spool::interrupted(&(disk as Arc<dyn Disk>)).expect("readable").expect("is there");
        for _ in 0..4 {
            spool.next_chunk().expect("readable");
        }
        let damaged = spool.next_chunk().expect_err("damaged");
        assert_eq!(damaged.kind(), io::ErrorKind::InvalidData);
    }
}
