//! One member: wires the rooms together, starts and stops them in order, and is what embedding
//! programs and the network services call.
//!
//! ```text
//! start:  data directory -> state engine -> machine -> log -> raft -> leader known -> published
//! write:  propose -> quota -> proposer -> raft -> log -> machine -> answer
//! read:   linearizable (the read barrier) -> reader, in steps if it is long
//! ```

mod config;
#[cfg(feature = "rocks")]
mod data_dir;
mod identity;
mod member;
mod quota;
mod reads;
mod start;
mod start_error;
mod tasks;
mod wiring;

pub use self::config::{Limits, NodeConfig, StorageConfig};
pub use self::identity::{Identity, cluster_id, member_id};
pub use self::member::{Node, Status};
pub use self::start::API_VERSION;
pub use self::start_error::StartError;
