//! Flags that etcd does not have.

use super::super::flag::{Flag, Kind};
use super::used;

pub(super) const FLAGS: &[Flag] =
    &[used("client-threads", Kind::Uint, "0", "threads that serve client connections (0: by the number of CPUs)")];
