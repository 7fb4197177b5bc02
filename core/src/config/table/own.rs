//! Flags that etcd does not have.

use super::super::flag::{Flag, Kind};
use super::used;

pub(super) const FLAGS: &[Flag] = &[
    used("client-threads", Kind::Uint, "0", "threads that serve client connections (0: as many as CPUs, at most 16)"),
    used(
        "raft-thread",
        Kind::Choice(&["own", "shared"]),
        "shared",
        "where consensus and apply run: own thread, or shared with the first client thread",
    ),
];
