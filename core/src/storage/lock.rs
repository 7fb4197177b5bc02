//! One member to a directory.

use std::fs::File;
use std::io;
use std::process;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// An open file that nobody else can lock meanwhile.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
    process: u32,
}

impl Lock {
    /// Locks the file, or says with [`io::ErrorKind::ResourceBusy`] that somebody has it locked.
    pub(crate) fn of(file: File) -> io::Result<Self> {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { file, process: process::id() }),
            Err(Errno::WOULDBLOCK) => Err(io::ErrorKind::ResourceBusy.into()),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) const fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for Lock {
    /// Closing alone would leave the file locked for as long as a process lives that was forked meanwhile: it has the
    /// same open file. For that reason such a process must not unlock it either.
    fn drop(&mut self) {
        if process::id() == self.process {
            // What goes wrong here leaves the file to its closing.
            let _ = flock(&self.file, FlockOperation::Unlock);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_free_again_though_a_forked_process_has_it_open() {
        let path = tempfile::NamedTempFile::new().expect("a file");
        let open = || File::open(path.path()).expect("opens");
        let mut lock = Lock::of(open()).expect("nobody has it");
        // As a fork leaves it: another descriptor of the same open file.
        let copy = lock.file().try_clone().expect("a copy");
        assert_eq!(Lock::of(open()).expect_err("it is taken").kind(), io::ErrorKind::ResourceBusy);

        // The forked process lets go of it, which means nothing.
        lock.process += 1;
        drop(lock);
        assert_eq!(Lock::of(open()).expect_err("it is taken").kind(), io::ErrorKind::ResourceBusy);

        drop(Lock::of(copy.try_clone().expect("a copy")).expect("the same open file"));
        Lock::of(open()).expect("it is free");
        drop(copy);
    }
}
