//! Backups, in the file format of etcd's: data moves both ways between etcd and us.
//!
//! ```text
//! pinned state ─> rows of etcd's buckets ─> plan ─┐
//!       └───────> the same rows again ────> bolt writer ─> pieces of the file ─> Maintenance.Snapshot
//! file ─> bolt reader ─> rows of etcd's buckets, checked ─> rows of a state ─> a new data directory
//! ```

pub mod bolt;
mod import;
mod rows;
mod schema;
mod stream;

#[cfg(test)]
mod tests;

pub use self::import::{ImportError, Imported, import};
pub use self::stream::{Backup, Step};
