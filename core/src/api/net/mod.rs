//! Sockets: threads, listeners, connections.
//!
//! ```text
//! Listener -> Fronts (one current-thread runtime each) -> welcome: TLS? HTTP/2 or HTTP/1?
//!                                                          -> connection (gRPC) | plain (HTTP)
//! ```

mod backlog;
mod body;
mod connection;
mod door;
mod frames;
mod fronts;
mod greeting;
mod keepalive;
mod listener;
mod patient;
mod pending;
mod plain;
mod rejections;
mod remote;
mod socket;
mod welcome;
mod wire;

pub use self::connection::{ConnectionLimits, Serves};
pub use self::fronts::Fronts;
pub use self::keepalive::Keepalive;
pub use self::listener::{Listener, ListenerOptions};
pub use self::socket::ListenSocket;
pub use self::welcome::ClientTls;

pub(crate) use self::backlog::Backlog;
pub(crate) use self::body::{RequestBody, ResponseBody};
pub(crate) use self::connection::serve_http2;
pub(crate) use self::door::{Door, Traffic};
pub(crate) use self::frames::Frames;
pub(crate) use self::plain::serve_http1;
pub(crate) use self::remote::Remote;
pub(crate) use self::wire::Wire;
