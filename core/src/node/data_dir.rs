//! The data directory: checked, locked and laid out before anything is opened in it.
//!
//! ```text
//! <data-dir>/member/LOCK      held while a member runs
//! <data-dir>/member/wal/      the log (elsewhere by --wal-dir)
//! <data-dir>/member/state/    the state engine; begun after the log
//! <data-dir>/member/incoming/ a state from another member, until it is installed
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::StartError;
use super::start::Opened;
use crate::env::Env;
use crate::storage::lock::Lock;
use crate::storage::log::disk::Disk;
use crate::storage::log::{FileDisk, LogOptions, UnsyncedDisk, begin_if_missing};
use crate::storage::rocks::{RocksEngine, RocksOptions};

/// The directories of a member, locked against a second one.
#[derive(Debug)]
pub(super) struct DataDir {
    wal: PathBuf,
    state: PathBuf,
    incoming: PathBuf,
    _lock: Lock,
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
        make(&member)?;
        let path = member.join("LOCK");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| refused(&path, &error))?;
        let lock = Lock::of(lock).map_err(|error| match error.kind() {
            io::ErrorKind::ResourceBusy => StartError::new(format!(
                "data directory {} is in use by another member, in this process or another one: \
                 stop that one, or give this member its own --data-dir",
                data_dir.display()
            )),
            _ => refused(&path, &error),
        })?;
        let wal = wal_dir.map_or_else(|| member.join("wal"), Path::to_path_buf);
        let state = member.join("state");
        let incoming = member.join("incoming");
        make(&wal)?;
        make(&state)?;
        make(&incoming)?;
        Ok(Self { wal, state, incoming, _lock: lock })
    }

    /// Opens log and state in their places.
    pub(super) fn open_storage(self, env: &Arc<dyn Env>, fsync: bool, log: &LogOptions) -> Result<Opened, StartError> {
        if is_used(&self.state)? && !is_used(&self.wal)? {
            return Err(StartError::new(format!(
                "the log is missing from {}: put it back, or remove the whole data directory and start anew",
                self.wal.display()
            )));
        }
        let disk: Arc<dyn Disk> = FileDisk::open(&self.wal)
            .map_err(|error| StartError::new(format!("cannot open the log in {}: {error}", self.wal.display())))?;
        let arrivals: Arc<dyn Disk> = FileDisk::open_within(&self.incoming)
            .map_err(|error| StartError::new(format!("cannot open {}: {error}", self.incoming.display())))?;
        let unsynced = |disk| -> Arc<dyn Disk> { if fsync { disk } else { Arc::new(UnsyncedDisk(disk)) } };
        let (disk, arrivals) = (unsynced(disk), unsynced(arrivals));
        // Before the state, so that a first start that is cut short does not look like a lost log.
        begin_if_missing(env, disk.as_ref(), log)
            .map_err(|error| StartError::new(format!("cannot begin the log in {}: {error}", self.wal.display())))?;
        let engine = RocksEngine::open(env, &RocksOptions::new(&self.state))
            .map_err(|error| StartError::new(format!("cannot open the state in {}: {error}", self.state.display())))?;
        Ok(Opened { disk, arrivals, engine: Arc::new(engine), data_dir: Some(self) })
    }
}

/// Makes a directory that only its owner can enter, with those above it, so that a loss of power leaves them there.
fn make(path: &Path) -> Result<(), StartError> {
    let parent = path.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
    let Some(parent) = parent else { return Ok(()) };
    if !path.is_dir() {
        if !parent.is_dir() {
            make(parent)?;
        }
        DirBuilder::new().mode(0o700).create(path).map_err(|error| refused(path, &error))?;
    }
    // Also when it was there: an earlier start may have been killed before it came to this.
    match File::open(parent).and_then(|dir| dir.sync_all()) {
        // Where we may not look or write, we did not make this; and some file systems cannot sync directories.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::InvalidInput
            ) =>
        {
            Ok(())
        }
        synced => synced.map_err(|error| refused(parent, &error)),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::TokioEnv;

    #[tokio::test]
    async fn a_first_start_that_was_cut_short_is_not_a_lost_log() {
        let env: Arc<dyn Env> = TokioEnv::new(tokio::runtime::Handle::current());
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a").join("b");
        // Nothing ran but the opening of the storage, as if the process was killed right then.
        for _ in 0..2 {
            let opened = DataDir::open(&path, None).unwrap().open_storage(&env, true, &LogOptions::default()).unwrap();
            drop(opened);
        }
        let wal = path.join("member").join("wal");
        fs::remove_dir_all(&wal).unwrap();
        let refused =
            DataDir::open(&path, None).unwrap().open_storage(&env, true, &LogOptions::default()).err().unwrap();
        assert!(refused.to_string().starts_with("the log is missing"), "{refused}");
    }

    #[test]
    fn a_data_directory_is_free_again_though_a_forked_process_has_it_open() {
        let parent = tempfile::tempdir().unwrap();
        let first = DataDir::open(parent.path(), None).unwrap();
        let forked = first._lock.file().try_clone().unwrap();
        let refused = DataDir::open(parent.path(), None).err().unwrap();
        assert!(refused.to_string().contains("in this process or another one: stop that one"), "{refused}");
        drop(first);
        DataDir::open(parent.path(), None).unwrap();
        drop(forked);
    }

    #[test]
    fn a_data_directory_and_those_above_it_are_made() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a").join("b");
        DataDir::open(&path, Some(&parent.path().join("log"))).unwrap();
        assert!(path.join("member").join("state").is_dir());
        assert!(parent.path().join("log").is_dir());
    }
}
