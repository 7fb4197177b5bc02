//! Agreement: a thin adapter around openraft.

mod callback;
mod packed;
mod raft_types;

pub use self::callback::Callback;
pub use self::packed::{Answers, Packed};
pub use self::raft_types::{Entry, LeaderId, LogId, Payload, RaftConfig, Runtime, StoredMembership, Vote};
