//! Histories: what clients of an etcd-like store asked and were answered, and whether a correct store could have
//! answered so.
//!
//! ```text
//! a harness records -> record: operations, watches, hashes, full histories        (plain data, JSON lines)
//! check: timeline   -> what each revision changed, and which operation made it
//!        model      -> the store at each revision, from etcd's documented rules and nobody's code
//!        invariants -> one file each, all over record and timeline -> Report of Violations
//! ```
//!
//! Every answer of such a store names a revision, so the order of the writes is known and need not be searched for:
//! a history is checked in about linear time. `search` finds orders the slow way, for short histories, as a check
//! of the checker.
//!
//! What a harness has to see to: values are unique (then an unknown write is found by what it wrote), and either full
//! histories or a watch of everything show each revision.

#![forbid(unsafe_code)]

#[cfg(feature = "api")]
pub mod api;
mod check;
mod floors;
mod history;
mod invariants;
mod matching;
mod model;
mod pace;
mod record;
mod search;
mod timeline;
mod trace;
mod violation;

pub use check::check;
pub use history::History;
pub use model::{Store, View, execute};
pub use record::{
    Access, Acts, Administration, Alarm, Answer, Blob, Call, Change, Compare, Comparison, Deletion, Digest, Event,
    FullHistory, Hash, Header, KeyValue, Login, Operation, Outcome, Put, RangeRead, Refusal, Reply, Restart, Revision,
    Settings, Span, Step, Target, Txn, TxnOp, Watch, WatchResponse, Window,
};
pub use search::{Linearization, linearize};
pub use violation::{Invariant, Report, Violation};
