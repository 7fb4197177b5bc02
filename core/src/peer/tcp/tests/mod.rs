//! Two and more transports in one process, over real sockets.

mod calls;
mod connections;
mod harness;
#[path = "../../../../tests/cluster/lines.rs"]
mod kept;
mod limits;
mod lines;
mod secure;
mod strangers;
