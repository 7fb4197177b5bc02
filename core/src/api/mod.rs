//! What clients talk to: gRPC and HTTP on one port.
//!
//! ```text
//! socket -> net (threads, connections) -> grpc (one call) -> rpc (decode, admit, encode)
//!                                                             -> kv, watch, lease, ... : one file per service
//!                                      -> pages (health, version, metrics)
//! ```
//!
//! What a service does lives in plain functions of [`Api`] on decoded messages; nothing in them knows of
//! sockets, so that a caller in the same process and a client on the network get the same answers.

mod auth;
mod cluster;
mod grpc;
mod health;
mod kv;
mod large;
mod lease;
mod maintenance;
mod method;
mod metrics;
mod net;
mod pages;
mod rpc;
mod server;
mod watch;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod parity_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use self::grpc::Status;
pub use self::metrics::Metrics;
pub use self::net::{ConnectionLimits, Fronts, Keepalive, Listener, ListenerOptions};
pub use self::server::{Api, ApiOptions};
