//! The one table of errors that clients can see.
//!
//! Clients of etcd match error texts, so a text here is part of the API. Each code also has a stable
//! number (what the bindings show), the gRPC code it has on the wire, and advice for the caller.

use std::borrow::Cow;

/// gRPC status codes, by their number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
#[allow(missing_docs, reason = "gRPC's own names")]
pub enum GrpcCode {
    Ok = 0,
    Canceled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Advice {
    /// The same request fails again: change it.
    Never,
    /// Nothing was done; the same request may succeed a little later, perhaps at another member.
    Retry,
    /// The request may or may not have been done: read before trying again.
    OutcomeUnknown,
    /// Log in again, then retry.
    Reauthenticate,
    /// An operator must act first (free space, replace a member).
    AfterRepair,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $number:literal $name:ident $grpc:ident $text:literal $advice:ident;)*) => {
        /// A kind of failure.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u16)]
        pub enum Code {
            $($(#[doc = $doc])* $name = $number,)*
        }

        impl Code {
            /// Every code, in the order of the numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The gRPC code on the wire.
            pub const fn grpc(self) -> GrpcCode {
                match self { $(Self::$name => GrpcCode::$grpc,)* }
            }

            /// The text on the wire, exactly etcd's where etcd has one.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What the caller can do.
            pub const fn advice(self) -> Advice {
                match self { $(Self::$name => Advice::$advice,)* }
            }
        }
    };
}

codes! {
    /// Key missing in put/range/delete/compare.
    1 EmptyKey InvalidArgument "etcdserver: key is not provided" Never;
    /// Ignore_value/ignore_lease on absent key; txn op without body.
    2 KeyNotFound InvalidArgument "etcdserver: key not found" Never;
    /// Ignore_value plus value.
    3 ValueProvided InvalidArgument "etcdserver: value is provided" Never;
    /// Ignore_lease plus lease.
    4 LeaseProvided InvalidArgument "etcdserver: lease is provided" Never;
    /// List longer than max-txn-ops.
    5 TooManyOps InvalidArgument "etcdserver: too many operations in txn request" Never;
    /// Key put twice / put inside delete range.
    6 DuplicateKey InvalidArgument "etcdserver: duplicate key given in txn request" Never;
    /// Client-api-version metadata not UTF-8.
    7 InvalidClientAPIVersion InvalidArgument "etcdserver: invalid client api version" Never;
    /// Unknown sort enum.
    8 InvalidSortOption InvalidArgument "etcdserver: invalid sort option" Never;
    /// Revision below compact revision.
    9 Compacted OutOfRange "etcdserver: mvcc: required revision has been compacted" Never;
    /// Revision above current.
    10 FutureRev OutOfRange "etcdserver: mvcc: required revision is a future revision" Never;
    /// NOSPACE alarm or quota reached.
    11 NoSpace ResourceExhausted "etcdserver: mvcc: database space exceeded" AfterRepair;
    /// Put/revoke with unknown lease.
    12 LeaseNotFound NotFound "etcdserver: requested lease not found" Never;
    /// Grant of used ID.
    13 LeaseExist FailedPrecondition "etcdserver: lease already exists" Never;
    /// TTL > 9e9.
    14 LeaseTTLTooLarge OutOfRange "etcdserver: too large lease TTL" Never;
    /// Watch stream ended by server.
    15 WatchCanceled Canceled "etcdserver: watch canceled" Never;
    /// Member ID collision.
    16 MemberExist FailedPrecondition "etcdserver: member ID already exist" Never;
    /// Peer URL in use.
    17 PeerURLExist FailedPrecondition "etcdserver: Peer URLs already exists" Never;
    /// Strict reconfig; see note.
    18 MemberNotEnoughStarted Unknown "etcdserver: re-configuration failed due to not enough started members" Never;
    /// Peer URL does not parse.
    19 MemberBadURLs InvalidArgument "etcdserver: given member URLs are invalid" Never;
    /// Unknown or removed ID.
    20 MemberNotFound NotFound "etcdserver: member not found" Never;
    /// Promoting a voter.
    21 MemberNotLearner FailedPrecondition "etcdserver: can only promote a learner member" Never;
    /// Learner < 90 % caught up.
    22 LearnerNotReady FailedPrecondition "etcdserver: can only promote a learner member which is in sync with leader" Retry;
    /// Max-learners reached.
    23 TooManyLearners FailedPrecondition "etcdserver: too many learner members in cluster" Never;
    /// Defined, raised by peer-side code only.
    24 ClusterIDMismatch FailedPrecondition "etcdserver: cluster ID mismatch" Never;
    /// Encoded request > max-request-bytes.
    25 RequestTooLarge InvalidArgument "etcdserver: request is too large" Never;
    /// Apply backlog; see note.
    26 RequestTooManyRequests Unknown "etcdserver: too many requests" Retry;
    /// Auth enable w/o user root.
    27 RootUserNotExist FailedPrecondition "etcdserver: root user does not exist" Never;
    /// Auth enable, root lacks role root.
    28 RootRoleNotExist FailedPrecondition "etcdserver: root user does not have root role" Never;
    /// User add twice.
    29 UserAlreadyExist FailedPrecondition "etcdserver: user name already exists" Never;
    /// No identity with auth on; empty name.
    30 UserEmpty InvalidArgument "etcdserver: user name is empty" Never;
    /// Unknown user.
    31 UserNotFound FailedPrecondition "etcdserver: user name not found" Never;
    /// Role add twice.
    32 RoleAlreadyExist FailedPrecondition "etcdserver: role name already exists" Never;
    /// Unknown role.
    33 RoleNotFound FailedPrecondition "etcdserver: role name not found" Never;
    /// Role add "".
    34 RoleEmpty InvalidArgument "etcdserver: role name is empty" Never;
    /// Wrong user or password.
    35 AuthFailed InvalidArgument "etcdserver: authentication failed, invalid user ID or password" Never;
    /// Grant without perm.
    36 PermissionNotGiven InvalidArgument "etcdserver: permission not given" Never;
    /// Not allowed.
    37 PermissionDenied PermissionDenied "etcdserver: permission denied" Never;
    /// Revoke role not held.
    38 RoleNotGranted FailedPrecondition "etcdserver: role is not granted to the user" Never;
    /// Revoke permission not present.
    39 PermissionNotGranted FailedPrecondition "etcdserver: permission is not granted to the role" Never;
    /// Authenticate while auth off.
    40 AuthNotEnabled FailedPrecondition "etcdserver: authentication is not enabled" Never;
    /// Unknown/expired token.
    41 InvalidAuthToken Unauthenticated "etcdserver: invalid auth token" Reauthenticate;
    /// Root protection; bad permission range.
    42 InvalidAuthMgmt InvalidArgument "etcdserver: invalid auth management" Never;
    /// Token made before last auth change.
    43 AuthOldRevision InvalidArgument "etcdserver: revision of auth store is old" Reauthenticate;
    /// No leader (require-leader, reads).
    44 NoLeader Unavailable "etcdserver: no leader" Retry;
    /// MoveLeader/promote at follower.
    45 NotLeader FailedPrecondition "etcdserver: not leader" Retry;
    /// Leader lost during ReadIndex.
    46 LeaderChanged Unavailable "etcdserver: leader changed" Retry;
    /// Cluster version lacks capability.
    47 NotCapable FailedPrecondition "etcdserver: not capable" Never;
    /// Server shutting down.
    48 Stopped Unavailable "etcdserver: server stopped" Retry;
    /// Proposal/read timed out.
    49 Timeout Unavailable "etcdserver: request timed out" OutcomeUnknown;
    /// Timed out, leader was lost.
    50 TimeoutDueToLeaderFail Unavailable "etcdserver: request timed out, possibly due to previous leader failure" OutcomeUnknown;
    /// Timed out, peers unreachable.
    51 TimeoutDueToConnectionLost Unavailable "etcdserver: request timed out, possibly due to connection lost" OutcomeUnknown;
    /// Lease path waited >1 s for apply.
    52 TimeoutWaitAppliedIndex Unavailable "etcdserver: request timed out, waiting for the applied index took too long" Retry;
    /// Strict reconfig connectivity; learner promote.
    53 Unhealthy Unavailable "etcdserver: unhealthy cluster" Retry;
    /// CORRUPT alarm.
    54 Corrupt DataLoss "etcdserver: corrupt cluster" AfterRepair;
    /// RPC sent to learner.
    55 NotSupportedForLearner FailedPrecondition "etcdserver: rpc not supported for learner" Never;
    /// MoveLeader target unknown/learner.
    56 BadLeaderTransferee FailedPrecondition "etcdserver: bad leader transferee" Never;
    /// Target not X.Y[.Z].
    57 WrongDowngradeVersionFormat InvalidArgument "etcdserver: wrong downgrade target version format" Never;
    /// Not exactly one minor lower.
    58 InvalidDowngradeTargetVersion InvalidArgument "etcdserver: invalid downgrade target version" Never;
    /// Cluster version not decided.
    59 ClusterVersionUnavailable FailedPrecondition "etcdserver: cluster version not found during downgrade" Retry;
    /// Enable while running.
    60 DowngradeInProcess FailedPrecondition "etcdserver: cluster has a downgrade job in progress" Never;
    /// Cancel w/o job (swallowed by server).
    61 NoInflightDowngrade FailedPrecondition "etcdserver: no inflight downgrade job" Never;
    /// Server-side cancelled context.
    62 Canceled Canceled "etcdserver: request canceled" OutcomeUnknown;
    /// Server-side deadline.
    63 DeadlineExceeded DeadlineExceeded "etcdserver: context deadline exceeded" OutcomeUnknown;
    /// Text that etcd passes on as it is; the error carries it.
    900 Unmapped Unknown "unknown error" Never;
    /// A service or an option that this server does not have; the error carries the text.
    901 Unimplemented Unimplemented "not implemented" Never;
    /// A request that breaks the rules of the protocol; the error carries the text.
    902 BadRequest InvalidArgument "invalid request" Never;
    /// A fault of our own, never expected; the error carries what is known.
    903 Internal Internal "internal error" OutcomeUnknown;
    /// A member in this process did not come up; the error carries what to do.
    904 NotStarted FailedPrecondition "the member did not start" AfterRepair;
    /// More is under way than this member takes on; nothing was done. The error may carry what to do.
    905 Overloaded ResourceExhausted "etcdserver: too many requests" Retry;
}

impl Code {
    /// The stable number.
    pub const fn number(self) -> u16 {
        self as u16
    }
}

/// A failure as the caller sees it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    code: Code,
    message: Cow<'static, str>,
}

impl Error {
    /// An error with a text of its own; for codes whose text etcd does not fix.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into() }
    }

    /// What kind of failure it is.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// The text on the wire.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl From<Code> for Error {
    fn from(code: Code) -> Self {
        Self { code, message: Cow::Borrowed(code.text()) }
    }
}

/// What an operation that clients ask for returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;
