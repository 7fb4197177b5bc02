//! TLS, origins and hosts, users.

use super::super::flag::{Flag, Kind};
use super::{nothing, refused};

const NO_TLS: &str =
    "this version does not serve TLS; leave it out and put a TLS proxy in front, or stay on a trusted network";
const UNUSED: &str = "this version does not serve TLS";
const NO_PEERS: &str = "this version runs one member, which has no peers to talk to";
const NO_ORIGINS: &str = "this version does not check origins; leave it out and let a proxy in front check them";
const NO_HOSTS: &str = "this version does not check host names; leave it out and let a proxy in front check them";
const NO_AUTH: &str = "this version has no users and roles";

pub(super) const FLAGS: &[Flag] = &[
    refused("cert-file", Kind::Text, "", NO_TLS, "certificate of the client listener"),
    refused("key-file", Kind::Text, "", NO_TLS, "key of that certificate"),
    refused("client-cert-auth", Kind::Bool, "false", NO_TLS, "demand a certificate from clients"),
    refused("trusted-ca-file", Kind::Text, "", NO_TLS, "CAs that may sign clients' certificates"),
    refused("client-crl-file", Kind::Text, "", NO_TLS, "clients' certificates that are revoked"),
    refused("client-cert-allowed-hostname", Kind::List, "", NO_TLS, "host names accepted in clients' certificates"),
    refused("auto-tls", Kind::Bool, "false", NO_TLS, "make a certificate for the client listener"),
    nothing("client-cert-file", Kind::Text, "", UNUSED, "certificate to show when dialling a member as a client"),
    nothing("client-key-file", Kind::Text, "", UNUSED, "key of that certificate"),
    nothing("peer-cert-file", Kind::Text, "", NO_PEERS, "certificate of the peer listener"),
    nothing("peer-key-file", Kind::Text, "", NO_PEERS, "key of that certificate"),
    nothing("peer-client-cert-auth", Kind::Bool, "false", NO_PEERS, "demand a certificate from peers"),
    nothing("peer-trusted-ca-file", Kind::Text, "", NO_PEERS, "CAs that may sign peers' certificates"),
    nothing("peer-crl-file", Kind::Text, "", NO_PEERS, "peers' certificates that are revoked"),
    nothing("peer-client-cert-file", Kind::Text, "", NO_PEERS, "certificate to show when dialling peers"),
    nothing("peer-client-key-file", Kind::Text, "", NO_PEERS, "key of that certificate"),
    nothing("peer-cert-allowed-cn", Kind::List, "", NO_PEERS, "common names accepted in peers' certificates"),
    nothing("peer-cert-allowed-hostname", Kind::List, "", NO_PEERS, "host names accepted in peers' certificates"),
    nothing(
        "peer-skip-client-san-verification",
        Kind::Bool,
        "false",
        NO_PEERS,
        "do not compare a peer's address with its certificate",
    ),
    nothing("peer-auto-tls", Kind::Bool, "false", NO_PEERS, "make a certificate for the peer listener"),
    nothing(
        "self-signed-cert-validity",
        Kind::Uint,
        "1",
        UNUSED,
        "years that certificates made by --auto-tls are valid",
    ),
    nothing("cipher-suites", Kind::List, "", UNUSED, "TLS 1.2 cipher suites to allow, by Go's names"),
    nothing("tls-min-version", Kind::Text, "TLS1.2", UNUSED, "lowest TLS version: TLS1.2 or TLS1.3"),
    nothing(
        "tls-max-version",
        Kind::Text,
        "",
        UNUSED,
        "highest TLS version: TLS1.2 or TLS1.3 (default: the highest there is)",
    ),
    refused("cors", Kind::Urls { except: "*" }, "*", NO_ORIGINS, "origins that browsers may call from (*: all)"),
    refused("host-whitelist", Kind::List, "*", NO_HOSTS, "host names accepted in plain HTTP requests (*: all)"),
];

pub(super) const AUTH: &[Flag] = &[
    nothing("auth-token", Kind::Text, "simple", NO_AUTH, "kind of the tokens: simple, or jwt with options"),
    nothing("auth-token-ttl", Kind::Uint, "300", NO_AUTH, "idle life of a simple token, seconds"),
    nothing("bcrypt-cost", Kind::Uint, "10", NO_AUTH, "cost of a password hash, 4 to 31"),
];
