//! One member: wires the rooms together, starts and stops them in order, and is what embedding
//! programs and the network services call.
//!
//! ```text
//! start:  data directory -> whose it is -> state engine -> machine -> log -> raft -> quorum -> on record
//! write:  propose -> limit of size -> may they? -> quota -> proposer -> the leader's raft -> log -> machine -> answer
//! read:   linearizable (the read gate asks the leader) -> reader, in steps if it is long
//! others: peers (what they ask) -> raft, or what only a leader knows
//! ```

mod ask_leader;
mod auth;
mod backup;
mod bootstrap;
mod checksums;
mod config;
#[cfg(feature = "rocks")]
mod data_dir;
mod divergence;
mod force_new;
mod identity;
mod leadership;
mod member;
mod membership;
mod peers;
mod publish;
mod quota;
mod reachability;
mod read_gate;
#[cfg_attr(not(feature = "server"), allow(dead_code, reason = "most of it is for answers to the network"))]
mod read_memory;
mod reads;
mod reconcile;
mod request_size;
#[cfg(feature = "rocks")]
mod restore;
mod start;
mod start_error;
mod tasks;
mod wiring;

pub use self::backup::RunningBackup;
pub use self::config::{AuthConfig, ClusterConfig, Founder, Limits, NodeConfig, StorageConfig, TokenKind};
pub use self::identity::{Identity, added_member_id, cluster_id, member_id};
pub use self::member::{Node, Status};
#[cfg(feature = "server")]
pub(crate) use self::read_memory::Charge;
pub use self::read_memory::ReadMemory;
#[cfg(feature = "rocks")]
pub use self::restore::{Restore, Restored};
pub use self::start::API_VERSION;
pub use self::start_error::StartError;
