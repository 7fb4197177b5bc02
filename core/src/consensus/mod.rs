//! Agreement: a thin adapter around openraft.

mod callback;
mod log_store;
mod membership;
mod network;
mod packed;
mod proposer;
mod raft_types;
mod slow_apply;
mod state_machine;
#[cfg(test)]
mod suite_tests;

pub use self::callback::Callback;
pub use self::log_store::LogStore;
pub use self::membership::{
    decode_membership, decode_stored_membership, encode_membership, encode_stored_membership, log_id,
};
pub use self::network::NoPeers;
pub use self::packed::{Answers, Packed};
pub use self::proposer::{Proposer, Submit};
pub use self::raft_types::{Entry, LeaderId, LogId, Payload, RaftConfig, Runtime, StoredMembership, Vote, WriteResult};
pub use self::slow_apply::SlowApply;
pub use self::state_machine::{Snapshot, SnapshotBuilder, SnapshotData, StateMachine};
