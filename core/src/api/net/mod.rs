//! Sockets: threads, listeners, connections.
//!
//! ```text
//! Listener -> Fronts (one current-thread runtime each) -> greet: HTTP/2 or HTTP/1?
//!                                                          -> connection (gRPC) | plain (HTTP)
//! ```

mod backlog;
mod connection;
mod frames;
mod fronts;
mod greeting;
mod keepalive;
mod listener;
mod plain;
mod wire;

pub use self::connection::ConnectionLimits;
pub use self::fronts::Fronts;
pub use self::keepalive::Keepalive;
pub use self::listener::{Listener, ListenerOptions};

pub(crate) use self::backlog::Backlog;
pub(crate) use self::connection::serve_http2;
pub(crate) use self::frames::Frames;
pub(crate) use self::plain::serve_http1;
pub(crate) use self::wire::Wire;
