//! Two and more transports in one process, over real sockets.

mod calls;
mod connections;
mod harness;
mod limits;
mod lines;
mod secure;
mod strangers;
