//! What a caller can meet.

use tonic::{Code, Status};

/// What a call returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed, sorted by what the caller can do about it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An endpoint is not a URL.
    #[error("unusable endpoint {0}: write it as http://host:port")]
    Endpoint(String),
    /// The member cannot be reached or cannot serve now, and did nothing: try again.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// No answer came in time, or the connection broke meanwhile. A change may or may not have been
    /// made: read before trying again.
    #[error("outcome unknown: {0}")]
    OutcomeUnknown(String),
    /// The history asked for was compacted away; it begins after this revision (0 if not told).
    #[error("compacted up to revision {0}")]
    Compacted(i64),
    /// The lease has expired or was revoked, or never was.
    #[error("lease not found")]
    LeaseNotFound,
    /// The server refused the request: change it, or the server's state, first.
    #[error("{message}")]
    Refused {
        /// gRPC status code.
        code: Code,
        /// The server's words.
        message: String,
    },
}

impl Error {
    /// Whether the same call may simply be made again: it was not carried out.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let message = status.message().to_owned();
        match (status.code(), message.as_str()) {
            (_, "etcdserver: mvcc: required revision has been compacted") => Self::Compacted(0),
            (_, "etcdserver: requested lease not found") => Self::LeaseNotFound,
            (Code::Unavailable, text) if text.contains("timed out") => Self::OutcomeUnknown(message),
            (
                Code::Unavailable,
                "etcdserver: no leader" | "etcdserver: leader changed" | "etcdserver: server stopped",
            ) => Self::Unavailable(message),
            // A transport error says nothing about how far the request came.
            (Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled, _) => Self::OutcomeUnknown(message),
            (code, _) => Self::Refused { code, message },
        }
    }
}
