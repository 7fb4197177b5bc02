//! The keys and their history: one revision after the other, from the compaction watermark on.
//!
//! ```text
//! apply -> Writer -> index (in memory: keys, revisions, metadata)
//!             |  \-> rows (backing: History, Values, Revisions)
//!             \----> events (to watch)
//!
//! front thread -> Reader -> View at a revision -> index -> values (backing)
//! ```
//!
//! What a read may see is decided by two numbers alone, the current revision and the compaction
//! watermark. The walk that removes what lies below the watermark runs behind and changes no answer:
//! it waits for reads of several steps that were begun before.

mod compaction;
mod events;
pub(crate) mod go_sort;
mod hash_kv;
mod hash_walk;
mod history;
mod hold;
mod key_index;
mod key_state;
mod leaf;
mod load;
mod range;
mod range_steps;
mod range_stream;
mod read_error;
mod reader;
mod steps;
mod store;
mod tree;
mod txn;
mod txn_steps;
mod view;
mod walk;
mod writer;

pub(crate) use self::compaction::Compactor;
pub use self::hash_kv::{HashKvWalk, KvHash};
pub use self::hash_walk::HashWalk;
pub(crate) use self::history::{Row, write as write_change};
pub(crate) use self::range::{Count, execute, has_default_order, has_revision_filters};
pub use self::range_stream::{RangeStream, Streamed};
pub use self::read_error::ReadError;
pub use self::reader::Reader;
pub(crate) use self::steps::{Begun, Steps, Walk as ReadWalk};
pub(crate) use self::store::Store;
pub(crate) use self::txn::{branch, check, check_put, path};
pub use self::txn::{is_read_only, is_serializable};
pub(crate) use self::walk::{PROGRESS_KEY, removed_until};
pub(crate) use self::writer::{Changes, LeaseMove, Writer};
