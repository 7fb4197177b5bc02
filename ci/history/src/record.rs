//! What is recorded. Times are nanoseconds on one monotonic clock that all recorders share.

mod administration;
mod answer;
mod blob;
mod call;
mod evidence;
mod operation;
mod watch;

pub use administration::{Access, Acts, Administration, Change, Login, Step};
pub use answer::{Answer, Header, KeyValue, Refusal, Reply};
pub use blob::Blob;
pub use call::{Call, Compare, Comparison, Deletion, Put, RangeRead, Span, Target, Txn, TxnOp};
pub use evidence::{Alarm, Digest, FullHistory, Hash, Restart, Revision, Settings, Window};
pub use operation::{Operation, Outcome};
pub use watch::{Event, Watch, WatchResponse};
