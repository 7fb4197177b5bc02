//! TLS, origins and hosts, users.

use super::super::flag::{Flag, Kind};
use super::{nothing, used};

const NO_DIALS: &str = "no member is dialled as a client";

pub(super) const FLAGS: &[Flag] = &[
    used("cert-file", Kind::Text, "", "certificate of the client listeners, and those for metrics"),
    used("key-file", Kind::Text, "", "key of that certificate"),
    used("client-cert-auth", Kind::Bool, "false", "demand a certificate from clients; its common name is their user's"),
    used("trusted-ca-file", Kind::Text, "", "CAs that may sign clients' certificates, which are then demanded"),
    used("client-crl-file", Kind::Text, "", "clients' certificates that are revoked"),
    used("client-cert-allowed-hostname", Kind::List, "", "host names accepted in clients' certificates"),
    used("auto-tls", Kind::Bool, "false", "make a certificate for the client listeners"),
    nothing("client-cert-file", Kind::Text, "", NO_DIALS, "certificate to show when dialling a member as a client"),
    nothing("client-key-file", Kind::Text, "", NO_DIALS, "key of that certificate"),
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
    used("self-signed-cert-validity", Kind::Uint, "1", "years that certificates which are made here are valid"),
    used("cipher-suites", Kind::List, "", "TLS 1.2 cipher suites to allow, by Go's names"),
    used("tls-min-version", Kind::Text, "TLS1.2", "lowest TLS version: TLS1.2 or TLS1.3"),
    used("tls-max-version", Kind::Text, "", "highest TLS version: TLS1.2 or TLS1.3 (default: the highest there is)"),
    used("cors", Kind::Urls { except: "*" }, "*", "origins that browsers may call from (*: all)"),
    used("host-whitelist", Kind::List, "*", "host names accepted in plain HTTP requests (*: all)"),
];

/// Keys of the file that are no flags.
pub(super) const FILE_ONLY: &[Flag] = &[
    used("client-cert-allowed-cn", Kind::List, "", "common names accepted in clients' certificates"),
    nothing(
        "client-skip-client-san-verification",
        Kind::Bool,
        "false",
        "clients' addresses are not compared with their certificates",
        "do not compare a client's address with its certificate",
    ),
];

pub(super) const AUTH: &[Flag] = &[
    used("auth-token", Kind::Text, "simple", "kind of the tokens: simple, or jwt with options"),
    used("auth-token-ttl", Kind::Uint, "300", "idle life of a simple token, seconds"),
    used("bcrypt-cost", Kind::Uint, "10", "cost of a password hash, 4 to 31"),
];
