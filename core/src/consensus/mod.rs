//! Agreement: a thin adapter around openraft.

mod packed;
mod raft_types;

pub use self::packed::{Answers, Packed};
pub use self::raft_types::{Entry, LeaderId, LogId, RaftConfig, Vote};
