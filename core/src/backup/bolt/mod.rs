//! bbolt's file format: etcd's store, and the file that its backups are.
//!
//! ```text
//! page 0, 1   two copies of the meta page: page size, root, number of pages
//! then        pages of 4096 bytes, or several for one large row; leaves have rows, branches say where leaves are
//! root        a tree of buckets by name; each says where the tree of its rows begins
//! ```
//!
//! A file is written in one pass, page after page: a branch follows the pages that it lists. Where everything will lie
//! has to be known before, for the meta pages come first: so whoever writes goes through its rows twice, first with the
//! lengths of values only ([`Plan`]), then with the values ([`Writer`]). Each keeps one open page for each level of a tree.
//!
//! What is read is believed nothing: every number is checked before it is used.

mod format;
mod pages;
mod reader;
mod tree;
mod writer;

#[cfg(test)]
mod tests;

pub use self::reader::{BoltError, BoltFile, Cursor, FileRow, ReadAt};
pub use self::writer::{Plan, Planner, Writer};
