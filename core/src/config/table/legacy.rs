//! Flags of long ago that etcd still accepts.

use super::super::flag::{Effect, Flag, Kind};

const fn legacy(name: &'static str) -> Flag {
    Flag { name, kind: Kind::Legacy, default: "", effect: Effect::Nothing("flag is no longer supported"), help: "" }
}

pub(super) const FLAGS: &[Flag] = &[
    legacy("cluster-active-size"),
    legacy("cluster-remove-delay"),
    legacy("cluster-sync-interval"),
    legacy("config"),
    legacy("force"),
    legacy("max-result-buffer"),
    legacy("max-retry-attempts"),
    legacy("peer-heartbeat-interval"),
    legacy("peer-election-timeout"),
    legacy("retry-interval"),
    legacy("snapshot"),
    legacy("v"),
    legacy("vv"),
    legacy("test.coverprofile"),
    legacy("test.outputdir"),
];
