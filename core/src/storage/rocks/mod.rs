//! The durable state engine, on RocksDB. This is the only place that names it.
//!
//! ```text
//! write_all -> one write batch, no WAL -> memtables -> atomic flush of all tables -> files
//! ```
//!
//! A table is a column family. The raft log is the only log, so all tables must reach the disk
//! together, which atomic flush sees to. RocksDB never flushes by itself: its write buffers are larger
//! than what [`super::backing`] lets gather, so the room on the disk is looked at before each flush.

mod directory;
mod engine;
mod error;
mod options;
mod pin;
mod read_ahead;
mod watchman;

#[cfg(test)]
mod tests;

pub use self::engine::RocksEngine;
pub use self::error::OpenError;
pub use self::options::RocksOptions;
