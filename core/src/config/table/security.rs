//! TLS, origins and hosts, users.

use super::super::flag::{Flag, Kind};
use super::{nothing, refused, used};

const NO_TLS: &str = "this version does not serve TLS to clients; leave it out and put a TLS proxy in front, or stay on a trusted network";
const UNUSED: &str = "this version does not serve TLS to clients";
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
    used("peer-cert-file", Kind::Text, "", "certificate of the peer listener"),
    used("peer-key-file", Kind::Text, "", "key of that certificate"),
    used("peer-client-cert-auth", Kind::Bool, "false", "demand a certificate from peers"),
    used("peer-trusted-ca-file", Kind::Text, "", "CAs that may sign peers' certificates"),
    used("peer-crl-file", Kind::Text, "", "peers' certificates that are revoked"),
    used("peer-client-cert-file", Kind::Text, "", "certificate to show when dialling peers"),
    used("peer-client-key-file", Kind::Text, "", "key of that certificate"),
    used("peer-cert-allowed-cn", Kind::List, "", "common names accepted in peers' certificates"),
    used("peer-cert-allowed-hostname", Kind::List, "", "host names accepted in peers' certificates"),
    used(
        "peer-skip-client-san-verification",
        Kind::Bool,
        "false",
        "do not compare a peer's address with its certificate",
    ),
    used(
        "peer-auto-tls",
        Kind::Bool,
        "false",
        "make a certificate for the peer listener; members then do not verify each other",
    ),
    used("self-signed-cert-validity", Kind::Uint, "1", "years that certificates made by --peer-auto-tls are valid"),
    used("cipher-suites", Kind::List, "", "TLS 1.2 cipher suites to allow, by Go's names"),
    used("tls-min-version", Kind::Text, "TLS1.2", "lowest TLS version: TLS1.2 or TLS1.3"),
    used("tls-max-version", Kind::Text, "", "highest TLS version: TLS1.2 or TLS1.3 (default: the highest there is)"),
    refused("cors", Kind::Urls { except: "*" }, "*", NO_ORIGINS, "origins that browsers may call from (*: all)"),
    refused("host-whitelist", Kind::List, "*", NO_HOSTS, "host names accepted in plain HTTP requests (*: all)"),
];

pub(super) const AUTH: &[Flag] = &[
    nothing("auth-token", Kind::Text, "simple", NO_AUTH, "kind of the tokens: simple, or jwt with options"),
    nothing("auth-token-ttl", Kind::Uint, "300", NO_AUTH, "idle life of a simple token, seconds"),
    nothing("bcrypt-cost", Kind::Uint, "10", NO_AUTH, "cost of a password hash, 4 to 31"),
];
