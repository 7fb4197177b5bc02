//! What goes into the log, and what comes out of applying it.

use keelkv_proto::etcdserverpb as pb;

use super::Result;

/// The newest format of [`keelkv_proto::keelkv::Command`] that this build can apply.
pub const COMMAND_FORMAT: u32 = 3;

/// The answer to an applied command. Headers inside carry the revision only: the member that sends
/// the answer fills in its own ids and term.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each is the answer to the command of the same name")]
pub enum Reply {
    Put(pb::PutResponse),
    DeleteRange(pb::DeleteRangeResponse),
    Txn(pb::TxnResponse),
    Compaction(pb::CompactionResponse),
    LeaseGrant(pb::LeaseGrantResponse),
    LeaseRevoke(pb::LeaseRevokeResponse),
    LeaseCheckpoint(pb::LeaseCheckpointResponse),
    Alarm(pb::AlarmResponse),
    /// The token that a user got.
    Login(String),
    /// Commands whose answer says nothing.
    Done,
}

/// What one command came to. An error changed nothing.
pub type Applied = Result<Reply>;
