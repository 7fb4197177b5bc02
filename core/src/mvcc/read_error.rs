//! Why a read inside the store did not succeed.

use std::io;

use crate::types::{Code, Error, Revision};

/// A read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// As the client is told.
    #[error(transparent)]
    Refused(#[from] Error),
    /// The index knows a change whose row is gone: compacted meanwhile, or lost.
    #[error("no row for revision {0}")]
    Missing(Revision),
    /// The engine failed, or what it gave cannot be read.
    #[error("state engine: {0}")]
    Io(#[from] io::Error),
}

impl From<Code> for ReadError {
    fn from(code: Code) -> Self {
        Self::Refused(code.into())
    }
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Refused(error) => error,
            other => Self::new(Code::Internal, other.to_string()),
        }
    }
}
