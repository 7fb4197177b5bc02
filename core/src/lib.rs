//! keelkv: a replicated key-value store that speaks etcd's v3 API.
//!
//! A request's way through the rooms:
//!
//! ```text
//! client -> api -> node -> consensus -> apply -> mvcc -> storage
//!                                                  |
//!                                         client <- api <- watch
//! ```
//!
//! Each room depends only on those before it in the list below; `env` and `types` are the words that
//! all of them share. Nothing here is global: a process may run as many members as it likes.

#![forbid(unsafe_code)]

pub mod env;
pub mod types;

pub mod storage;

pub mod mvcc;

pub mod lease;

pub mod auth;

pub mod apply;

pub mod backup;

pub mod watch;

#[cfg(feature = "server")]
pub mod tls;

pub mod peer;

pub mod consensus;

pub mod node;

#[cfg(feature = "server")]
pub mod config;
#[cfg(feature = "server")]
pub mod logging;

#[cfg(feature = "server")]
pub mod api;
#[cfg(feature = "server")]
pub mod server;
