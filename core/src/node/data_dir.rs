//! The data directory: checked, locked and laid out before anything is opened in it.
//!
//! ```text
//! <data-dir>/member/LOCK    held while a member runs
//! <data-dir>/member/wal/    the log (elsewhere by --wal-dir)
//! <data-dir>/member/state/  the state engine
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};

use super::StartError;
use super::start::Opened;
use crate::env::Env;
use crate::storage::log::disk::Disk;
use crate::storage::log::{FileDisk, UnsyncedDisk};
use crate::storage::rocks::{RocksEngine, RocksOptions};

/// The directories of a member, locked against a second one.
#[derive(Debug)]
pub(super) struct DataDir {
    wal: PathBuf,
    state: PathBuf,
    /// Held for its lock.
    _lock: File,
}

impl DataDir {
    /// Makes what is missing and refuses what cannot be used.
    pub(super) fn open(data_dir: &Path, wal_dir: Option<&Path>) -> Result<Self, StartError> {
        let member = data_dir.join("member");
        if member.join("snap").join("db").exists() {
            return Err(StartError::new(format!(
                "data directory {} belongs to etcd: choose another --data-dir for this member",
                data_dir.display()
            )));
        }
        make(data_dir)?;
        make(&member)?;
        let path = member.join("LOCK");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| refused(&path, &error))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            StartError::new(format!(
                "data directory {} is in use by another process: stop it, or give this member its own --data-dir",
                data_dir.display()
            ))
        })?;
        let wal = wal_dir.map_or_else(|| member.join("wal"), Path::to_path_buf);
        let state = member.join("state");
        make(&wal)?;
        make(&state)?;
        sync_dir(&member)?;
        sync_dir(data_dir)?;
        Ok(Self { wal, state, _lock: lock })
    }

    /// Opens log and state in their places.
    pub(super) fn open_storage(self, env: &Arc<dyn Env>, fsync: bool) -> Result<Opened, StartError> {
        if is_used(&self.state)? && !is_used(&self.wal)? {
            return Err(StartError::new(format!(
                "the log is missing from {}: put it back, or remove the whole data directory and start anew",
                self.wal.display()
            )));
        }
        let engine = RocksEngine::open(env, &RocksOptions::new(&self.state))
            .map_err(|error| StartError::new(format!("cannot open the state in {}: {error}", self.state.display())))?;
        let disk: Arc<dyn Disk> = FileDisk::open(&self.wal)
            .map_err(|error| StartError::new(format!("cannot open the log in {}: {error}", self.wal.display())))?;
        let disk = if fsync { disk } else { Arc::new(UnsyncedDisk(disk)) };
        Ok(Opened { disk, engine: Arc::new(engine), data_dir: Some(self) })
    }
}

/// Makes a directory that only its owner can enter, with those above it.
fn make(path: &Path) -> Result<(), StartError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| refused(path, &error))
}

fn sync_dir(path: &Path) -> Result<(), StartError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(|error| refused(path, &error))
}

fn refused(path: &Path, error: &io::Error) -> StartError {
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "give this user write access to it, or choose another --data-dir"
        }
        io::ErrorKind::StorageFull => "free space on its file system",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "a file is in its place: choose another --data-dir"
        }
        _ => "check the file system",
    };
    StartError::new(format!("cannot use {}: {error}; {advice}", path.display()))
}

/// Whether a directory has anything in it.
fn is_used(path: &Path) -> Result<bool, StartError> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) => Err(refused(path, &error)),
    }
}
