//! What this member is called, where it keeps its data and where it listens.

use super::super::flag::{Flag, Kind};
use super::{URLS, nothing, used};

const NO_BBOLT: &str = "keelkv does not store its data in bbolt";

pub(super) const FLAGS: &[Flag] = &[
    used("name", Kind::Text, "default", "name of this member; picks its entry in --initial-cluster"),
    used("data-dir", Kind::Text, "", "directory of this member's data (default: ${name}.etcd)"),
    used("wal-dir", Kind::Text, "", "directory of the log, if it is to lie on another disk"),
    used(
        "listen-client-urls",
        URLS,
        "http://localhost:2379",
        "where clients connect: gRPC, and HTTP unless --listen-client-http-urls is set",
    ),
    used("listen-client-http-urls", URLS, "", "where HTTP clients connect; --listen-client-urls is then gRPC only"),
    used("listen-metrics-urls", URLS, "", "further places that serve /metrics and /health"),
    used("listen-peer-urls", URLS, "http://localhost:2380", "where other members connect"),
    used("heartbeat-interval", Kind::Uint, "100", "time between a leader's heartbeats, milliseconds"),
    used(
        "election-timeout",
        Kind::Uint,
        "1000",
        "silence of the leader after which members elect another, milliseconds",
    ),
    nothing(
        "initial-election-tick-advance",
        Kind::Bool,
        "true",
        "a member that is alone leads at once, others stand for election after --election-timeout",
        "shorten the first election after a start",
    ),
    nothing(
        "snapshot-count",
        Kind::Uint,
        "10000",
        "the log is cut by what the store holds durably, not by a count",
        "applied entries between log snapshots",
    ),
    used("snapshot-catchup-entries", Kind::Uint, "5000", "log entries kept for members that lag behind"),
    nothing("max-snapshots", Kind::Uint, "5", "there are no snapshot files", "snapshot files to keep (0: all)"),
    nothing(
        "max-wals",
        Kind::Uint,
        "5",
        "log segments are reused as soon as the store holds them durably",
        "log files to keep (0: all)",
    ),
    used("quota-backend-bytes", Kind::Int, "0", "size of the data at which writes stop (0: 2 GiB, negative: no limit)"),
    nothing("backend-batch-interval", Kind::Duration, "0s", NO_BBOLT, "longest time between backend commits"),
    nothing("backend-batch-limit", Kind::Int, "0", NO_BBOLT, "most operations between backend commits"),
    nothing("backend-bbolt-freelist-type", Kind::Text, "", NO_BBOLT, "kind of bbolt's free list"),
    nothing(
        "bootstrap-defrag-threshold-megabytes",
        Kind::Uint,
        "0",
        "space comes back by itself",
        "defragment at start if this much comes free",
    ),
    nothing(
        "memory-mlock",
        Kind::Bool,
        "false",
        "no file is mapped, and memory that was let go of could not go back; turn swapping off instead",
        "keep pages in memory",
    ),
    used("socket-reuse-port", Kind::Bool, "false", "set SO_REUSEPORT on listeners"),
    used("socket-reuse-address", Kind::Bool, "false", "set SO_REUSEADDR on listeners"),
    used("enable-grpc-gateway", Kind::Bool, "true", "serve the JSON gateway under /v3"),
    used("feature-gates", Kind::Gates, "", "features to turn on or off: Gate=true,Other=false"),
    used("config-file", Kind::Text, "", "YAML file to read; all other flags and variables are then ignored"),
    used("version", Kind::Bool, "false", "print versions and exit"),
];
