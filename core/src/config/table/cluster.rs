//! How this member finds its cluster.

use super::super::flag::{Flag, Kind};
use super::{URLS, nothing, refused, used};

const NO_DOWNGRADE: &str = "a downgrade ends when it is cancelled, and there is no progress to look at";
const NO_WRITES: &str = "a member that takes nothing says nothing either: --raft-read-timeout";
const NO_SERVICE: &str =
    "this version asks no discovery service; name the members by --initial-cluster or --discovery-srv";
const UNUSED: &str = "there is no discovery service to ask";

pub(super) const FLAGS: &[Flag] = &[
    used("initial-advertise-peer-urls", URLS, "http://localhost:2380", "this member's peer URLs, as told to others"),
    used(
        "initial-cluster",
        Kind::Text,
        "default=http://localhost:2380",
        "the members that form a new cluster: name=url,other=url",
    ),
    used("initial-cluster-state", Kind::Choice(&["new", "existing"]), "new", "new or existing"),
    used("initial-cluster-token", Kind::Text, "etcd-cluster", "mixed into the cluster's id, to tell clusters apart"),
    used("advertise-client-urls", URLS, "http://localhost:2379", "this member's client URLs, as told to clients"),
    used("strict-reconfig-check", Kind::Bool, "true", "refuse membership changes that risk the quorum"),
    used("pre-vote", Kind::Bool, "true", "ask before an election whether it could be won"),
    used("max-learners", Kind::Int, "1", "learners allowed at once"),
    nothing(
        "downgrade-check-time",
        Kind::Duration,
        "5s",
        NO_DOWNGRADE,
        "time between two looks at a downgrade's progress",
    ),
    used(
        "raft-read-timeout",
        Kind::Duration,
        "5s",
        "silence after which a connection between members is given up, at least 5s",
    ),
    nothing("raft-write-timeout", Kind::Duration, "5s", NO_WRITES, "write timeout of peer connections"),
    nothing("v2-deprecation", Kind::Text, "write-only", "there is no v2 store", "stage of the v2 store's removal"),
];

pub(super) const DISCOVERY: &[Flag] = &[
    refused("discovery-token", Kind::Text, "", NO_SERVICE, "token of the cluster to discover"),
    refused("discovery-endpoints", Kind::List, "", NO_SERVICE, "endpoints of the discovery service"),
    used("discovery-srv", Kind::Text, "", "DNS domain whose SRV records name the members that form a new cluster"),
    used("discovery-srv-name", Kind::Text, "", "suffix of the SRV service name"),
    nothing("discovery-dial-timeout", Kind::Duration, "2s", UNUSED, "time to connect to the discovery service"),
    nothing("discovery-request-timeout", Kind::Duration, "5s", UNUSED, "time for one request to it"),
    nothing("discovery-keepalive-time", Kind::Duration, "2s", UNUSED, "time between pings to it"),
    nothing("discovery-keepalive-timeout", Kind::Duration, "6s", UNUSED, "time for the answer to a ping"),
    nothing("discovery-insecure-transport", Kind::Bool, "true", UNUSED, "speak to it without TLS"),
    nothing("discovery-insecure-skip-tls-verify", Kind::Bool, "false", UNUSED, "do not verify its certificate"),
    nothing("discovery-cert", Kind::Text, "", UNUSED, "client certificate for it"),
    nothing("discovery-key", Kind::Text, "", UNUSED, "key of that certificate"),
    nothing("discovery-cacert", Kind::Text, "", UNUSED, "CAs that may sign its certificate"),
    nothing("discovery-user", Kind::Text, "", UNUSED, "user[:password] for it"),
    nothing("discovery-password", Kind::Text, "", UNUSED, "password for it"),
    nothing(
        "discovery-fallback",
        Kind::Choice(&["exit", "proxy"]),
        "exit",
        UNUSED,
        "what to do when discovery fails: exit",
    ),
];
