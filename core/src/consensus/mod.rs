//! Agreement: a thin adapter around openraft.

mod callback;
mod log_store;
mod membership;
mod packed;
mod raft_types;

pub use self::callback::Callback;
pub use self::log_store::LogStore;
pub use self::membership::{
    decode_membership, decode_stored_membership, encode_membership, encode_stored_membership, log_id,
};
pub use self::packed::{Answers, Packed};
pub use self::raft_types::{Entry, LeaderId, LogId, Payload, RaftConfig, Runtime, StoredMembership, Vote};
