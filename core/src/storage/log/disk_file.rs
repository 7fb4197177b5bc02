//! The real disk: one directory, locked for one user.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use crate::storage::lock::Lock;
use crate::storage::reserve::disk_bytes;

const ZEROS: usize = 1 << 20;

/// A directory of the file system, which only one user at a time can have.
#[derive(Debug)]
pub struct FileDisk {
    path: PathBuf,
    /// Held open for syncs.
    directory: Directory,
}

#[derive(Debug)]
enum Directory {
    Locked(Lock),
    /// Inside one that is locked.
    Within(File),
}

impl FileDisk {
    /// Opens a directory and locks it; makes it, readable for its owner only, if it is not there.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Arc<Self>> {
        let path = path.into();
        if !path.try_exists()? {
            fs::DirBuilder::new().mode(0o700).create(&path)?;
            let parent =
                path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
            File::open(parent)?.sync_all()?;
        }
        let directory = File::open(&path)?;
        let lock = Lock::of(directory).map_err(|error| match error.kind() {
            io::ErrorKind::ResourceBusy => io::Error::new(
                error.kind(),
                format!(
                    "{} is in use by another member, in this process or another one: stop that one first",
                    path.display()
                ),
            ),
            _ => error,
        })?;
        Ok(Arc::new(Self { path, directory: Directory::Locked(lock) }))
    }

    /// A directory inside one that its user has locked already.
    pub fn open_within(path: impl Into<PathBuf>) -> io::Result<Arc<Self>> {
        let path = path.into();
        let directory = File::open(&path)?;
        Ok(Arc::new(Self { path, directory: Directory::Within(directory) }))
    }

    fn fill(file: &File, size: u64) -> io::Result<()> {
        if size == 0 {
            return Ok(());
        }
        match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, size) {
            // Some file systems cannot; the zeros below then do it alone.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
            Err(error) => return Err(error.into()),
        }
        // Reserved space that was never written is marked so in the file's metadata, and each first
        // write would have to sync that too.
        let zeros = vec![0; ZEROS];
        let mut offset = 0;
        while offset < size {
            let length = (size - offset).min(ZEROS as u64) as usize;
            FileExt::write_all_at(file, &zeros[..length], offset)?;
            offset += length as u64;
        }
        Ok(())
    }
}

impl Disk for FileDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn space(&self) -> io::Result<(u64, u64)> {
        disk_bytes(&self.path)
    }

    fn create(&self, name: &str, size: u64) -> io::Result<Arc<dyn DiskFile>> {
        // An attempt that must fail would still take all that is left, for as long as it lasts, from others who
        // need little. A disk that does not tell is tried.
        if self.space().is_ok_and(|(free, all)| all > 0 && free < size) {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        let path = self.path.join(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        if let Err(error) = Self::fill(&file, size) {
            // Half a file would only keep the space that others need now.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).open(self.path.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        match &self.directory {
            Directory::Locked(lock) => lock.file(),
            Directory::Within(directory) => directory,
        }
        .sync_all()
    }
}

impl DiskFile for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync_data()
    }
}
