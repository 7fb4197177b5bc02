//! Telling clients what changed.
//!
//! ```text
//! apply -> Hub::publish -> Ring (recent revisions)
//!              |
//!              +-> RangeIndex: who watches this key -> Mailbox of that stream -> Stream -> encoded responses
//!
//! Stream -> a watcher that is behind reads the Ring, or the History beyond it, until it is live again
//! ```
//!
//! A watcher is a cursor on the sequence of revisions. A *live* one stands in the hub's index and has
//! its events put into its stream's mailbox as they are published. One that starts in the past, or
//! whose stream takes too long to read, is *behind*: it stands in no index and costs the publisher
//! nothing, and its own stream reads what it missed, in bounded pieces, until it has caught up with
//! the publisher. Whether all have caught up, and the order of everything within a stream, is decided
//! under the hub's one lock, so that a progress message can never overtake an event.
//!
//! An event is encoded once for each form in which it is sent and shared by all who receive it: the
//! fields of a protobuf message may simply be strung together.

mod counters;
mod history;
mod hub;
mod intervals;
mod mailbox;
mod options;
mod range_index;
mod registry;
mod relay;
mod ring;
mod shared_revision;
mod slab;
mod stream;
mod watcher;

#[cfg(test)]
mod tests;

pub use self::counters::Counters;
pub use self::history::History;
pub use self::hub::Hub;
pub use self::options::{MIN_PROGRESS_INTERVAL, Options, Origin};
pub use self::relay::Relay;
pub use self::stream::{Outgoing, Stream};
