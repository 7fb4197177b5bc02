//! Limits and intervals.

use super::super::flag::{Flag, Kind};
use super::{nothing, used};

const NO_SWEEP: &str = "the background walk of a compaction paces itself";

pub(super) const FLAGS: &[Flag] = &[
    used("max-request-bytes", Kind::Uint, "1572864", "largest request that is accepted, bytes"),
    used("max-txn-ops", Kind::Uint, "128", "operations allowed in each list of a transaction"),
    used(
        "max-concurrent-streams",
        Kind::Uint32,
        "4294967295",
        "requests and streams that one connection may have open",
    ),
    used("grpc-keepalive-min-time", Kind::Duration, "5s", "shortest time between a client's pings that is tolerated"),
    used("grpc-keepalive-interval", Kind::Duration, "2h0m0s", "time between pings to an idle client (0: none)"),
    used(
        "grpc-keepalive-timeout",
        Kind::Duration,
        "20s",
        "time for the answer to a ping before the connection is closed",
    ),
    used("auto-compaction-mode", Kind::Text, "periodic", "periodic or revision"),
    used("auto-compaction-retention", Kind::Text, "0", "history to keep: hours or a duration, or revisions (0: all)"),
    nothing("compaction-batch-limit", Kind::Int, "0", NO_SWEEP, "revisions removed in one batch"),
    nothing("compaction-sleep-interval", Kind::Duration, "0s", NO_SWEEP, "pause between two batches"),
    used("watch-progress-notify-interval", Kind::Duration, "0s", "time between progress notifications (0: 10 minutes)"),
    used("corrupt-check-time", Kind::Duration, "0s", "time between comparisons of the members' data"),
    used(
        "compact-hash-check-time",
        Kind::Duration,
        "1m0s",
        "time between comparisons of compacted history (feature gate CompactHashCheck)",
    ),
];

pub(super) const UNSAFE: &[Flag] = &[
    used("force-new-cluster", Kind::Bool, "false", "forget all other members; for what is left of a lost cluster"),
    used("unsafe-no-fsync", Kind::Bool, "false", "do not sync writes to disk; loses data when the machine stops"),
];
