//! The few file operations that the log needs, and states that arrive, so that a simulator can stand in for the disk.

use std::fmt::Debug;
use std::io;
use std::sync::Arc;

/// A directory of files. Every method may block.
///
/// After a crash only that much is certain: bytes written before a successful
/// [`DiskFile::sync_data`] of that file, and names made, changed or removed before a successful
/// [`Disk::sync_dir`]. Everything later may be there in part, or not at all.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Names of the files, in no order.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Bytes that are free, and all there are; zero of both if it does not tell.
    fn space(&self) -> io::Result<(u64, u64)>;

    /// Makes a new file of `size` bytes of zeros with the space for them reserved; the length is
    /// durable after [`DiskFile::sync_data`]. Fails if the name is taken, or the space is not there.
    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Renames a file over whatever has the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes names durable.
    fn sync_dir(&self) -> io::Result<()>;
}

/// One open file.
pub trait DiskFile: Debug + Send + Sync + 'static {
    /// Length in bytes.
    fn size(&self) -> io::Result<u64>;

    /// Fills `buffer` from `offset`; the end of the file before that is an error.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`; the file becomes longer if need be.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes what was written durable.
    fn sync_data(&self) -> io::Result<()>;
}
