//! A whole server: a member, its listeners, and what it does by the clock.
//!
//! ```text
//! ServerConfig -> Server::start: data directory (-> DNS) -> Node -> sockets -> listeners -> ready
//!                 Server::stop:  listeners (calls under way finish) -> Node -> threads
//! ```
//!
//! The binary adds what belongs to a process: log, signals, exit status. A program may run several.

mod clients;
mod compaction;
mod compaction_clock;
mod data_dir;
mod expiry;
mod memory;
mod notify;
mod peers;
#[cfg(feature = "rocks")]
mod restore;
mod running;
mod sockets;
mod srv;

pub use self::clients::Traffic;
pub use self::notify::{ServiceState, notify, watchdog_interval};
pub use self::peers::peer_options;
#[cfg(feature = "rocks")]
pub use self::restore::restore;
pub use self::running::Server;
pub use crate::node::StartError;
