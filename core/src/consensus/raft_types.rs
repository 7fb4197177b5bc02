//! The types that openraft runs on.

use openraft::impls::leader_id_std;
use openraft::type_config::alias::LogIdOf;

use super::{Answers, Packed};

openraft::declare_raft_types!(
    /// keelkv's choice of types. Randomness comes from a seed that is set where a member starts.
    pub RaftConfig:
        D = Packed,
        R = Answers,
        NodeId = u64,
        Node = openraft::EmptyNode,
        Term = u64,
        LeaderId = leader_id_std::LeaderId<u64, u64>,
        AsyncRuntime = openraft_rt::deterministic_rng::DeterministicRng<openraft::TokioRuntime>,
);

/// A leader: its term and its member id.
pub type LeaderId = leader_id_std::LeaderId<u64, u64>;
/// Place of an entry in the log.
pub type LogId = LogIdOf<RaftConfig>;
/// A vote, as saved in the log.
pub type Vote = openraft::type_config::alias::VoteOf<RaftConfig>;
/// One entry of the log.
pub type Entry = openraft::type_config::alias::EntryOf<RaftConfig>;
