//! A whole server: a member, its listeners, and what it does by the clock.
//!
//! ```text
//! ServerConfig -> Server::start: data directory (-> DNS) -> Node -> sockets -> listeners -> ready
//!                 Server::stop:  listeners (calls under way finish) -> Node -> threads
//! ```
//!
//! The binary adds what belongs to a process: log, signals, exit status. A program may run several.

mod compaction;
mod compaction_clock;
mod data_dir;
mod notify;
mod peers;
mod running;
mod sockets;
mod srv;

pub use self::notify::notify_ready;
pub use self::peers::peer_options;
pub use self::running::Server;
pub use crate::node::StartError;
