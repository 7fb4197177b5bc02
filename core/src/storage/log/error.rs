//! Why a log cannot be opened.

use std::io;

/// Each is one line that says what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Something that had been made durable is not readable any more.
    #[error(
        "the log is damaged: {file} at byte {offset}: {what}; nothing was changed: \
         rebuild this member from its peers, or restore a backup"
    )]
    Damaged {
        /// The segment.
        file: String,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// Written by a later version.
    #[error("the log in {file} has format {version}, which is newer than this version understands: run the newer one")]
    Newer {
        /// The segment.
        file: String,
        /// Its format.
        version: u32,
    },
    /// The operating system refused.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Its answer.
        source: io::Error,
    },
}

impl OpenError {
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what: what.into(), source }
    }
}
