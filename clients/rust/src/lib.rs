//! A typed client for keelkv and etcd.
//!
//! ```no_run
//! # async fn run() -> keelkv_client::Result<()> {
//! let client = keelkv_client::Client::connect(["http://127.0.0.1:2379"])?;
//! client.put("greeting", "hello").await?;
//! let found = client.get("greeting").await?;
//! assert_eq!(found.expect("was just put").value.as_ref(), b"hello");
//! # Ok(()) }
//! ```
//!
//! Every call has a deadline ([`Client::with_deadline`], 5 s unless told otherwise): nothing hangs.
//! A watch goes on by itself after a lost connection, from the revision after the last one it gave.

#![forbid(unsafe_code)]

mod client;
mod error;
mod lease;
mod watch;

pub use self::client::{Client, Compare, KeyValue, Outcome, Range, Txn};
pub use self::error::{Error, Result};
pub use self::lease::Lease;
pub use self::watch::{Batch, Change, Watch};
