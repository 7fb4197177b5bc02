//! Measures etcd and keelkv under the same load, by turns in one run: one member of each, or clusters.
//!
//! ```text
//! main -> runner (rows) and scenario/* -> generator, fan_out: closed loops; large_read; probe: single calls beside
//!                                            | workload/*: what to send, what a right answer is
//!                                            v
//!                                         client (epoll) -> http2 -> target: a server, or members of a cluster
//!         meter: rates, latencies, CPU of servers and ours, memory -> report: table, JSON
//! ```
//!
//! Server and generator share the machine, so the generator is one thread without a runtime; only single calls
//! beside a load have threads of their own. Its CPU is part of every report.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod client;
pub mod cluster;
pub mod data;
pub mod fan_out;
pub mod fields;
pub mod generator;
pub mod http2;
pub mod large_read;
pub mod machine;
pub mod meter;
pub mod options;
pub mod ports;
pub mod probe;
pub mod process;
pub mod report;
pub mod rpc;
pub mod runner;
pub mod scenario;
mod seat;
pub mod server;
pub mod target;
pub mod watchers;
pub mod workload;
