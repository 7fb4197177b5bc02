//! What clients talk to: gRPC and HTTP on one port.
//!
//! ```text
//! socket -> net (threads, connections) -> grpc (one call) -> rpc (decode, admit, encode)
//!                                                             -> kv, watch, lease, ... : one file per service
//!                                      -> front (who may ask) -> gateway (JSON of the same calls) -> rpc
//!                                                             -> pages (health, version, metrics)
//! ```
//!
//! What a service does lives in plain functions of [`Api`] on decoded messages; nothing in them knows of
//! sockets, so that a caller in the same process and a client on the network get the same answers.

mod access;
mod admission;
mod auth;
mod cluster;
mod election;
mod front;
mod gateway;
mod grpc;
mod health;
mod kv;
mod large;
mod lease;
mod lock;
mod maintenance;
mod method;
mod metrics;
mod net;
mod pages;
mod range_stream;
mod rpc;
mod server;
mod snapshot;
mod traces;
mod turns;
mod watch;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod parity_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;

pub use self::access::Access;
pub use self::grpc::Status;
pub use self::metrics::Metrics;
pub use self::net::{ClientTls, ConnectionLimits, Fronts, Keepalive, ListenSocket, Listener, ListenerOptions, Serves};
pub use self::server::{Api, ApiOptions};
pub use self::traces::Traces;
