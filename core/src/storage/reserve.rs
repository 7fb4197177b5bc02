//! Space on the disk that is set aside for the time when it is full.
//!
//! ```text
//! free space:  |-- one flush --|-- what else was accepted --|-- headroom --|-- ballast --| ...
//!              0 ... None ...  | ... Reserve ............................................ | Ample
//! ```
//!
//! A file, the ballast, takes space that nothing else on the disk can take then. While it is there, its
//! part of the picture is taken already. When the rest is not free any more the file goes, and its
//! space serves what makes room: deletions, compactions, and the flushes that they need. It comes back
//! once there is room for all of it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::engine::Room;

/// What must always stay free besides what a flush writes: the engine's own notes about its files.
const FLUSH_EXTRA_BYTES: u64 = 4 << 20;

/// The ballast of one directory.
pub struct Reserve {
    file: PathBuf,
    ballast_bytes: u64,
    headroom_bytes: u64,
    held: bool,
    free: Free,
}

/// How much is free on the disk of a directory, and how large it is.
type Free = Box<dyn Fn() -> io::Result<(u64, u64)> + Send>;

impl Reserve {
    /// Sets up the reserve in `directory`. A small disk gives an eighth for each purpose at most.
    pub fn open(directory: &Path, ballast_bytes: u64, headroom_bytes: u64) -> io::Result<Self> {
        let watched = directory.to_owned();
        Self::with(directory, ballast_bytes, headroom_bytes, Box::new(move || disk_bytes(&watched)))
    }

    fn with(directory: &Path, ballast_bytes: u64, headroom_bytes: u64, free: Free) -> io::Result<Self> {
        let (_, all) = free()?;
        let file = directory.join("KEELKV_BALLAST");
        let mut reserve = Self {
            ballast_bytes: ballast_bytes.min(all / 8),
            headroom_bytes: headroom_bytes.min(all / 8),
            held: false,
            free,
            file,
        };
        match fs::metadata(&reserve.file) {
            Ok(found) if found.len() == reserve.ballast_bytes => reserve.held = true,
            // Of another size, or cut short by a crash.
            Ok(_) => fs::remove_file(&reserve.file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        reserve.room(0, 0)?;
        Ok(reserve)
    }

    /// Whether there is room to write `unflushed` bytes now and `backlog` bytes after that; gives up the
    /// ballast or takes it back.
    pub fn room(&mut self, unflushed: u64, backlog: u64) -> io::Result<Room> {
        let needed = unflushed.saturating_add(FLUSH_EXTRA_BYTES.min(self.headroom_bytes));
        let ample = needed.saturating_add(backlog).saturating_add(self.headroom_bytes);
        let (mut free, _) = (self.free)()?;
        if self.held {
            if free >= ample {
                return Ok(Room::Ample);
            }
            fs::remove_file(&self.file)?;
            self.held = false;
            free = (self.free)()?.0;
        } else if free >= ample.saturating_add(self.ballast_bytes + self.headroom_bytes / 2) && self.take()? {
            // Half a headroom more than it was lost at, or it would come and go with every flush.
            return Ok(Room::Ample);
        }
        Ok(if free >= needed { Room::Reserve } else { Room::None })
    }

    /// Makes the ballast; false if somebody else was faster to take the space.
    fn take(&mut self) -> io::Result<bool> {
        let made = File::create(&self.file).and_then(|file| {
            if self.ballast_bytes > 0 {
                rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, self.ballast_bytes)?;
            }
            file.sync_all()
        });
        match made {
            Ok(()) => self.held = true,
            Err(error) if error.kind() == io::ErrorKind::StorageFull => fs::remove_file(&self.file)?,
            Err(error) => return Err(error),
        }
        Ok(self.held)
    }
}

impl std::fmt::Debug for Reserve {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reserve").field("file", &self.file).field("held", &self.held).finish_non_exhaustive()
    }
}

/// (free, all) bytes of the disk that `directory` is on.
pub(crate) fn disk_bytes(directory: &Path) -> io::Result<(u64, u64)> {
    let disk = rustix::fs::statvfs(directory)?;
    Ok((disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A disk of 16 GiB on which other things take `used`; the ballast counts by itself.
    fn reserve(directory: &Path, used: &Arc<AtomicU64>) -> Reserve {
        let (used, file) = (Arc::clone(used), directory.join("KEELKV_BALLAST"));
        let free = move || {
            let ballast = fs::metadata(&file).map_or(0, |found| found.len());
            Ok(((16_384 * MIB).saturating_sub(used.load(Ordering::Relaxed) + ballast), 16_384 * MIB))
        };
        Reserve::with(directory, 2 * MIB, 128 * MIB, Box::new(free)).unwrap()
    }

    #[test]
    fn gives_and_takes_the_ballast() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("KEELKV_BALLAST");
        let used = Arc::new(AtomicU64::new(0));
        let mut reserve = reserve(directory.path(), &used);
        assert_eq!(fs::metadata(&file).unwrap().len(), 2 * MIB);
        let fill = |free: u64| used.store((16_384 - free) * MIB, Ordering::Relaxed);
        let mut look = |bytes: u64| {
            let room = reserve.room((bytes - 4) * MIB, 4 * MIB).unwrap();
            assert_eq!(file.exists(), room == Room::Ample);
            room
        };
        // 12 now, 4 later, 4 for notes about files, a headroom of 128, and the ballast's own 2.
        fill(150);
        assert_eq!(look(16), Room::Ample);
        fill(149);
        assert_eq!(look(16), Room::Reserve);
        fill(213);
        assert_eq!(look(16), Room::Reserve, "to have everything again takes half the headroom more");
        fill(16);
        assert_eq!(look(16), Room::Reserve, "what is accepted for later need not have room now");
        fill(15);
        assert_eq!(look(16), Room::None);
        assert_eq!(look(15), Room::Reserve);
        fill(214);
        assert_eq!(look(16), Room::Ample);
    }

    #[test]
    fn an_unfinished_ballast_is_made_anew() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("KEELKV_BALLAST");
        fs::write(&file, b"short").unwrap();
        let used = Arc::new(AtomicU64::new(0));
        let first = reserve(directory.path(), &used);
        assert_eq!(fs::metadata(&file).unwrap().len(), 2 * MIB);
        drop(first);
        used.store(16_384 * MIB, Ordering::Relaxed);
        let mut full = reserve(directory.path(), &used);
        assert!(!file.exists(), "a start on a full disk uses the reserve");
        assert_eq!(full.room(0, 0).unwrap(), Room::None, "and there is nothing else");
    }

    #[test]
    fn a_real_disk_has_numbers() {
        let directory = tempfile::tempdir().unwrap();
        let (free, all) = disk_bytes(directory.path()).unwrap();
        assert!(0 < free && free <= all);
        let mut reserve = Reserve::open(directory.path(), MIB, MIB).unwrap();
        assert_eq!(reserve.room(1, 1).unwrap(), Room::Ample);
        assert_eq!(reserve.room(u64::MAX, u64::MAX).unwrap(), Room::None);
    }
}
