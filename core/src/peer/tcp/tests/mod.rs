//! Two and more transports in one process, over real sockets.

mod calls;
mod connections;
mod harness;
mod limits;
mod secure;
mod strangers;
