//! Why a member cannot go on applying.

use std::io;

use crate::mvcc::ReadError;

/// The state machine stopped. Going on would make this member differ from the others: it must stop
/// serving and say why.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot apply the log any further: {0}")]
pub struct Fault(String);

impl Fault {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        Self(error.to_string())
    }
}
