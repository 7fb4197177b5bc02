//! The types that openraft runs on.

use openraft::impls::{InlineBatch, Vote as RaftVote, leader_id_std};
use openraft::type_config::alias::LogIdOf;
use openraft::{EmptyNode, EntryPayload, RaftTypeConfig, TokioRuntime};
use openraft_rt::deterministic_rng::DeterministicRng;

use super::{Callback, Packed};

/// keelkv's choice of types.
#[derive(Debug, Clone, Copy, Default, Eq, PartialEq, Ord, PartialOrd)]
pub struct RaftConfig;

/// A leader: its term and its member id. There is at most one in a term.
pub type LeaderId = leader_id_std::LeaderId<u64, u64>;
/// Place of an entry in the log.
pub type LogId = LogIdOf<RaftConfig>;
/// A vote, as saved in the log.
pub type Vote = RaftVote<LeaderId>;
/// What one entry holds: nothing, commands, or a membership.
pub type Payload = EntryPayload<Packed, u64, EmptyNode>;
/// One entry of the log.
pub type Entry = openraft::Entry<<LeaderId as openraft::vote::RaftLeaderId>::Committed, Payload>;
/// The voters and learners that an entry established.
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<RaftConfig>;

/// What becomes of an entry that was handed to the core.
pub type WriteResult =
    Result<openraft::raft::ClientWriteResponse<RaftConfig>, openraft::errors::ClientWriteError<RaftConfig>>;

/// Tokio's time and tasks, with randomness from a seed set where the member starts.
pub type Runtime = DeterministicRng<TokioRuntime>;

/// What the library is told of an entry that was applied. Its answers go elsewhere: see [`super::Proposer`].
#[derive(Debug, Clone, Copy)]
pub struct Done;

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("done")
    }
}

impl RaftTypeConfig for RaftConfig {
    type D = Packed;
    type R = Done;
    type NodeId = u64;
    type Node = EmptyNode;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = Entry;
    type AsyncRuntime = Runtime;
    type Responder<T>
        = Callback<T>
    where
        T: Send + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: Send + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}
