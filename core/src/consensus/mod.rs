//! Agreement: a thin adapter around openraft.
//!
//! ```text
//! requests ─> proposer ─> openraft ─> log store ─> the log
//!                           │   ▲
//!                 network ◀─┘   │ wire ◀─ other members
//!                           └─> state machine ─> apply, and the proposer's answers
//! ```

mod callback;
mod digests;
mod log_store;
mod membership;
mod network;
mod packed;
mod passage;
mod proposer;
mod raft_types;
mod reach;
mod receiving;
mod sending;
mod slow_apply;
mod snapshot_data;
mod spool;
mod state_machine;
#[cfg(test)]
mod suite_tests;
pub mod wire;

pub use self::callback::Callback;
pub use self::digests::Digests;
pub use self::log_store::LogStore;
pub use self::membership::{
    decode_membership, decode_stored_membership, encode_membership, encode_stored_membership, log_id,
};
pub use self::network::{Network, Timing};
pub use self::packed::{Origin, Packed};
pub use self::proposer::{Landing, Proposer, Route, Submit};
pub use self::raft_types::{
    Done, Entry, LeaderId, LogId, Payload, RaftConfig, Runtime, StoredMembership, Vote, WriteResult,
};
pub use self::reach::Reach;
pub use self::receiving::Receiving;
pub use self::slow_apply::SlowApply;
pub use self::snapshot_data::SnapshotData;
pub use self::spool::Spool;
pub use self::state_machine::{Around, Snapshot, SnapshotBuilder, StateMachine};
