//! Flags that etcd does not have.

use super::super::flag::{Flag, Kind};
use super::used;

pub(super) const FLAGS: &[Flag] = &[
    used("client-threads", Kind::Uint, "0", "threads that serve client connections (0: as many as CPUs, at most 16)"),
    used(
        "quota-auto-clear",
        Kind::Bool,
        "false",
        "clear the alarm of space that stands against this member once it is a tenth below the quota",
    ),
    used(
        "max-concurrent-calls",
        Kind::Uint,
        "65536",
        "calls under way, of all clients together: large reads are refused from half of it on, then reads, then writes",
    ),
    used("max-connections", Kind::Uint, "65536", "client connections of each listener; further ones wait"),
    used(
        "read-memory-bytes",
        Kind::Uint,
        "0",
        "memory for the answers to reads, of all clients together (0: an eighth of what there is, 64 MiB to 1 GiB)",
    ),
    used(
        "raft-thread",
        Kind::Choice(&["own", "shared"]),
        "shared",
        "where consensus and apply run: own thread, or shared with the first client thread",
    ),
];
