//! A disk that is never waited for.

use std::io;
use std::sync::Arc;

use super::disk::{Disk, DiskFile};

/// Leaves it to the operating system when writes reach the disk: a loss of power loses acknowledged
/// writes, and may leave a log that is refused as damaged. For data that can be thrown away.
#[derive(Debug)]
pub struct UnsyncedDisk(pub Arc<dyn Disk>);

#[derive(Debug)]
struct UnsyncedFile(Arc<dyn DiskFile>);

impl Disk for UnsyncedDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }

    fn space(&self) -> io::Result<(u64, u64)> {
        self.0.space()
    }

    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(UnsyncedFile(self.0.create(name, size)?)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(UnsyncedFile(self.0.open(name)?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for UnsyncedFile {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}
