//! Errors of RocksDB, and of the start.

use std::io;
use std::path::PathBuf;

/// Why a state directory cannot be used: one line that says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the texts say it all")]
pub enum OpenError {
    #[error(
        "data directory {directory} is not writable: {source}; give it to the user that runs this, or choose another"
    )]
    NotWritable { directory: PathBuf, source: io::Error },
    #[error(
        "data directory {directory} was written by a newer version (state format {found}, this one knows up to {known}); start the newer version"
    )]
    NewerFormat { directory: PathBuf, found: u32, known: u32 },
    #[error("data directory {directory} holds files that are not ours ({name}); choose an empty one")]
    Foreign { directory: PathBuf, name: String },
    #[error(
        "data directory {directory} is in use by another member, in this process or another one; stop that one first"
    )]
    InUse { directory: PathBuf },
    #[error(
        "data directory {directory} is damaged: {detail}; restore it from a backup, or remove the member and add it anew"
    )]
    Damaged { directory: PathBuf, detail: String },
    #[error("data directory {directory} cannot be opened: {source}")]
    Io { directory: PathBuf, source: io::Error },
}

impl From<OpenError> for io::Error {
    fn from(error: OpenError) -> Self {
        Self::other(error)
    }
}

impl OpenError {
    /// What RocksDB's answer to the opening of `directory` means.
    pub(super) fn from_rocksdb(directory: PathBuf, error: &rocksdb::Error) -> Self {
        let text = error.to_string();
        // Held by another process, or by this one.
        let held = text.contains("Resource temporarily unavailable") || text.contains("lock hold by current process");
        if held && text.contains("/LOCK") {
            return Self::InUse { directory };
        }
        match error.kind() {
            rocksdb::ErrorKind::Corruption | rocksdb::ErrorKind::InvalidArgument => {
                Self::Damaged { directory, detail: text }
            }
            _ => Self::Io { directory, source: to_io(error) },
        }
    }
}

/// How RocksDB words a full disk; its C interface passes on no more than the text.
pub(super) const FULL: &str = "No space left on device";

/// RocksDB's error as an I/O error; `StorageFull` and `InvalidData` are told apart.
pub(super) fn to_io(error: &rocksdb::Error) -> io::Error {
    let text = error.to_string();
    let kind = match error.kind() {
        rocksdb::ErrorKind::Corruption => io::ErrorKind::InvalidData,
        rocksdb::ErrorKind::IOError if text.contains(FULL) => io::ErrorKind::StorageFull,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, format!("state engine: {text}"))
}
